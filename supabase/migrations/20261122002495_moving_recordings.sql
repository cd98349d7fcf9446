-- Moving recordings of an older layout, {call_id}/{RecordingSid}.wav, to the object of their employee. An operator's command copies the
-- object under a lease like that of a fetch, so no worker of the employee claims a recording meanwhile.

insert into voice_clone.edges (machine, from_status, to_status, event) values ('recording', '', 'processing', 'move_claimed');

-- What is to be done with such an object. moved: an earlier run did it; known: its callback came, and the queue has it; older: the
-- employee has a newer recording; later: a worker is at work for the employee; unmatched: no record of the call names an employee.
create function voice_clone.recording_move(p_call text, p_recording_sid text, p_recorded_at timestamptz)
returns table (outcome text, employee_id uuid)
language plpgsql stable security definer set search_path = '' rows 1
as $$
declare
  v_employee uuid;
  r voice_clone.recordings;
begin
  select e.id into v_employee from public.calls c join public.employees e on e.id = c.employee_id
  where c.id::text = p_call or c.call_sid = p_call limit 1;
  if v_employee is null then
    return query select 'unmatched', null::uuid;
    return;
  end if;
  select * into r from voice_clone.recordings x where x.recording_sid = p_recording_sid;
  return query select
    case
      when r.employee_id = v_employee and r.status in ('stored', 'superseded') then 'moved'
      when r.id is not null and r.account_sid is not null then 'known'
      when voice_clone.recording_removed_until(v_employee) is not null then 'later'
      when exists (select from voice_clone.recordings x where x.employee_id = v_employee and x.status = 'processing') then 'later'
      when exists (
        select from voice_clone.recordings x where x.employee_id = v_employee and x.status = 'stored'
          and (x.recorded_at, x.recording_sid) > (p_recorded_at, p_recording_sid)) then 'older'
      else 'movable'
    end, v_employee;
end
$$;

-- Of a page of objects, by their place in the arrays; read only.
create function operations.recording_moves(p_calls text[], p_recording_sids text[], p_recorded_at timestamptz[])
returns table (n bigint, outcome text, employee_id uuid)
language sql stable security definer set search_path = ''
as $$
  select o.n, m.outcome, m.employee_id
  from unnest(p_calls, p_recording_sids, p_recorded_at) with ordinality o (call, recording_sid, recorded_at, n)
  cross join lateral voice_clone.recording_move(o.call, o.recording_sid, o.recorded_at) m
  order by o.n
$$;

-- Where it is movable, the row and its lease; else the outcome alone. The lease lasts longer than an upload may.
create function operations.claim_recording_move(p_call text, p_recording_sid text, p_recorded_at timestamptz, p_lease_owner text)
returns table (outcome text, employee_id uuid, recording_id uuid, lease_epoch int)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  v_employee uuid := (select m.employee_id from voice_clone.recording_move(p_call, p_recording_sid, p_recorded_at) m);
  v_move record;
  r voice_clone.recordings;
begin
  perform from public.employees e where e.id = v_employee for key share;
  perform voice_clone.lock_recordings_of(v_employee) where v_employee is not null;
  for r in
    select * from voice_clone.recordings x
    where x.employee_id = v_employee and x.status = 'processing' and x.lease_expires_at <= now() for no key update
  loop
    perform voice_clone.recover_recording(r);
  end loop;
  select * into v_move from voice_clone.recording_move(p_call, p_recording_sid, p_recorded_at);
  if v_move.outcome <> 'movable' or v_move.employee_id is distinct from v_employee then
    return query select case v_move.outcome when 'movable' then 'later' else v_move.outcome end, v_move.employee_id, null::uuid, null::int;
    return;
  end if;
  return query
    insert into voice_clone.recordings as x (
      recording_sid, org_id, employee_id, recorded_at, status, lease_epoch, lease_owner, leased_at, lease_expires_at)
    select p_recording_sid, e.org_id, e.id, p_recorded_at, 'processing', 1, p_lease_owner, now(),
      now() + voice_clone.timeout('recording_lease')
    from public.employees e where e.id = v_employee
    returning 'movable', x.employee_id, x.id, x.lease_epoch;
end
$$;

-- The employee's object is a copy of this one. False where the lease was lost meanwhile: then the copy goes, where nothing else is stored.
create function operations.complete_recording_move(p_recording uuid, p_epoch int, p_employee uuid, p_bytes bigint) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.complete_recording(p_recording, p_epoch, p_bytes);
  return true;
exception when sqlstate 'VC002' then
  perform voice_clone.remove_late_recording(p_employee);
  return false;
end
$$;

revoke all on function
  operations.recording_moves(text[], text[], timestamptz[]),
  operations.claim_recording_move(text, text, timestamptz, text),
  operations.complete_recording_move(uuid, int, uuid, bigint)
from public, anon, authenticated;
grant execute on function
  operations.recording_moves(text[], text[], timestamptz[]),
  operations.claim_recording_move(text, text, timestamptz, text),
  operations.complete_recording_move(uuid, int, uuid, bigint)
to service_role, voice_clone_backend;
