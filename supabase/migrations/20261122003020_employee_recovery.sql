-- Recovering the voice of an employee, as an owner does that of a reflection: an admin retries what failed, also at another provider,
-- restores the voice before, or resets. Lock order: the employee's consents, the employee, attempts by id, samples.

-- The employee is locked, before their attempts; by an admin.
create function voice_clone.lock_employee(p_employee uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  perform from public.employees e where e.id = p_employee for no key update;
end
$$;

-- The active attempt, locked, where an admin may retry it. The caller has locked the employee.
create function voice_clone.failed_attempt_of_employee(p_employee uuid) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  select * into a from public.voice_clone_attempts x
  where x.employee_id = p_employee and x.is_active for no key update;
  if not found then
    raise exception 'this employee has no active attempt'
      using errcode = 'VC007', detail = '{"code": "nothing_to_retry"}',
            hint = 'Clone their recording with POST /api/employees/{id}/clone-voice.';
  end if;
  perform voice_clone.require_retry(a);
  return a;
end
$$;

-- The same attempt again, from the step that failed.
create function voice_clone.retry_employee_attempt(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_employee(p_employee, p_user);
  return query select * from voice_clone.retry_failed(voice_clone.failed_attempt_of_employee(p_employee));
end
$$;

-- What the service compares with another provider, for an admin: the sample of the active attempt, and where its voice is.
create function voice_clone.sample_of_employee(p_employee uuid, p_user uuid)
returns table (attempt_id uuid, provider text, region text, account text, language text, measures jsonb)
language plpgsql stable security definer set search_path = '' rows 1
as $$
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  return query
    select a.id, a.provider, a.region, coalesce(v.provider_account, ''), a.language, s.measures
    from public.voice_clone_attempts a
    join public.voice_samples s on s.id = a.sample_id
    left join public.voices v on v.attempt_id = a.id
    where a.employee_id = p_employee and a.is_active;
end
$$;

-- A new attempt with the sample of the active one, which the caller has locked, at another provider. It supersedes that one.
create function voice_clone.clone_again_elsewhere(
  p_attempt uuid, a public.voice_clone_attempts, p_source text, p_provider text, p_region text, p_preview_required boolean,
  p_moved_from uuid, p_retries int
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  s public.voice_samples;
begin
  perform voice_clone.lock_samples(array[a.sample_id]);
  select * into s from public.voice_samples x where x.id = a.sample_id and x.status = 'ready';
  if not found then
    raise exception 'the sample of this voice was removed'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('sample_missing', a),
            hint = 'Record another call, and clone it with POST /api/employees/{id}/clone-voice.';
  end if;
  perform voice_clone.check_employee_consent(s.consent_id, a.employee_id);
  insert into public.voice_clone_attempts (
    id, employee_id, org_id, sample_id, source, provider, region, moved_from, preview_status, user_retry_count, user_retry_budget)
  values (
    p_attempt, a.employee_id, a.org_id, s.id, p_source, p_provider, p_region, p_moved_from,
    case when p_preview_required then 'required' else 'not_required' end, p_retries, a.user_retry_budget);
  return query select * from voice_clone.queue_employee_attempt(p_attempt, s);
end
$$;

-- The same sample at another provider; keeps the count of retries. p_failed is the attempt that the caller saw: only its sample was
-- checked against this provider.
create function voice_clone.retry_employee_elsewhere(
  p_attempt uuid, p_employee uuid, p_user uuid, p_failed uuid, p_provider text, p_region text, p_preview_required boolean
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  perform voice_clone.lock_consents_shared(p_employee);
  perform voice_clone.lock_employee(p_employee, p_user);
  a := voice_clone.failed_attempt_of_employee(p_employee);
  if a.id is distinct from p_failed then
    raise exception 'another attempt is active by now'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('attempt_superseded', a),
            hint = 'Read the employee''s voice again, and retry that attempt.';
  elsif (a.provider, a.region) = (p_provider, p_region) then
    return query select * from voice_clone.retry_failed(a);
    return;
  end if;
  return query select * from voice_clone.clone_again_elsewhere(
    p_attempt, a, a.source, p_provider, p_region, p_preview_required, null, a.user_retry_count + 1);
end
$$;

-- Back to the voice that worked before, where the attempt that superseded it failed.
create function voice_clone.restore_employee_attempt(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_newer public.voice_clone_attempts;
  v_kept public.voice_clone_attempts;
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  perform voice_clone.lock_consents_shared(p_employee);
  perform voice_clone.lock_employee(p_employee, p_user);
  perform voice_clone.lock_attempts(array(
    select a.id from public.voice_clone_attempts a
    where a.employee_id = p_employee and a.activated_at is not null
      and (a.is_active or a.ready_at is not null or a.activated_at = (
        select max(x.activated_at) from public.voice_clone_attempts x where x.employee_id = p_employee))));
  select a.* into v_newer from public.voice_clone_attempts a
  join public.employees e on e.id = a.employee_id and e.org_id = a.org_id -- not one of an organization that they left
  where a.employee_id = p_employee and a.activated_at is not null order by a.activated_at desc, a.version desc limit 1;
  if v_newer.id is not null and not voice_clone.has_ended_without_voice(v_newer) then
    raise exception 'the latest attempt has not failed: it is %', v_newer.status
      using errcode = 'VC007', detail = voice_clone.refusal_detail('latest_not_failed', v_newer);
  end if;
  select a.* into v_kept from public.voice_clone_attempts a
  join public.voices v on v.attempt_id = a.id and v.deleted_at is null
  where a.employee_id = p_employee and a.activated_at is not null and voice_clone.is_restorable(a)
  order by a.activated_at desc, a.version desc limit 1 for no key update of v;
  if v_kept.id is null then
    raise exception 'no earlier voice of this employee is kept'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('nothing_to_restore', v_newer),
            hint = 'Clone their recording with POST /api/employees/{id}/clone-voice.';
  end if;
  perform voice_clone.cancel_attempts('restored', p_attempts => array(
    select a.id from public.voice_clone_attempts a where a.employee_id = p_employee and a.is_active));
  return query select * from voice_clone.reactivate_attempt(v_kept.id);
end
$$;

-- The employee has no voice from now on; the recording and the consent stay. A second call changes nothing.
create function voice_clone.reset_employee_attempt(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_employee(p_employee, p_user);
  perform voice_clone.cancel_attempts('reset', p_attempts => array(
    select a.id from public.voice_clone_attempts a where a.employee_id = p_employee and a.is_active));
  return query
    select a.* from public.voice_clone_attempts a
    join public.employees e on e.id = a.employee_id and e.org_id = a.org_id -- not one of an organization that they left
    where a.employee_id = p_employee and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1;
  if not found then
    raise exception 'this employee never had a voice' using errcode = 'VC007', detail = '{"code": "nothing_to_reset"}';
  end if;
end
$$;

grant execute on function
  voice_clone.retry_employee_attempt(uuid, uuid),
  voice_clone.sample_of_employee(uuid, uuid),
  voice_clone.retry_employee_elsewhere(uuid, uuid, uuid, uuid, text, text, boolean),
  voice_clone.restore_employee_attempt(uuid, uuid),
  voice_clone.reset_employee_attempt(uuid, uuid)
to voice_clone_backend;
