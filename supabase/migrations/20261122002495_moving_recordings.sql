-- Moving recordings of an older layout, {call_id}/{RecordingSid}.wav, to the object of their employee. A command copies the object
-- between the two functions, in one transaction: no worker of the employee claims a recording meanwhile.

insert into voice_clone.edges (machine, from_status, to_status, event) values ('recording', '', 'stored', 'moved');

-- What is to be done with such an object. moved: an earlier run did it; known: its callback came, and the queue has it; older: the
-- employee has a newer recording; later: a worker is at work for the employee; unmatched: no record of the call names an employee.
create function voice_clone.begin_recording_move(p_call text, p_recording_sid text, p_recorded_at timestamptz)
returns table (outcome text, employee_id uuid)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  v_employee uuid;
  r voice_clone.recordings;
begin
  select e.id into v_employee from public.calls c join public.employees e on e.id = c.employee_id
  where c.id::text = p_call or c.call_sid = p_call limit 1 for key share of e;
  if v_employee is null then
    return query select 'unmatched', null::uuid;
    return;
  end if;
  perform voice_clone.lock_recordings_of(v_employee);
  select * into r from voice_clone.recordings x where x.recording_sid = p_recording_sid;
  return query select
    case
      when r.employee_id = v_employee and r.status in ('stored', 'superseded') then 'moved'
      when r.id is not null then 'known'
      when exists (select from voice_clone.recordings x where x.employee_id = v_employee and x.status = 'processing') then 'later'
      when exists (
        select from voice_clone.recordings x where x.employee_id = v_employee and x.status = 'stored'
          and (x.recorded_at, x.recording_sid) > (p_recorded_at, p_recording_sid)) then 'older'
      else 'movable'
    end, v_employee;
end
$$;

-- The employee's object is a copy of this one. VC007 where it may not be.
create function voice_clone.end_recording_move(p_call text, p_recording_sid text, p_recorded_at timestamptz, p_bytes bigint)
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_move record;
begin
  select * into v_move from voice_clone.begin_recording_move(p_call, p_recording_sid, p_recorded_at);
  if v_move.outcome <> 'movable' then
    raise exception 'recording % is not moved: %', p_recording_sid, v_move.outcome using errcode = 'VC007';
  end if;
  update voice_clone.recordings x set status = 'superseded' where x.employee_id = v_move.employee_id and x.status = 'stored';
  insert into voice_clone.recordings (recording_sid, org_id, employee_id, recorded_at, status, bytes, stored_at)
  select p_recording_sid, e.org_id, e.id, p_recorded_at, 'stored', p_bytes, now()
  from public.employees e where e.id = v_move.employee_id;
end
$$;

grant execute on function
  voice_clone.begin_recording_move(text, text, timestamptz),
  voice_clone.end_recording_move(text, text, timestamptz, bigint)
to voice_clone_backend;
