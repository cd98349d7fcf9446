-- The step of a sample: claim, inspect, prepare. A consumer of the queue voice_samples takes it, or the call that waits for the
-- sample takes it inline. One lease at a time, over all processes; one that is not renewed may be taken over. The epoch only
-- grows, and what the former holder does then has no effect.

-- How long ago a sample that is not finished may have been sent: it may have waited for an outage to end.
create function voice_clone.sample_wait() returns interval
language plpgsql stable set search_path = ''
as $$
begin
  return 2 * voice_clone.timeout('outage') + interval '1 day';
end
$$;

-- Takes the lease of a sample that the caller has locked and checked. Returns the epoch. p_language and p_transcript: what its user
-- says of it now, written here because one version of the row less is kept then.
create function voice_clone.take_sample(
  p_sample uuid, p_lease_owner text, p_tries int, p_language text default null, p_transcript text default null
) returns int
language sql security definer set search_path = ''
as $$
  update public.voice_samples s
  set status = 'processing', lease_epoch = s.lease_epoch + 1, lease_owner = p_lease_owner, leased_at = now(),
      lease_expires_at = now() + voice_clone.timeout('inspection_lease'), process_count = s.process_count + p_tries,
      not_before = null, error_code = null, error_message = null, language = coalesce(p_language, s.language),
      transcript = case when p_language is null then s.transcript else p_transcript end
  where s.id = p_sample
  returning s.lease_epoch
$$;

-- Before an upload is downloaded and decoded: the attempt is open, its consent is valid, it has a voice slot, and nobody else
-- inspects it. The epoch is null where the sample is ready: an earlier call stopped before it queued the attempt. VC007
-- `inspection_in_progress` while another has the lease.
create function voice_clone.claim_upload(
  p_attempt uuid, p_user uuid, p_lease_owner text, p_language text default null, p_transcript text default null
) returns table (sample_id uuid, lease_epoch int)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  a public.voice_clone_attempts;
  s public.voice_samples;
begin
  select * into a from public.voice_clone_attempts x where x.id = p_attempt and x.user_id = p_user;
  if not found then
    raise exception 'there is no such attempt' using errcode = 'VC004';
  end if;
  perform voice_clone.check_consent(x.consent_id, p_user, a.reflection_id)
  from public.voice_samples x where x.id = a.sample_id;
  if a.status = 'awaiting_upload' and not voice_clone.has_slot_reservation(p_attempt) then
    perform voice_clone.require_slot(a.provider, a.region, a.reflection_id);
  end if;
  select * into s from public.voice_samples x where x.id = a.sample_id for no key update;
  if a.status <> 'awaiting_upload' or s.status = 'removed' then
    raise exception 'attempt % awaits no upload: it is %', p_attempt, a.status using errcode = 'VC001';
  elsif s.status = 'processing' and s.lease_expires_at > now() then
    raise exception 'this upload is being inspected' using errcode = 'VC007',
      detail = '{"code": "inspection_in_progress", "field": "voice_id", "retry_after": 2}',
      hint = 'Send the same call again a little later.';
  end if;
  update voice_clone.uploads u
  set reserved_until = greatest(u.reserved_until, now() + voice_clone.timeout('slot_reservation'))
  where u.attempt_id = p_attempt;
  return query select s.id, case when s.status <> 'ready'
    then voice_clone.take_sample(s.id, p_lease_owner, 0, p_language, p_transcript) end;
end
$$;

-- For the consumer: a sample that waits, or whose worker's lease ran out, while its budget lasts. p_inline: for the call that
-- stored the file and waits for its sample; the sample has no message.
create function voice_clone.claim_sample(p_sample uuid, p_lease_owner text, p_user_cap int, p_inline boolean default false)
returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
begin
  select * into s from public.voice_samples x where x.id = p_sample for no key update;
  if s.id is null or s.status = 'removed' then
    return ('inactive', null, null)::voice_clone.claim;
  elsif s.status not in ('pending', 'processing') and not (p_inline and s.status = 'awaiting_upload') then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif s.status = 'processing' and s.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(s.lease_expires_at), null)::voice_clone.claim;
  elsif s.status = 'pending' and s.not_before > now() then
    return ('not_due', voice_clone.seconds_until(s.not_before), null)::voice_clone.claim;
  end if;
  if not p_inline then
    -- A cap for each user; claims of one user come one at a time, so that two cannot both take the last place.
    perform pg_advisory_xact_lock(hashtextextended('samples:' || s.user_id::text, 0));
    if (select count(*) from public.voice_samples x
        where x.user_id = s.user_id and not x.is_upload and x.created_at > now() - voice_clone.sample_wait()
          and x.status = 'processing' and x.lease_expires_at > now()) >= p_user_cap then
      return ('user_busy', 3, null)::voice_clone.claim;
    end if;
    if s.process_count >= s.process_budget then
      perform voice_clone.requeue_or_fail_sample(s, 'worker_lost', null, 0, 'crash');
      return ('exhausted', null, null)::voice_clone.claim;
    end if;
  end if;
  return ('claimed', null, voice_clone.take_sample(p_sample, p_lease_owner, case when p_inline then 0 else 1 end))::voice_clone.claim;
end
$$;

-- What a worker needs to know of the sample that it claimed. Volatile, so that it sees the claim that it is joined to.
create function voice_clone.claimed_sample(p_sample uuid)
returns table (
  sample_id uuid, owner_id uuid, path text, bytes bigint, is_kept boolean, waiting_seconds float8, declared_bytes bigint,
  spoken_sample text)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select s.id, coalesce(s.user_id, s.employee_id), s.path, s.bytes, s.is_kept,
      coalesce(extract(epoch from now() - s.waiting_since), 0)::float8, u.bytes,
      case when s.user_id is not null then voice_clone.spoken_sample(s.consent_id) end
    from public.voice_samples s
    left join public.voice_clone_attempts a on s.is_upload and a.sample_id = s.id and a.status = 'awaiting_upload'
    left join voice_clone.uploads u on u.attempt_id = a.id
    where s.id = p_sample;
end
$$;

-- Locks the sample for a worker's write, or raises VC002: another worker has the lease, or no one has it any more.
create function voice_clone.require_sample_lease(p_sample uuid, p_epoch int) returns public.voice_samples
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
begin
  select * into s from public.voice_samples x
  where x.id = p_sample and x.status = 'processing' and x.lease_epoch = p_epoch
  for no key update;
  if not found then
    raise exception 'the lease on sample % at epoch % is lost', p_sample, p_epoch using errcode = 'VC002';
  end if;
  return s;
end
$$;

-- Whether the lease was still this one's; it then lasts its whole time again. One that is over and that nobody took counts.
create function voice_clone.renew_sample(p_sample uuid, p_epoch int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.voice_samples s set lease_expires_at = now() + voice_clone.timeout('inspection_lease')
  where s.id = p_sample and s.status = 'processing' and s.lease_epoch = p_epoch;
  return found;
end
$$;

-- The sample passed and its prepared WAV is in Storage: ready. There is no other way to it.
create function voice_clone.complete_sample(
  p_sample uuid, p_epoch int, p_content_type text, p_bytes bigint, p_measures jsonb, p_prepared_path text, p_prepared_bytes bigint,
  p_message_id bigint default null, p_content_hash bytea default null
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_sample_lease(p_sample, p_epoch);
  perform voice_clone.acknowledge_messages('voice_samples', array[p_message_id]) where p_message_id is not null;
  update public.voice_samples s
  set status = 'ready', content_type = p_content_type, bytes = p_bytes, measures = p_measures, prepared_path = p_prepared_path,
      prepared_bytes = p_prepared_bytes, waiting_since = null, content_hash = p_content_hash
  where s.id = p_sample;
end
$$;

-- The sample itself is at fault: failed, with what was measured. One that nobody keeps waits for another upload, or for the
-- call that stored it to remove it. Another upload may have another size, unless only the size was wrong.
create function voice_clone.refuse_sample(
  p_sample uuid, p_epoch int, p_error_code text, p_error_message text, p_measures jsonb, p_message_id bigint default null
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples := voice_clone.require_sample_lease(p_sample, p_epoch);
begin
  perform voice_clone.acknowledge_messages('voice_samples', array[p_message_id]) where p_message_id is not null;
  update public.voice_samples x
  set status = case when s.is_kept then 'failed' else 'awaiting_upload' end,
      error_code = case when s.is_kept then p_error_code end, error_message = case when s.is_kept then p_error_message end,
      measures = case when s.is_kept then p_measures end
  where x.id = p_sample;
  update voice_clone.uploads u set bytes = null
  from public.voice_clone_attempts a
  where s.is_upload and a.sample_id = p_sample and u.attempt_id = a.id and p_error_code <> 'sample_size_mismatch';
end
$$;

-- The step failed on our side. An outage uses up no try, and has a limit of its own; what takes too long is tried once more; a
-- worker that stopped is tried again within the budget. Then the sample fails with this error. One that nobody keeps goes back
-- to its caller, who tries again.
create function voice_clone.requeue_or_fail_sample(
  s public.voice_samples, p_error_code text, p_error_message text, p_delay_seconds float8, p_failure text
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_timeouts int := s.timeout_count + (p_failure = 'timeout')::int;
  v_again boolean := case p_failure
    when 'outage' then coalesce(s.waiting_since + voice_clone.timeout('outage') > now(), true)
    when 'timeout' then v_timeouts < s.timeout_budget
    else s.process_count < s.process_budget
  end;
  v_message text := coalesce(p_error_message, 'The inspection of this sample stopped without a result more often than is allowed.');
begin
  if not s.is_kept then
    update public.voice_samples x set status = 'awaiting_upload' where x.id = s.id;
    return 'returned';
  end if;
  update public.voice_samples x
  set status = case when v_again then 'pending' else 'failed' end,
      process_count = greatest(0, x.process_count - (p_failure = 'outage' and v_again)::int), timeout_count = v_timeouts,
      waiting_since = case when not v_again then null when p_failure = 'outage' then coalesce(x.waiting_since, now()) else x.waiting_since end,
      not_before = case when v_again then now() + make_interval(secs => p_delay_seconds) end,
      error_code = p_error_code, error_message = case when p_failure = 'outage' and not v_again
        then v_message || ' That lasted longer than is waited for. Send the sample again later.' else v_message end
  where x.id = s.id;
  return case when v_again then 'requeued' else 'failed' end;
end
$$;

create function voice_clone.requeue_sample(
  p_sample uuid, p_epoch int, p_delay_seconds float8, p_error_code text, p_error_message text, p_failure text,
  p_message_id bigint default null
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples := voice_clone.require_sample_lease(p_sample, p_epoch);
begin
  perform voice_clone.acknowledge_messages('voice_samples', array[p_message_id]) where p_message_id is not null;
  return voice_clone.requeue_or_fail_sample(s, p_error_code, p_error_message, p_delay_seconds, p_failure);
end
$$;

grant execute on function
  voice_clone.claim_upload(uuid, uuid, text, text, text),
  voice_clone.claim_sample(uuid, text, int, boolean),
  voice_clone.claimed_sample(uuid),
  voice_clone.renew_sample(uuid, int),
  voice_clone.complete_sample(uuid, int, text, bigint, jsonb, text, bigint, bigint, bytea),
  voice_clone.refuse_sample(uuid, int, text, text, jsonb, bigint),
  voice_clone.requeue_sample(uuid, int, float8, text, text, text, bigint)
to voice_clone_backend;
