-- Mirror: reflections.voice as a pure function of the active attempt.

-- The mirror of one attempt, as clients read it.
create function voice_clone.attempt_mirror(p_attempt public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'cloneStatus', p_attempt.status,
    'runtimeStatus', p_attempt.runtime_status,
    'previewStatus', p_attempt.preview_status,
    'previewRequired', p_attempt.preview_status not in ('not_required', 'completed'),
    'attemptId', p_attempt.id,
    'voiceId', case when p_attempt.status = 'ready' then p_attempt.voice_id end,
    'provider', p_attempt.provider,
    'targetModel', p_attempt.target_model,
    'error', case when p_attempt.error_code is not null
      then jsonb_build_object('code', p_attempt.error_code, 'message', p_attempt.error_message) end,
    'version', p_attempt.version,
    'updatedAt', p_attempt.updated_at);
end
$$;

-- The mirror where no attempt is active any more, at the version of the last one that was.
create function voice_clone.empty_mirror(p_last public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'cloneStatus', 'none', 'runtimeStatus', 'pending', 'previewStatus', 'not_required', 'previewRequired', false,
    'attemptId', null, 'voiceId', null, 'provider', null, 'targetModel', null, 'error', null,
    'version', p_last.version, 'updatedAt', p_last.updated_at);
end
$$;

-- Brings the mirrors of these reflections up to date, and returns how many changed. Called as often and in
-- whatever order you like: the version is checked against the locked row, so no mirror goes back.
-- The array is a set: duplicates cost nothing.
create function voice_clone.mirror_reflections(p_reflections uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_count int;
begin
  -- In one order, so that two of these calls cannot lock each other out.
  perform from public.reflections r where r.id = any (p_reflections) order by r.id for no key update;
  update public.reflections r
  set voice = r.voice || case when (last.attempt).is_active
    then voice_clone.attempt_mirror(last.attempt) else voice_clone.empty_mirror(last.attempt) end
  from unnest(p_reflections) wanted (id)
  cross join lateral (
    select a as attempt from public.voice_clone_attempts a
    where a.reflection_id = wanted.id and a.activated_at is not null
    order by a.version desc limit 1
  ) last
  where r.id = wanted.id and coalesce((r.voice ->> 'version')::bigint, 0) < (last.attempt).version;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- Only this role may write the mirror's keys, and only this function runs as it.
grant create on schema voice_clone to voice_clone_mirror;
alter function voice_clone.mirror_reflections(uuid[]) owner to voice_clone_mirror;
revoke create on schema voice_clone from voice_clone_mirror;
revoke all on function voice_clone.mirror_reflections(uuid[]) from public;
grant execute on function voice_clone.attempt_mirror(public.voice_clone_attempts), voice_clone.empty_mirror(public.voice_clone_attempts)
to voice_clone_mirror;
grant execute on function voice_clone.mirror_reflections(uuid[]) to voice_clone_backend;
