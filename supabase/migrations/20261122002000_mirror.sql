-- Mirror: reflections.voice as a pure function of the active attempt.

-- The mirror of one attempt, as clients read it.
create function voice_clone.attempt_mirror(a public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'cloneStatus', a.status,
    'runtimeStatus', a.runtime_status,
    'previewStatus', a.preview_status,
    'previewRequired', a.preview_status not in ('not_required', 'completed'),
    'attemptId', a.id,
    'voiceId', case when a.status = 'ready' then a.voice_id end,
    'provider', a.provider,
    'targetModel', a.target_model,
    'error', case when a.error_code is not null
      then jsonb_build_object('code', a.error_code, 'message', a.error_message) end,
    'version', a.version,
    'updatedAt', a.updated_at);
end
$$;

-- The mirror where no attempt is active any more, at the version of the last active one. It has an error where that one ended
-- because the voice that it used was removed elsewhere.
create function voice_clone.empty_mirror(p_last public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'cloneStatus', 'none', 'runtimeStatus', 'pending', 'previewStatus', 'not_required', 'previewRequired', false,
    'attemptId', null, 'voiceId', null, 'provider', null, 'targetModel', null,
    'error', case when p_last.cancel_reason = 'original_removed'
      then jsonb_build_object('code', p_last.error_code, 'message', p_last.error_message) end,
    'version', p_last.version, 'updatedAt', p_last.updated_at);
end
$$;

-- Updates the mirrors of these reflections, and returns how many changed. Safe to call often and in any order: the version
-- is compared with the locked row, so no mirror goes back. Duplicates in the array have no effect.
create function voice_clone.mirror_reflections(p_reflections uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_count int;
begin
  -- In one order, so that two calls cannot deadlock.
  perform from public.reflections r where r.id = any (p_reflections) order by r.id for no key update;
  -- The triggers of an adopted table may name their objects without a schema.
  perform set_config('search_path', 'public, extensions, pg_temp', true);
  update public.reflections r
  set voice = coalesce(r.voice, '{}') || case when (last.attempt).is_active
    then voice_clone.attempt_mirror(last.attempt) else voice_clone.empty_mirror(last.attempt) end
  from unnest(p_reflections) requested (id)
  cross join lateral (
    select a as attempt from public.voice_clone_attempts a
    where a.reflection_id = requested.id and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1
  ) last
  where r.id = requested.id and voice_clone.shown_version(r.voice) < (last.attempt).version;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- Only this role may write the mirror's keys.
grant create on schema voice_clone to voice_clone_mirror;
alter function voice_clone.mirror_reflections(uuid[]) owner to voice_clone_mirror;
revoke create on schema voice_clone from voice_clone_mirror;
revoke all on function voice_clone.mirror_reflections(uuid[]) from public;
grant execute on function voice_clone.attempt_mirror(public.voice_clone_attempts), voice_clone.empty_mirror(public.voice_clone_attempts)
to voice_clone_mirror;
grant execute on function voice_clone.mirror_reflections(uuid[]) to voice_clone_backend;
