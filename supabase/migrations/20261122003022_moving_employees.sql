-- Moving the voice of an employee, by an admin or an operator: a voice of the same sample, under the same consent, at another provider.
-- An employee has one voice and no library beside it. So the new attempt supersedes the old one, by the ordinary rules; a voice that
-- may be launched is only moved where the caller accepts that it is silent until the new one was heard.

create function voice_clone.move_employee_voice(
  p_attempt uuid, p_employee uuid, p_user uuid, p_provider text, p_region text, p_accounts text[], p_switch boolean,
  p_preview_required boolean, p_per_day int default null, p_is_operator boolean default false
) returns setof public.voice_clone_attempts
language plpgsql security definer set search_path = ''
as $$
declare
  a public.voice_clone_attempts;
  v public.voices;
  v_new uuid;
begin
  perform voice_clone.require_employee(p_employee, p_user, true) where not p_is_operator;
  perform voice_clone.lock_consents_shared(p_employee);
  perform from public.employees e where e.id = p_employee for no key update;
  perform voice_clone.require_employee(p_employee, p_user, true) where not p_is_operator; -- whom the lock may have waited for
  perform voice_clone.check_organization_limits(e.org_id, p_per_day) from public.employees e where e.id = p_employee;
  select * into a from public.voice_clone_attempts x where x.employee_id = p_employee and x.is_active for no key update;
  if a.status in ('queued', 'processing', 'verifying') then
    raise exception 'the voice of this employee is being made'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('move_in_progress', a),
            hint = 'Wait until it is ready, or has failed.';
  end if;
  select * into v from public.voices x where x.attempt_id = a.id and x.deleted_at is null and x.lost_at is null;
  if not found then
    raise exception 'this employee has no voice that could be moved' using errcode = 'VC004', detail = '{"field": "employee_id"}',
      hint = 'Retry what failed, also at another provider, with POST /v1/employees/{id}/voice/retry.';
  end if;
  perform voice_clone.refuse_move(v, voice_clone.move_standing(v, p_provider, p_region, p_accounts));
  if not p_switch and voice_clone.launch_blockers(a.status, a.runtime_status, a.preview_status, a.error_code) = '{}' then
    raise exception 'this voice works, and is silent from its move until the new one was heard'
      using errcode = 'VC007', detail = voice_clone.refusal_detail('switch_required', a), hint = 'Send switch_now.';
  end if;
  select c.voice_id into v_new from voice_clone.clone_again_elsewhere(
    p_attempt, a, case when p_is_operator then 'operator_move' else 'recording' end, p_provider, p_region, p_preview_required,
    v.id, 0) c;
  update public.voices x set moved_to = v_new where x.id = v.id;
  return query select * from public.voice_clone_attempts x where x.id = p_attempt;
end
$$;

grant execute on function
  voice_clone.move_employee_voice(uuid, uuid, uuid, text, text, text[], boolean, boolean, int, boolean)
to voice_clone_backend;
