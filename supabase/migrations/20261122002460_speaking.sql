-- Speaking: who may write a speech job now, and how its work ends. Each claim raises the epoch; a write with an older one is refused.

-- The job has ended, or waits no more: its slot goes to the next (job_slots.sql).
create function voice_clone.release_speech_slot() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.release_job_slot(old.id, old.user_id);
  return null;
end
$$;
create trigger speech_jobs_release_slot after update of status on public.speech_jobs
  for each row when (
    (old.status = 'processing' and new.status <> 'processing') or (old.status = 'queued' and new.status = 'failed'))
  execute function voice_clone.release_speech_slot();
create trigger speech_jobs_release_deleted_slot after delete on public.speech_jobs
  for each row when (old.status in ('queued', 'processing')) execute function voice_clone.release_speech_slot();

-- Queued again, or failed with this error. An outage is not the job's fault: the try is not counted. What the job has leased ends.
create function voice_clone.requeue_or_fail_speech(
  j public.speech_jobs, p_error_code text, p_error_message text, p_request_id text, p_delay_seconds float8, p_is_outage boolean
) returns public.speech_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_again boolean := case when p_is_outage then coalesce(j.waiting_since + voice_clone.timeout('outage') > now(), true)
    else j.try_count < j.try_budget end;
begin
  update public.speech_jobs x
  set status = case when v_again then 'queued' else 'failed' end,
      try_count = x.try_count - (p_is_outage and v_again)::int,
      waiting_since = case when v_again and p_is_outage then coalesce(x.waiting_since, now()) when v_again then x.waiting_since end,
      not_before = case when v_again then now() + make_interval(secs => p_delay_seconds) end,
      error_code = p_error_code, request_id = p_request_id,
      error_message = case when p_is_outage and not v_again then voice_clone.outage_message(p_error_message) else p_error_message end,
      lease_owner = null, leased_at = null, lease_expires_at = null
  where x.id = j.id
  returning * into j;
  return j;
end
$$;

-- The voice of the job's attempt is not there, and will not be: the job has the attempt's error.
create function voice_clone.fail_without_voice(p_job uuid, a public.voice_clone_attempts) returns void
language sql security definer set search_path = ''
as $$
  update public.speech_jobs j
  set status = 'failed',
      error_code = case a.status when 'failed' then a.error_code when 'expired' then 'attempt_expired' else 'attempt_cancelled' end,
      error_message = case a.status when 'failed' then a.error_message else 'The attempt that was to make the voice is ' || a.status || '.' end,
      request_id = a.request_id, not_before = null, waiting_since = null, lease_owner = null, leased_at = null, lease_expires_at = null
  where j.id = p_job
$$;

-- Takes a queued job whose voice is there; also one whose worker's lease ran out, while the budget lasts.
create function voice_clone.claim_speech_job(
  p_job uuid, p_lease_owner text, p_lease_seconds int, p_user_cap int, p_max_jobs int default 50
) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  j public.speech_jobs;
  a public.voice_clone_attempts;
  v_slot text;
begin
  select * into j from public.speech_jobs x where x.id = p_job for no key update;
  if j.id is null then
    return ('inactive', null, null)::voice_clone.claim;
  elsif j.status not in ('queued', 'processing') then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif j.status = 'processing' and j.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(j.lease_expires_at), null)::voice_clone.claim;
  elsif j.status = 'queued' and j.not_before > now() then
    return ('not_due', voice_clone.seconds_until(j.not_before), null)::voice_clone.claim;
  end if;
  if not voice_clone.has_outcome(j.attempt_id) then -- its end sends the next message
    return ('awaits_voice', null, null)::voice_clone.claim;
  end if;
  if not exists (select from public.voices v where v.attempt_id = j.attempt_id and v.deleted_at is null and v.lost_at is null) then
    select * into a from public.voice_clone_attempts x where x.id = j.attempt_id;
    perform voice_clone.fail_without_voice(p_job, a);
    return ('voice_failed', null, null)::voice_clone.claim;
  end if;
  if j.status = 'processing' and j.try_count >= j.try_budget then
    perform voice_clone.requeue_or_fail_speech(
      j, 'worker_lost', 'The worker stopped without a result more often than is allowed.', null, 0, false);
    return ('exhausted', null, null)::voice_clone.claim;
  end if;
  v_slot := voice_clone.take_job_slot(p_job, j.user_id, 'speech_jobs', null, p_user_cap, p_max_jobs);
  if v_slot <> 'taken' then
    return (v_slot, null, null)::voice_clone.claim;
  end if;
  update public.speech_jobs x
  set status = 'processing', try_count = x.try_count + 1, lease_epoch = x.lease_epoch + 1, lease_owner = p_lease_owner,
      leased_at = now(), lease_expires_at = now() + make_interval(secs => p_lease_seconds),
      not_before = null, error_code = null, error_message = null, request_id = null
  where x.id = p_job
  returning x.lease_epoch into j.lease_epoch;
  return ('claimed', null, j.lease_epoch)::voice_clone.claim;
end
$$;

-- What a worker needs to know of the job that it claimed. Volatile, so that it sees the claim that it is joined to.
create function voice_clone.claimed_speech(p_job uuid)
returns table (
  job_id uuid, user_id uuid, text text, try_count int, waiting_seconds float8, language text, tts_provider text,
  provider_region text, provider_account text, provider_voice_id text, provider_target_model text)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select j.id, j.user_id, j.text, j.try_count, coalesce(extract(epoch from now() - j.waiting_since), 0)::float8,
      v.language, v.tts_provider, v.provider_region, v.provider_account, v.provider_voice_id, v.provider_target_model
    from public.speech_jobs j join public.voices v on v.attempt_id = j.attempt_id
    where j.id = p_job and j.status = 'processing';
end
$$;

-- Extends the lease. False where it is lost: the worker must stop.
create function voice_clone.renew_speech_lease(p_job uuid, p_epoch int, p_lease_seconds int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.speech_jobs j
  set lease_expires_at = greatest(j.lease_expires_at + interval '1 microsecond', now() + make_interval(secs => p_lease_seconds))
  where j.id = p_job and j.status = 'processing' and j.lease_epoch = p_epoch;
  return found;
end
$$;

-- Locks the job for a worker's write, with the acknowledgement of its message; VC002 where the lease is lost.
create function voice_clone.require_speech_lease(p_job uuid, p_epoch int, p_message_id bigint) returns public.speech_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  j public.speech_jobs;
begin
  select * into j from public.speech_jobs x
  where x.id = p_job and x.status = 'processing' and x.lease_epoch = p_epoch for no key update;
  if not found then
    raise exception 'the lease on speech job % at epoch % is lost', p_job, p_epoch using errcode = 'VC002';
  end if;
  perform voice_clone.acknowledge_messages('speech_jobs', array[p_message_id]) where p_message_id is not null;
  return j;
end
$$;

-- The speech is stored at p_path.
create function voice_clone.complete_speech(p_job uuid, p_epoch int, p_path text, p_bytes bigint, p_message_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_speech_lease(p_job, p_epoch, p_message_id);
  update public.speech_jobs j
  set status = 'succeeded', path = p_path, bytes = p_bytes, waiting_since = null,
      lease_owner = null, leased_at = null, lease_expires_at = null
  where j.id = p_job;
  perform voice_clone.note_speech(v) from public.voices v join public.speech_jobs j on j.attempt_id = v.attempt_id where j.id = p_job;
end
$$;

create function voice_clone.fail_speech(
  p_job uuid, p_epoch int, p_error_code text, p_error_message text, p_request_id text, p_message_id bigint
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_speech_lease(p_job, p_epoch, p_message_id);
  update public.speech_jobs j
  set status = 'failed', error_code = p_error_code, error_message = p_error_message, request_id = p_request_id,
      waiting_since = null, lease_owner = null, leased_at = null, lease_expires_at = null
  where j.id = p_job;
end
$$;

-- A failure that may pass: queued again after the delay, while the budget lasts or in an outage, else failed.
create function voice_clone.requeue_speech(
  p_job uuid, p_epoch int, p_delay_seconds float8, p_error_code text, p_error_message text, p_request_id text,
  p_message_id bigint, p_is_outage boolean
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.requeue_or_fail_speech(
    voice_clone.require_speech_lease(p_job, p_epoch, p_message_id), p_error_code, p_error_message, p_request_id,
    p_delay_seconds, p_is_outage);
end
$$;

grant execute on function
  voice_clone.claim_speech_job(uuid, text, int, int, int),
  voice_clone.claimed_speech(uuid),
  voice_clone.renew_speech_lease(uuid, int, int),
  voice_clone.complete_speech(uuid, int, text, bigint, bigint),
  voice_clone.fail_speech(uuid, int, text, text, text, bigint),
  voice_clone.requeue_speech(uuid, int, float8, text, text, text, bigint, boolean)
to voice_clone_backend;
