-- Mirror: reflections.voice, employees.voice and employees.voice_id as a pure function of the active attempt.

-- Nothing happens any more unless the user does something. What is tried again by itself is no error to its user.
create function voice_clone.final_error(a public.voice_clone_attempts) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return jsonb_build_object('code', a.error_code, 'message', a.error_message, 'final', true);
end
$$;

-- The mirror of one attempt, as clients read it.
create function voice_clone.attempt_mirror(a public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'cloneStatus', case when a.taken_down_at is null then a.status else 'failed' end,
    'runtimeStatus', a.runtime_status,
    'previewStatus', a.preview_status,
    'previewRequired', a.preview_status not in ('not_required', 'completed'),
    'attemptId', a.id,
    'voiceId', case when a.status = 'ready' and a.taken_down_at is null then a.voice_id end,
    'provider', a.provider,
    'targetModel', a.target_model,
    'error', case when a.taken_down_at is not null then jsonb_build_object(
        'code', 'voice_taken_down', 'message', 'This voice was taken down after a notice.', 'final', true)
      when a.error_code is not null and 'failed' in (a.status, a.runtime_status, a.preview_status)
      then voice_clone.final_error(a) end,
    'version', a.version,
    'updatedAt', voice_clone.utc_text(a.updated_at));
end
$$;

-- The provider's id of the voice that speaks for an employee: employees.voice_id, and that of their file.
create function voice_clone.employee_voice_id(a public.voice_clone_attempts) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case when a.is_active and a.status = 'ready' and a.taken_down_at is null then a.provider_voice_id end;
end
$$;

-- The mirror where no attempt is active any more, at the version of the last active one. It has an error where that one ended
-- because the voice that it used was removed elsewhere.
create function voice_clone.empty_mirror(p_last public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return voice_clone.first_mirror() || jsonb_build_object(
    'error', case when p_last.cancel_reason = 'original_removed'
      then voice_clone.final_error(p_last) end,
    'version', p_last.version, 'updatedAt', voice_clone.utc_text(p_last.updated_at));
end
$$;

-- What the mirror shows while this is the attempt that was activated last.
create function voice_clone.mirror_of(p_last public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return case when p_last.is_active then voice_clone.attempt_mirror(p_last) else voice_clone.empty_mirror(p_last) end;
end
$$;

-- The mirror in a voice, as a route shows it. A voice that was never mirrored may have keys of the application with these names.
create function voice_clone.shown_mirror(p_voice jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_voice ?& array(select jsonb_object_keys(voice_clone.first_mirror())) then p_voice
    else voice_clone.first_mirror() end;
end
$$;

-- Whether a mirror is written: it is behind, or of the same version with other content, as after a change past the guard. The time is not
-- compared: it changes with the version.
create function voice_clone.is_mirror_stale(p_voice jsonb, p_last public.voice_clone_attempts) returns boolean
language plpgsql stable set search_path = ''
as $$
declare
  v_shown bigint := voice_clone.shown_version(p_voice);
begin
  return v_shown < p_last.version
    or (v_shown = p_last.version and not coalesce(p_voice, '{}') @> (voice_clone.mirror_of(p_last) - 'updatedAt'));
end
$$;

-- Writes the mirrors of these reflections, which the caller has locked, and returns how many changed. The attempts are read
-- after the lock, and the version is compared with the locked row, so no mirror goes back.
create function voice_clone.write_mirrors(p_reflections uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_mirrors jsonb[];
  v_count int;
  v_is_exact boolean;
begin
  select array_agg(r.id), array_agg(voice_clone.mirror_of(last.attempt))
  into v_ids, v_mirrors
  from unnest(p_reflections) requested (id)
  join public.reflections r on r.id = requested.id
  cross join lateral (
    select a as attempt from public.voice_clone_attempts a
    where a.reflection_id = requested.id and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1
  ) last
  where voice_clone.is_mirror_stale(r.voice, last.attempt);
  if v_ids is null then
    return 0;
  end if;
  perform set_config('voice_clone.mirror_pass', voice_clone.mirror_pass(pg_trigger_depth() + 1), true);
  -- The triggers of an adopted table may name their objects without a schema. The statement names all of its own with one.
  perform set_config('search_path', 'public, extensions, pg_temp', true);
  with written as (
    update public.reflections r set voice = coalesce(r.voice, '{}') || m.mirror
    from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_mirrors)) m (id, mirror) where r.id = m.id
    returning r.voice @> m.mirror as is_exact
  )
  select pg_catalog.count(*), pg_catalog.bool_and(w.is_exact) into v_count, v_is_exact from written w;
  perform pg_catalog.set_config('voice_clone.mirror_pass', '', true);
  if not v_is_exact then
    raise exception 'a trigger of reflections changes keys of voice that only the mirror writes' using errcode = '42501';
  end if;
  return v_count;
end
$$;

-- The same for employees. voice_id is the provider's id of a voice that is ready, and null where none is; one that the
-- application kept before there was an attempt stays.
create function voice_clone.write_employee_mirrors(p_employees uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_mirrors jsonb[];
  v_voices text[];
  v_count int;
  v_is_exact boolean;
begin
  select array_agg(e.id), array_agg(voice_clone.mirror_of(last.attempt)), array_agg(voice_clone.employee_voice_id(last.attempt))
  into v_ids, v_mirrors, v_voices
  from unnest(p_employees) requested (id)
  join public.employees e on e.id = requested.id
  cross join lateral (
    select a as attempt from public.voice_clone_attempts a
    where a.employee_id = requested.id and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1
  ) last
  where voice_clone.is_mirror_stale(e.voice, last.attempt)
    or (voice_clone.shown_version(e.voice) = (last.attempt).version
      and e.voice_id is distinct from voice_clone.employee_voice_id(last.attempt));
  if v_ids is null then
    return 0;
  end if;
  perform set_config('voice_clone.mirror_pass', voice_clone.mirror_pass(pg_trigger_depth() + 1), true);
  perform set_config('search_path', 'public, extensions, pg_temp', true);
  with written as (
    update public.employees e set voice = coalesce(e.voice, '{}') || m.mirror, voice_id = m.voice
    from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_mirrors), pg_catalog.unnest(v_voices)) m (id, mirror, voice)
    where e.id = m.id
    returning e.voice @> m.mirror and e.voice_id is not distinct from m.voice as is_exact
  )
  select pg_catalog.count(*), pg_catalog.bool_and(w.is_exact) into v_count, v_is_exact from written w;
  perform pg_catalog.set_config('voice_clone.mirror_pass', '', true);
  if not v_is_exact then
    raise exception 'a trigger of employees changes what only the mirror writes' using errcode = '42501';
  end if;
  return v_count;
end
$$;

-- Updates the mirrors of these reflections and employees, and returns how many changed. Safe to call often and in any order. Duplicates
-- in the array have no effect. Waits for a reflection that another transaction has locked.
create function voice_clone.mirror_reflections(p_reflections uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
begin
  -- In one order, so that two calls cannot deadlock.
  perform from public.reflections r where r.id = any (p_reflections) order by r.id for no key update;
  perform from public.employees e where e.id = any (p_reflections) order by e.id for no key update;
  return voice_clone.write_mirrors(p_reflections) + voice_clone.write_employee_mirrors(p_reflections);
end
$$;

-- For the consumer, which acknowledges the messages of these reflections in the same transaction. Returns those that it
-- left: another transaction has the row, or the application's triggers wait for one, or a transition that sent no message
-- of its own is not committed yet. Their messages come back. Waits for no other transaction for long.
create function voice_clone.mirror_unlocked_reflections(p_reflections uuid[]) returns uuid[]
language plpgsql security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  v_free uuid[];
  v_id uuid;
  v_done uuid[] := '{}';
  v_blocked int := 0;
begin
  select array_agg(requested.id) into v_free
  from (select distinct r as id from unnest(p_reflections) r order by r) requested
  where pg_try_advisory_xact_lock(voice_clone.mirror_lock(requested.id));
  v_free := array(
    select r.id from public.reflections r where r.id = any (v_free) order by r.id for no key update skip locked)
    || array(select e.id from public.employees e where e.id = any (v_free) order by e.id for no key update skip locked);
  begin
    perform voice_clone.write_mirrors(v_free);
    perform voice_clone.write_employee_mirrors(v_free);
    v_done := v_free;
  exception when lock_not_available then
    foreach v_id in array v_free loop
      begin
        exit when v_blocked = 5; -- the others are not made to wait for so many
        perform voice_clone.write_mirrors(array[v_id]);
        perform voice_clone.write_employee_mirrors(array[v_id]);
        v_done := v_done || v_id;
      exception when lock_not_available then
        v_blocked := v_blocked + 1;
      end;
    end loop;
  end;
  return array(
    select r.id from public.reflections r where r.id = any (p_reflections) and r.id <> all (v_done)
    union all
    select e.id from public.employees e where e.id = any (p_reflections) and e.id <> all (v_done)
    order by 1);
end
$$;

grant execute on function voice_clone.mirror_reflections(uuid[]), voice_clone.mirror_unlocked_reflections(uuid[])
to voice_clone_backend;
