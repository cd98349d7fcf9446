-- Retrying and restoring: the user starts a failed attempt again, within a budget of its own; or returns to the voice that
-- worked before, where the attempt that superseded it failed.

-- Whether the enrollment, the runtime sync or the preview has failed for good. Null for no attempt.
create function voice_clone.has_failed(a public.voice_clone_attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return a.status = 'failed' or (a.status = 'ready' and 'failed' in (a.runtime_status, a.preview_status));
end
$$;

-- The state of an attempt, for a caller whose request it refuses.
create function voice_clone.refusal_detail(p_error_code text, a public.voice_clone_attempts) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'code', p_error_code, 'attempt_id', a.id, 'status', a.status, 'runtime_status', a.runtime_status,
    'preview_status', a.preview_status, 'retries', a.user_retry_count, 'retry_budget', a.user_retry_budget));
end
$$;

create function voice_clone.require_retry(a public.voice_clone_attempts) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if a.id is null then
    raise exception 'this reflection has no active attempt'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('nothing_to_retry', a),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  elsif not voice_clone.has_failed(a) then
    raise exception 'nothing has failed: the voice is %, its runtime %, its preview %',
        a.status, a.runtime_status, a.preview_status
      using errcode = 'VC007', detail = voice_clone.refusal_detail('nothing_to_retry', a);
  elsif a.user_retry_count >= a.user_retry_budget then
    raise exception 'this sample was retried % times, as often as is allowed', a.user_retry_count
      using errcode = 'VC007', detail = (voice_clone.refusal_detail('retry_budget_used', a)::jsonb || jsonb_build_object('limit', a.user_retry_budget))::text,
            hint = 'Clone the voice from another sample; it has retries of its own.';
  elsif a.status = 'failed' and exists (select from public.voice_samples s where s.id = a.sample_id and s.status = 'removed') then
    raise exception 'the sample of this voice was removed'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('sample_missing', a), hint = 'Record a new sample.';
  end if;
end
$$;

-- Starts an attempt again that the caller has locked, from the step that failed. A create whose outcome is unknown is still looked up
-- first, by the worker that claims the attempt.
create function voice_clone.retry_failed(a public.voice_clone_attempts) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_retry(a);
  return query
    update public.voice_clone_attempts x
    set status = case x.status when 'failed' then 'queued' else x.status end,
        runtime_status = case x.runtime_status when 'failed' then 'pending' else x.runtime_status end,
        preview_status = case x.preview_status when 'failed' then 'required' else x.preview_status end,
        process_count = case x.status when 'failed' then 0 else x.process_count end,
        sync_count = case x.runtime_status when 'failed' then 0 else x.sync_count end,
        preview_count = case x.preview_status when 'failed' then 0 else x.preview_count end,
        user_retry_count = x.user_retry_count + 1,
        error_code = null, error_message = null, not_before = null, waiting_since = null
    where x.id = a.id
    returning *;
end
$$;

create function voice_clone.retry_attempt(p_reflection uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  perform voice_clone.lock_reflection(p_reflection, p_user);
  select * into a from public.voice_clone_attempts x
  where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active for no key update;
  return query select * from voice_clone.retry_failed(a);
end
$$;

-- A new attempt at another provider with the same sample; it supersedes the failed one and keeps its count of retries.
-- p_failed is the attempt that the caller saw: only its sample was checked against this provider.
create function voice_clone.retry_elsewhere(
  p_attempt uuid, p_reflection uuid, p_user uuid, p_failed uuid, p_provider text, p_region text,
  p_preview_required boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v_sample public.voice_samples;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.lock_reflection(p_reflection, p_user);
  select * into a from public.voice_clone_attempts x
  where x.reflection_id = p_reflection and x.user_id = p_user and x.is_active for no key update;
  perform voice_clone.require_retry(a);
  if a.id is distinct from p_failed then
    raise exception 'another attempt is active by now'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('attempt_superseded', a), hint = 'Read the reflection''s voice again, and retry that attempt.';
  elsif (a.provider, a.region) = (p_provider, p_region) then
    return query select * from voice_clone.retry_attempt(p_reflection, p_user);
    return;
  end if;
  select * into v_sample from public.voice_samples s where s.id = a.sample_id and s.status = 'ready';
  if not found then
    raise exception 'this voice was made of no sample that another provider could take'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('sample_missing', a),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  end if;
  perform voice_clone.check_consent(v_sample.consent_id, p_user, p_reflection);
  insert into public.voice_clone_attempts (
    id, user_id, reflection_id, sample_id, source, provider, region, preview_status, user_retry_count, user_retry_budget)
  values (
    p_attempt, p_user, p_reflection, a.sample_id, case a.source when 'custom_voice' then 'sample' else a.source end,
    p_provider, p_region, case when p_preview_required then 'required' else 'not_required' end,
    a.user_retry_count + 1, a.user_retry_budget);
  return query select * from voice_clone.queue_attempt(
    p_attempt, p_user, a.name, a.language, v_sample.transcript, 0);
end
$$;

-- Whether the consent for the sample of an attempt covers now whom the attempt is for. Null for no sample.
create function voice_clone.is_covered(a public.voice_clone_attempts) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_consent uuid;
begin
  select s.consent_id into v_consent from public.voice_samples s where s.id = a.sample_id;
  return case
    when v_consent is null then null
    when a.employee_id is null then voice_clone.is_consent_valid(v_consent, a.user_id, a.reflection_id)
    else exists (select from voice_clone.employee_consents(a.employee_id) c where c = v_consent)
  end;
end
$$;

-- Superseded while it was ready, its voice is neither deleted nor lost, and its consent is valid. An attempt that its user reset or
-- deleted does not come back.
create function voice_clone.is_restorable(a public.voice_clone_attempts) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return a.status = 'cancelled' and a.cancel_reason = 'superseded' and a.ready_at is not null
    and exists (select from public.voices v where v.attempt_id = a.id and v.deleted_at is null and v.lost_at is null)
    and voice_clone.is_covered(a) is not false;
end
$$;

-- The edge from cancelled to ready is for restorable attempts only, whichever function takes it.
create function voice_clone.require_restorable() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if not voice_clone.is_restorable(old) or not new.is_active then
    raise exception 'attempt %: only a superseded voice that is not deleted can be restored', old.id
      using errcode = 'VC001', detail = jsonb_build_object('from', old.status, 'to', new.status)::text;
  end if;
  return new;
end
$$;
create trigger voice_clone_attempts_require_restorable before update on public.voice_clone_attempts
  for each row when (old.status = 'cancelled' and new.status = 'ready')
  execute function voice_clone.require_restorable();

-- Whether an attempt failed, or was cancelled after it had failed.
create function voice_clone.has_ended_without_voice(a public.voice_clone_attempts) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return coalesce(
    voice_clone.has_failed(a)
    or (a.status = 'cancelled' and (a.failed_at >= a.queued_at or 'failed' in (a.runtime_status, a.preview_status))),
    false);
end
$$;

create function voice_clone.restore_attempt(p_reflection uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_newer public.voice_clone_attempts;
  v_kept public.voice_clone_attempts;
begin
  perform voice_clone.lock_consents_shared(p_user);
  perform voice_clone.lock_reflection(p_reflection, p_user);
  -- All that this reads or changes, by their ids; what is restorable is decided under the locks.
  perform voice_clone.lock_attempts(array(
    select a.id from public.voice_clone_attempts a
    where a.reflection_id = p_reflection and a.activated_at is not null
      and (a.is_active or a.ready_at is not null or a.activated_at = (
        select max(x.activated_at) from public.voice_clone_attempts x where x.reflection_id = p_reflection))));
  select * into v_newer from public.voice_clone_attempts a
  where a.reflection_id = p_reflection and a.user_id = p_user and a.activated_at is not null
  order by a.activated_at desc, a.version desc limit 1;
  if v_newer.id is not null and not voice_clone.has_ended_without_voice(v_newer) then
    raise exception 'the latest attempt has not failed: it is %', v_newer.status
      using errcode = 'VC007', detail = voice_clone.refusal_detail('latest_not_failed', v_newer);
  end if;
  select a.* into v_kept from public.voice_clone_attempts a
  join public.voices v on v.attempt_id = a.id and v.deleted_at is null
  where a.reflection_id = p_reflection and a.user_id = p_user and a.activated_at is not null and voice_clone.is_restorable(a)
  order by a.activated_at desc, a.version desc limit 1 for no key update of v;
  if v_kept.id is null then
    raise exception 'no earlier voice of this reflection is kept'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('nothing_to_restore', v_newer),
            hint = 'Clone one with POST /v1/reflections/{id}/voice/clone.';
  end if;
  perform voice_clone.cancel_attempts('restored', p_reflection => p_reflection);
  return query select * from voice_clone.reactivate_attempt(v_kept.id);
end
$$;

-- Ready again. A step that was running or had failed starts again; a voice that was synced and heard still is.
create function voice_clone.reactivate_attempt(p_attempt uuid) returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$
  update public.voice_clone_attempts a
  set status = 'ready', is_active = true, cancel_reason = null, error_code = null, error_message = null,
      not_before = null, waiting_since = null,
      runtime_status = case when a.runtime_status in ('syncing', 'failed') then 'pending' else a.runtime_status end,
      preview_status = case when a.preview_status in ('rendering', 'failed') then 'required' else a.preview_status end,
      sync_count = case a.runtime_status when 'synced' then a.sync_count else 0 end,
      preview_count = case when a.preview_status in ('rendered', 'completed') then a.preview_count else 0 end
  where a.id = p_attempt
  returning *
$$;

grant execute on function
  voice_clone.retry_attempt(uuid, uuid),
  voice_clone.retry_elsewhere(uuid, uuid, uuid, uuid, text, text, boolean),
  voice_clone.restore_attempt(uuid, uuid)
to voice_clone_backend;
