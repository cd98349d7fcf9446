-- The preview of an employee's voice: an admin requests the clip, and says that it was heard.

-- Locked, for an admin; VC004 where there is none.
create function voice_clone.active_attempt_of_employee(p_employee uuid, p_user uuid) returns public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  v_org uuid := voice_clone.require_employee(p_employee, p_user, true);
  a public.voice_clone_attempts;
begin
  select x.* into a from public.voice_clone_attempts x
  where x.employee_id = p_employee and x.org_id = v_org and x.is_active for no key update;
  if a.id is null then
    raise exception 'this employee has no active attempt' using errcode = 'VC004';
  end if;
  return a;
end
$$;

create function voice_clone.request_employee_preview(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$ select * from voice_clone.request_preview_of(voice_clone.active_attempt_of_employee(p_employee, p_user)) $$;

create function voice_clone.complete_employee_preview(p_employee uuid, p_user uuid) returns setof public.voice_clone_attempts
language sql security definer set search_path = ''
as $$ select * from voice_clone.complete_preview_of(voice_clone.active_attempt_of_employee(p_employee, p_user)) $$;

grant execute on function
  voice_clone.request_employee_preview(uuid, uuid),
  voice_clone.complete_employee_preview(uuid, uuid)
to voice_clone_backend;
