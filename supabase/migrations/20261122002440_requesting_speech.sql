-- Requesting speech: a job finds the voice of its sample, or opens the attempt that makes it; its user retries or deletes it.

-- One request of a user at a time, so that two jobs of one sample share the attempt. Raises VC008 where as many jobs are open as
-- a user may have.
create function voice_clone.check_open_speech_jobs(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  c_limit constant int := 20;
begin
  perform pg_advisory_xact_lock(hashtextextended('open:' || p_user::text, 0));
  if (select count(*) from public.speech_jobs j where j.user_id = p_user and j.status in ('queued', 'processing')) >= c_limit then
    raise exception '% speech jobs are not finished yet', c_limit
      using errcode = 'VC008', detail = jsonb_build_object('code', 'too_many_speech_jobs', 'limit', c_limit)::text,
            hint = 'Wait until one of them has ended, or delete one.';
  end if;
end
$$;

-- The attempt whose voice speaks for this sample at this provider: one with a voice, else one that is about to make it, else a
-- new one, in the user's library. The caller holds the lock of the user's requests and shares that of the consents, so no voice
-- is deleted meanwhile. An attempt that is still at work is locked: its end either waits for the job, or is seen here.
create function voice_clone.speech_attempt(
  p_user uuid, p_sample uuid, p_provider text, p_region text, p_name text, p_per_day int
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt uuid;
begin
  select v.attempt_id into v_attempt
  from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id
  where a.sample_id = p_sample and v.user_id = p_user and v.deleted_at is null and v.lost_at is null
    and v.tts_provider = p_provider and v.provider_region = p_region
  order by v.created_at desc limit 1;
  if found then
    return v_attempt;
  end if;
  select a.id into v_attempt from public.voice_clone_attempts a
  where a.sample_id = p_sample and a.user_id = p_user and a.source = 'sample' and a.provider = p_provider and a.region = p_region
    and a.status in ('queued', 'processing', 'verifying', 'ready')
  order by a.created_at desc, a.id limit 1 for share;
  if found and exists (
    select from public.voice_clone_attempts a
    where a.id = v_attempt and (a.status in ('queued', 'processing', 'verifying') or exists (
      select from public.voices v where v.attempt_id = a.id and v.deleted_at is null)))
  then
    return v_attempt;
  end if;
  select c.id into v_attempt from voice_clone.clone_sample(
    gen_random_uuid(), p_user, p_sample, null, p_provider, p_region, false, p_name, p_per_day) c;
  return v_attempt;
end
$$;

-- A text to speak with the voice of a sample.
create function voice_clone.request_speech(
  p_job uuid, p_user uuid, p_sample uuid, p_provider text, p_region text, p_text text, p_name text, p_per_day int default null
) returns setof public.speech_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  select * into s from public.voice_samples x where x.id = p_sample and x.user_id = p_user and x.removed_at is null
  for key share; -- its retention does not end meanwhile
  if not found then
    raise exception 'there is no such sample' using errcode = 'VC004', detail = '{"field": "sampleId"}';
  elsif s.status <> 'ready' then
    raise exception 'this sample is not ready'
      using errcode = 'VC007', detail = '{"code": "sample_not_ready", "field": "sampleId"}',
            hint = 'Wait until its status is ready.';
  end if;
  perform voice_clone.check_open_speech_jobs(p_user);
  return query
    insert into public.speech_jobs (id, user_id, sample_id, attempt_id, provider, region, text, characters)
    values (p_job, p_user, p_sample, voice_clone.speech_attempt(p_user, p_sample, p_provider, p_region, p_name, p_per_day),
      p_provider, p_region, p_text, length(p_text))
    returning *;
end
$$;

-- The same job again, with the same text. Where its voice was not made, another attempt makes it.
create function voice_clone.retry_speech(p_job uuid, p_user uuid, p_name text, p_per_day int default null)
returns setof public.speech_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  j public.speech_jobs;
  v_attempt uuid;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.check_open_speech_jobs(p_user);
  select * into j from public.speech_jobs x where x.id = p_job and x.user_id = p_user;
  if not found then
    raise exception 'there is no such job' using errcode = 'VC004', detail = '{"field": "jobId"}';
  elsif j.status <> 'failed' then
    raise exception 'nothing has failed: the job is %', j.status
      using errcode = 'VC007', detail = jsonb_build_object('code', 'nothing_to_retry', 'status', j.status)::text;
  elsif j.removed_at is not null then
    raise exception 'the text of this job is not stored any more'
      using errcode = 'VC007', detail = '{"code": "speech_removed"}', hint = 'Send it again with POST /api/v1/clone.';
  elsif j.retry_count >= j.retry_budget then
    raise exception 'this job was retried % times, as often as is allowed', j.retry_count
      using errcode = 'VC007', detail = jsonb_build_object('code', 'retry_budget_used', 'limit', j.retry_budget)::text,
        hint = 'Send the text again with POST /api/v1/clone.';
  end if;
  v_attempt := voice_clone.speech_attempt(p_user, j.sample_id, j.provider, j.region, p_name, p_per_day);
  return query
    update public.speech_jobs x
    set status = 'queued', attempt_id = v_attempt, retry_count = x.retry_count + 1, try_count = 0,
        error_code = null, error_message = null, request_id = null, not_before = null, waiting_since = null
    where x.id = p_job and x.status = 'failed' and x.removed_at is null
    returning *;
  if not found then -- deleted, expired or retried meanwhile
    raise exception 'nothing has failed by now' using errcode = 'VC007', detail = '{"code": "nothing_to_retry"}';
  end if;
end
$$;

-- The speech of a job, and what a late worker still writes beside it.
create function voice_clone.remove_speech(p_user uuid, p_job uuid, p_epoch int) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.request_object_removal('speeches', p_user || '/' || p_job) where p_epoch > 0;
end
$$;

-- The job with its text and its speech. A worker that has it loses its lease.
create function voice_clone.delete_speech_job(p_job uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_epoch int;
begin
  delete from public.speech_jobs j where j.id = p_job and j.user_id = p_user returning j.lease_epoch into v_epoch;
  if not found then
    return false;
  end if;
  perform voice_clone.remove_speech(p_user, p_job, v_epoch);
  return true;
end
$$;

-- The voices of these attempts are silenced: their open jobs fail, and what they have spoken is removed.
create function voice_clone.end_speech_jobs(p_attempts uuid[], p_user uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_code text := case p_reason when 'consent_revoked' then 'consent_revoked' else 'voice_deleted' end;
  v_message text := case p_reason when 'consent_revoked' then 'The consent of the sample was revoked.'
    else 'The voice was deleted.' end;
  j record;
begin
  perform from public.speech_jobs x
  where x.attempt_id = any (p_attempts) and x.removed_at is null order by x.id for no key update;
  for j in
    update public.speech_jobs x
    set status = case when x.status in ('queued', 'processing') then 'failed' else x.status end,
        error_code = case when x.status in ('queued', 'processing') then v_code else x.error_code end,
        error_message = case when x.status in ('queued', 'processing') then v_message else x.error_message end,
        lease_owner = null, leased_at = null, lease_expires_at = null, not_before = null, waiting_since = null,
        removed_at = now(), text = null, path = null
    where x.attempt_id = any (p_attempts) and x.removed_at is null
    returning x.id, x.lease_epoch
  loop
    perform voice_clone.remove_speech(p_user, j.id, j.lease_epoch);
  end loop;
end
$$;

grant execute on function
  voice_clone.request_speech(uuid, uuid, uuid, text, text, text, text, int),
  voice_clone.retry_speech(uuid, uuid, text, int),
  voice_clone.delete_speech_job(uuid, uuid)
to voice_clone_backend;
