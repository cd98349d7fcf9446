-- Fetching recordings: the step of a consumer of the queue recordings, under a lease. One worker of an employee at a time, over
-- all processes, because all recordings of an employee have one object. Lock order: the employee's lock, recordings.

create function voice_clone.lock_recordings_of(p_employee uuid) returns void
language sql security definer set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('recordings:' || p_employee::text, 0)) $$;

-- Pending again, or failed with this error. An outage uses up no try, and has a limit of its own; anything else is tried
-- again within the budget.
create function voice_clone.requeue_or_fail_recording(
  r voice_clone.recordings, p_error_code text, p_error_message text, p_delay_seconds float8, p_is_outage boolean
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_again boolean := case when p_is_outage then coalesce(r.waiting_since + voice_clone.timeout('outage') > now(), true)
    else r.process_count < r.process_budget end;
begin
  update voice_clone.recordings x
  set status = case when v_again then 'pending' else 'failed' end,
      process_count = greatest(0, x.process_count - (p_is_outage and v_again)::int),
      waiting_since = case when v_again and p_is_outage then coalesce(x.waiting_since, now()) when v_again then x.waiting_since end,
      not_before = case when v_again then now() + make_interval(secs => p_delay_seconds) end,
      error_code = p_error_code,
      error_message = case when p_is_outage and not v_again then voice_clone.outage_message(p_error_message) else p_error_message end
  where x.id = r.id;
  return case when v_again then 'requeued' else 'failed' end;
end
$$;

-- A worker that stopped, or that took too long. r is locked. A move is the command's to repeat: nothing is to be fetched.
create function voice_clone.recover_recording(r voice_clone.recordings) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_lost boolean := r.lease_expires_at <= now();
begin
  if r.account_sid is null then
    delete from voice_clone.recordings x where x.id = r.id;
    return 'move_given_up';
  end if;
  return voice_clone.requeue_or_fail_recording(
    r, case when v_lost then 'worker_lost' else 'deadline_exceeded' end,
    case when v_lost then 'The worker stopped without a result more often than is allowed.'
      else 'The work took longer than is allowed, more often than is allowed.' end, 0, false);
end
$$;

-- Takes the lease of a recording that waits, or whose worker's lease ran out. One that is older than what is stored of its
-- employee is superseded.
create function voice_clone.claim_recording(p_recording uuid, p_lease_owner text) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
  o voice_clone.recordings;
begin
  perform voice_clone.lock_recordings_of(x.employee_id)
  from voice_clone.recordings x where x.id = p_recording and x.employee_id is not null;
  select * into r from voice_clone.recordings x where x.id = p_recording for no key update;
  if r.id is null then
    return ('inactive', null, null)::voice_clone.claim;
  elsif r.status not in ('pending', 'processing') then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif r.status = 'processing' and r.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(r.lease_expires_at), null)::voice_clone.claim;
  elsif r.account_sid is null then
    perform voice_clone.recover_recording(r);
    return ('inactive', null, null)::voice_clone.claim;
  elsif r.status = 'pending' and r.not_before > now() then
    return ('not_due', voice_clone.seconds_until(r.not_before), null)::voice_clone.claim;
  end if;
  if voice_clone.recording_removed_until(r.employee_id) is not null then
    return ('busy', voice_clone.seconds_until(voice_clone.recording_removed_until(r.employee_id)), null)::voice_clone.claim;
  end if;
  if exists (
    select from voice_clone.recordings x
    where x.employee_id = r.employee_id and x.status = 'stored'
      and (x.recorded_at, x.recording_sid) > (r.recorded_at, r.recording_sid)
  ) then
    update voice_clone.recordings x set status = 'superseded', not_before = null, waiting_since = null where x.id = r.id;
    return ('superseded', null, null)::voice_clone.claim;
  end if;
  select * into o from voice_clone.recordings x
  where x.employee_id = r.employee_id and x.status = 'processing' and x.id <> r.id for no key update;
  if o.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(o.lease_expires_at), null)::voice_clone.claim;
  elsif o.id is not null then
    perform voice_clone.recover_recording(o);
  end if;
  if r.process_count >= r.process_budget then
    perform voice_clone.recover_recording(r);
    return ('exhausted', null, null)::voice_clone.claim;
  end if;
  update voice_clone.recordings x
  set status = 'processing', lease_epoch = x.lease_epoch + 1, lease_owner = p_lease_owner, leased_at = now(),
      lease_expires_at = now() + voice_clone.timeout('recording_lease'), process_count = x.process_count + 1,
      not_before = null, error_code = null, error_message = null
  where x.id = r.id
  returning x.lease_epoch into r.lease_epoch;
  return ('claimed', null, r.lease_epoch)::voice_clone.claim;
end
$$;

-- What a worker needs to know of the recording that it claimed. Volatile, so that it sees the claim that it is joined to.
create function voice_clone.claimed_recording(p_recording uuid)
returns table (
  recording_id uuid, employee_id uuid, account_sid text, recording_sid text, process_count int, waiting_seconds float8)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select r.id, r.employee_id, r.account_sid, r.recording_sid, r.process_count,
      coalesce(extract(epoch from now() - r.waiting_since), 0)::float8
    from voice_clone.recordings r where r.id = p_recording and r.status = 'processing';
end
$$;

-- Whether the lease was still this one's; it then lasts its whole time again.
create function voice_clone.renew_recording(p_recording uuid, p_epoch int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.recordings r set lease_expires_at = now() + voice_clone.timeout('recording_lease')
  where r.id = p_recording and r.status = 'processing' and r.lease_epoch = p_epoch;
  return found;
end
$$;

-- Locks the recording for a worker's write, with the acknowledgement of its message; VC002 where the lease is lost.
create function voice_clone.require_recording_lease(p_recording uuid, p_epoch int, p_message_id bigint)
returns voice_clone.recordings
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
begin
  select * into r from voice_clone.recordings x
  where x.id = p_recording and x.status = 'processing' and x.lease_epoch = p_epoch for no key update;
  if not found then
    raise exception 'the lease on recording % at epoch % is lost', p_recording, p_epoch using errcode = 'VC002';
  end if;
  perform voice_clone.acknowledge_messages('recordings', array[p_message_id]) where p_message_id is not null;
  return r;
end
$$;

-- The employee's object has the audio of this recording, and no longer that of an earlier one.
create function voice_clone.complete_recording(p_recording uuid, p_epoch int, p_bytes bigint, p_message_id bigint default null)
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
begin
  perform voice_clone.lock_recordings_of(x.employee_id) from voice_clone.recordings x where x.id = p_recording;
  r := voice_clone.require_recording_lease(p_recording, p_epoch, p_message_id);
  update voice_clone.recordings x set status = 'superseded' where x.employee_id = r.employee_id and x.status = 'stored';
  update voice_clone.recordings x set status = 'stored', bytes = p_bytes, waiting_since = null where x.id = p_recording;
end
$$;

-- The recording itself is at fault, or what names it.
create function voice_clone.fail_recording(
  p_recording uuid, p_epoch int, p_error_code text, p_error_message text, p_message_id bigint default null
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings := voice_clone.require_recording_lease(p_recording, p_epoch, p_message_id);
begin
  update voice_clone.recordings x
  set status = 'failed', error_code = p_error_code, error_message = p_error_message, waiting_since = null where x.id = r.id;
end
$$;

-- Later, or failed where its budget is used.
create function voice_clone.requeue_recording(
  p_recording uuid, p_epoch int, p_delay_seconds float8, p_error_code text, p_error_message text, p_is_outage boolean,
  p_message_id bigint default null
) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  return voice_clone.requeue_or_fail_recording(
    voice_clone.require_recording_lease(p_recording, p_epoch, p_message_id), p_error_code, p_error_message, p_delay_seconds,
    p_is_outage);
end
$$;

-- One recording that is due, locked by the caller. Returns what was done.
create function voice_clone.sweep_recording(r voice_clone.recordings) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  if r.status = 'unmatched' then -- nobody assigned it in time
    delete from voice_clone.recordings x where x.id = r.id;
    return 'recording_expired';
  elsif r.status = 'processing' and (r.lease_expires_at <= now() or r.leased_at + voice_clone.timeout('step') <= now()) then
    return 'recording_' || voice_clone.recover_recording(r);
  end if;
  update voice_clone.recordings x set sweep_at = voice_clone.recording_sweep_at(r) where x.id = r.id;
  if r.status = 'pending' then
    perform voice_clone.send_messages('recordings', array[voice_clone.queue_message('recordings', r.id, 1, null)], 0);
    return 'recording_sent';
  end if;
  return 'recording_postponed'; -- a lease that was renewed
end
$$;

-- At most p_limit. One with an error is postponed, and stops no other.
create function voice_clone.sweep_recordings(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
  v_what text;
begin
  for r in
    select * from voice_clone.recordings x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      v_what := voice_clone.sweep_recording(r);
      return next v_what;
    exception when others then
      perform voice_clone.postpone_row('recording', r.id, sqlerrm, sqlstate);
    end;
  end loop;
end
$$;

grant execute on function
  voice_clone.claim_recording(uuid, text),
  voice_clone.claimed_recording(uuid),
  voice_clone.renew_recording(uuid, int),
  voice_clone.complete_recording(uuid, int, bigint, bigint),
  voice_clone.fail_recording(uuid, int, text, text, bigint),
  voice_clone.requeue_recording(uuid, int, float8, text, text, boolean, bigint)
to voice_clone_backend;
