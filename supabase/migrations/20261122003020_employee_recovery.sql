-- Recovering the voice of an employee, as an owner does that of a reflection: an admin retries what failed, or resets.

-- The employee is locked, before their attempts; by an admin.
create function voice_clone.lock_employee(p_employee uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_employee(p_employee, p_user, true);
  perform from public.employees e where e.id = p_employee for no key update;
end
$$;

-- The same attempt again, from the step that failed.
create function voice_clone.retry_employee_attempt(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
begin
  perform voice_clone.lock_employee(p_employee, p_user);
  select * into a from public.voice_clone_attempts x
  where x.employee_id = p_employee and x.is_active for no key update;
  if not found then
    raise exception 'this employee has no active attempt'
      using errcode = 'VC007', detail = '{"code": "nothing_to_retry"}',
            hint = 'Clone their recording with POST /api/employees/{id}/clone-voice.';
  end if;
  return query select * from voice_clone.retry_failed(a);
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
    select * from public.voice_clone_attempts a where a.employee_id = p_employee and a.activated_at is not null
    order by a.activated_at desc, a.version desc limit 1;
  if not found then
    raise exception 'this employee never had a voice' using errcode = 'VC007', detail = '{"code": "nothing_to_reset"}';
  end if;
end
$$;

grant execute on function
  voice_clone.retry_employee_attempt(uuid, uuid),
  voice_clone.reset_employee_attempt(uuid, uuid)
to voice_clone_backend;
