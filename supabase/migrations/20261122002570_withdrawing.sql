-- Withdrawing: for operators who remove Likeness. Every voice of a person ends, and is removed at its provider at once, without the
-- wait for its retention. Consents and recordings stay.

-- Whose voices are or may be at a provider without being removed, and whose attempts could still make one, the first after p_after.
-- Of an attempt whose person was erased, the attempt.
create function operations.owners_of_voices(p_after uuid default null, p_limit int default 1000)
returns table (kind text, id uuid)
language sql stable security definer set search_path = ''
as $$
  select distinct
    case when a.user_id is not null then 'user' when a.employee_id is not null then 'employee' else 'attempt' end,
    coalesce(a.user_id, a.employee_id, a.id) as owner
  from public.voice_clone_attempts a
  where (a.status in ('awaiting_upload', 'queued', 'processing', 'verifying', 'ready', 'failed') or exists (
      select from voice_clone.enrollments e where e.attempt_id = a.id and (
        e.status = 'attached' or (e.status = 'orphaned' and e.removal_due_at is null))))
    and (p_after is null or coalesce(a.user_id, a.employee_id, a.id) > p_after)
  order by owner limit least(greatest(p_limit, 1), 10000)
$$;

-- Of one person, so that a call locks the rows of one. The same twice changes nothing.
create function operations.withdraw_voices(p_kind text, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempts uuid[];
begin
  if p_kind in ('user', 'employee') then
    perform from auth.users u where u.id = p_id for key share; -- first, as where the user is deleted
    perform voice_clone.lock_consents(p_id);
    perform from public.employees e where e.id = p_id for no key update;
  end if;
  v_attempts := array(
    select a.id from public.voice_clone_attempts a
    where case p_kind when 'user' then a.user_id = p_id when 'employee' then a.employee_id = p_id and a.user_id is null
      when 'attempt' then a.id = p_id end);
  perform voice_clone.silence(v_attempts, case p_kind when 'user' then p_id end, 'voice_deleted');
  perform voice_clone.withdraw(v_attempts);
end
$$;

revoke all on function operations.owners_of_voices(uuid, int), operations.withdraw_voices(text, uuid)
from public, anon, authenticated;
grant execute on function operations.owners_of_voices(uuid, int), operations.withdraw_voices(text, uuid) to service_role;
