-- Lost voices: a provider does not have a voice any more. Nothing speaks with it in the same transaction: its attempt fails, the gate
-- is closed, its open speech jobs end. A retry makes it again from its sample, under the same id. Lock order: attempts by id,
-- voices, speech jobs by id, enrollments.

create index voices_lost_at_idx on public.voices (lost_at) where lost_at is not null;

-- The edges of a lost voice are for lost voices only, and are one transition, whichever function takes it.
create function voice_clone.require_lost_voice() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.status <> 'failed' or new.runtime_status <> 'pending' or new.preview_status not in ('required', 'not_required')
    or not exists (select from public.voices v where v.attempt_id = old.id and v.lost_at is not null)
  then
    raise exception 'attempt %: only a voice that is lost at its provider fails after it was ready', old.id
      using errcode = 'VC001', detail = jsonb_build_object('from', old.status, 'to', new.status)::text;
  end if;
  return new;
end
$$;
create trigger voice_clone_attempts_require_lost_voice before update on public.voice_clone_attempts
  for each row when (
    (old.status = 'ready' and new.status = 'failed') or (old.runtime_status = 'synced' and new.runtime_status = 'pending')
    or (old.preview_status = 'completed' and new.preview_status = 'required'))
  execute function voice_clone.require_lost_voice();

-- The jobs that wait for a lost voice, or speak with it, fail. What was spoken stays.
create function voice_clone.fail_speech_jobs_of_lost_voices(p_attempts uuid[], p_error_message text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.speech_jobs x
  where x.attempt_id = any (p_attempts) and x.status in ('queued', 'processing') order by x.id for no key update;
  update public.speech_jobs x
  set status = 'failed', error_code = 'voice_lost', error_message = p_error_message, request_id = null,
      lease_owner = null, leased_at = null, lease_expires_at = null, not_before = null, waiting_since = null
  where x.attempt_id = any (p_attempts) and x.status in ('queued', 'processing');
end
$$;

-- The provider does not have this voice, in the account with these names: it is lost, with each use of it as a custom voice, by whatever user. Returns how many
-- voices were lost; none where all were lost or deleted before, or one became ready after p_before: then the answer is older than the voice. An attempt that waits for the verification of such a voice is
-- ended by its polls. The enrollment is removed, so its slot is free; should the voice turn up again, reconcile reports it.
create function voice_clone.lose_voice(
  p_provider text, p_region text, p_accounts text[], p_provider_voice_id text, p_before timestamptz default 'infinity') returns int
language plpgsql security definer set search_path = ''
as $$
declare
  c_message constant text := 'The voice provider does not have this voice any more. Retry to make it again from its sample, or clone another.';
  v_attempts uuid[] := voice_clone.lock_attempts(array(
    select v.attempt_id from public.voices v
    where v.provider_voice_id = p_provider_voice_id and v.tts_provider = p_provider and v.provider_region = p_region
      and (v.provider_account = '' or v.provider_account = any (p_accounts)) and v.deleted_at is null and v.lost_at is null));
begin
  if exists (
    select from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id
    where a.id = any (v_attempts) and a.ready_at > p_before and v.deleted_at is null and v.lost_at is null)
  then
    return 0; -- its provider had it then
  end if;
  with lost as (
    update public.voices v set lost_at = now(), enrollment_id = null
    where v.attempt_id = any (v_attempts) and v.provider_voice_id = p_provider_voice_id
      and v.deleted_at is null and v.lost_at is null
    returning v.attempt_id
  )
  select coalesce(array_agg(l.attempt_id), '{}') into v_attempts from lost l;
  perform voice_clone.fail_speech_jobs_of_lost_voices(v_attempts, c_message);
  update public.voice_clone_attempts a
  set status = 'failed', runtime_status = 'pending', error_code = 'voice_lost', error_message = c_message,
      preview_status = case a.preview_status when 'not_required' then 'not_required' else 'required' end,
      provider_voice_id = case when a.source = 'custom_voice' then a.provider_voice_id end,
      lease_epoch = a.lease_epoch + 1, lease_owner = null, lease_seconds = null, not_before = null, waiting_since = null
  where a.id = any (v_attempts) and a.status = 'ready';
  update voice_clone.enrollments e set status = 'removed', error_code = 'voice_lost'
  where e.provider = p_provider and e.region = p_region and e.provider_voice_id = p_provider_voice_id
    and e.attempt_id = any (v_attempts) and e.status = 'attached';
  return cardinality(v_attempts);
end
$$;
grant execute on function voice_clone.lose_voice(text, text, text[], text, timestamptz) to voice_clone_backend;
