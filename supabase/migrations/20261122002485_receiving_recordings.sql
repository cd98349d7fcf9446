-- Receiving recordings: from a callback of Twilio, by the record of its call, or by an admin who assigns it. Lock order: the
-- call, the organization or the employee, the recording.

-- Orders a callback and the record of its call, so that the later of the two sees the other.
create function voice_clone.lock_call(p_call_sid text) returns void
language sql security definer set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('call:' || p_call_sid, 0)) $$;

-- The employee that the record of a call names, who cannot be deleted before the transaction ends. No row where none is named,
-- or more than one.
create function voice_clone.employee_of_call(p_call_sid text) returns table (employee_id uuid, org_id uuid)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select e.id, e.org_id from public.employees e
    where e.id = (
      select (array_agg(distinct c.employee_id))[1] from public.calls c
      where c.call_sid = p_call_sid and c.employee_id is not null having count(distinct c.employee_id) = 1)
    for key share;
end
$$;

-- A completed recording. The same again changes nothing. p_organization: that the callback's address names, for a call without a
-- known employee.
create function voice_clone.receive_recording(
  p_account_sid text, p_call_sid text, p_recording_sid text, p_recorded_at timestamptz, p_seconds int, p_channels int,
  p_organization uuid
) returns table (recording_id uuid, status text, is_new boolean)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  v_employee uuid;
  v_organization uuid;
begin
  perform voice_clone.lock_call(p_call_sid);
  select e.employee_id, e.org_id into v_employee, v_organization from voice_clone.employee_of_call(p_call_sid) e;
  if v_employee is null then
    select o.id into v_organization from public.organizations o where o.id = p_organization for key share;
  end if;
  return query
    insert into voice_clone.recordings as r (
      account_sid, call_sid, recording_sid, recorded_at, seconds, channels, org_id, employee_id, status)
    values (p_account_sid, p_call_sid, p_recording_sid, coalesce(p_recorded_at, now()), p_seconds, p_channels, v_organization,
      v_employee, case when v_employee is null then 'unmatched' else 'pending' end)
    on conflict (recording_sid) do nothing
    returning r.id, r.status, true;
  if not found then
    return query select r.id, r.status, false from voice_clone.recordings r where r.recording_sid = p_recording_sid;
  end if;
end
$$;

-- The employee of an unmatched recording is known: it is fetched.
create function voice_clone.match_recording(p_recording uuid, p_employee uuid, p_organization uuid) returns void
language sql security definer set search_path = ''
as $$
  update voice_clone.recordings r set status = 'pending', employee_id = p_employee, org_id = p_organization
  where r.id = p_recording and r.status = 'unmatched'
$$;

-- The record of a call comes after its recording, or is corrected.
create function voice_clone.match_recordings_of_call() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_call(new.call_sid);
  perform voice_clone.match_recording(r.id, e.employee_id, e.org_id)
  from voice_clone.recordings r cross join lateral voice_clone.employee_of_call(r.call_sid) e
  where r.call_sid = new.call_sid and r.status = 'unmatched';
  return null;
end
$$;
create trigger voice_clone_match_recordings after insert or update of call_sid, employee_id on public.calls
  for each row when (new.call_sid is not null) execute function voice_clone.match_recordings_of_call();

create function voice_clone.administered_organizations(p_user uuid) returns setof uuid
language sql stable security definer set search_path = '' rows 10
as $$ select m.org_id from public.organization_members m where m.user_id = p_user and m.role::text = 'admin' $$;

-- For an admin: the recordings of their organizations, newest first.
create function voice_clone.list_recordings(p_user uuid, p_status text, p_before timestamptz, p_before_id uuid, p_limit int)
returns table (
  id uuid, recording_sid text, call_sid text, org_id uuid, employee_id uuid, status text, recorded_at timestamptz, seconds int,
  channels int, bytes bigint, error_code text, error_message text, created_at timestamptz, stored_at timestamptz)
language plpgsql stable security definer set search_path = '' rows 100
as $$
begin
  return query
    select r.id, r.recording_sid, r.call_sid, r.org_id, r.employee_id, r.status, r.recorded_at, r.seconds, r.channels, r.bytes,
      r.error_code, r.error_message, r.created_at, r.stored_at
    from voice_clone.administered_organizations(p_user) administered (id)
    cross join lateral ( -- of each in the order of its index
      select x.* from voice_clone.recordings x
      where x.org_id = administered.id and (p_status is null or x.status = p_status) and (x.created_at, x.id) < (p_before, p_before_id)
      order by x.created_at desc, x.id desc limit p_limit
    ) r
    order by r.created_at desc, r.id desc limit p_limit;
end
$$;

-- Gives an unmatched recording its employee, and fetches a failed one of that employee again. Otherwise VC007, or no change
-- where it is that employee's already. The employee is locked.
create function voice_clone.give_recording(p_recording uuid, p_employee uuid, p_organization uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
begin
  select * into r from voice_clone.recordings x where x.id = p_recording for no key update;
  if r.status = 'unmatched' then
    perform voice_clone.match_recording(r.id, p_employee, p_organization);
    return 'pending';
  elsif r.employee_id <> p_employee then
    raise exception 'this recording is of another employee'
      using errcode = 'VC007', detail = '{"code": "recording_assigned", "field": "employee_id"}';
  elsif r.status = 'failed' then
    update voice_clone.recordings x
    set status = 'pending', process_count = 0, waiting_since = null, not_before = null, error_code = null, error_message = null
    where x.id = r.id;
    return 'pending';
  end if;
  return r.status;
end
$$;

-- For an admin of the organization of both. VC004 where there is no such recording, or no such employee.
create function voice_clone.assign_recording(p_recording uuid, p_employee uuid, p_user uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.recordings;
begin
  select * into r from voice_clone.recordings x
  where x.id = p_recording and x.org_id = any (array(select voice_clone.administered_organizations(p_user)));
  if not found then
    raise exception 'there is no such recording' using errcode = 'VC004';
  end if;
  perform from public.employees e where e.id = p_employee and e.org_id = r.org_id for key share;
  if not found then
    raise exception 'there is no such employee' using errcode = 'VC004', detail = '{"field": "employee_id"}';
  end if;
  return voice_clone.give_recording(p_recording, p_employee, r.org_id);
end
$$;

-- For operators: the recordings that no organization sees, and assigning any recording to any employee.
create function operations.unmatched_recordings() returns setof voice_clone.recordings
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.recordings r where r.status = 'unmatched' and r.org_id is null order by r.created_at $$;

create function operations.assign_recording(p_recording uuid, p_employee uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_organization uuid;
begin
  select e.org_id into v_organization from public.employees e where e.id = p_employee for key share;
  if v_organization is null or not exists (select from voice_clone.recordings r where r.id = p_recording) then
    raise exception 'there is no such recording, or no such employee' using errcode = 'VC004';
  end if;
  return voice_clone.give_recording(p_recording, p_employee, v_organization);
end
$$;
revoke all on function operations.unmatched_recordings(), operations.assign_recording(uuid, uuid) from public, anon, authenticated;
grant execute on function operations.unmatched_recordings(), operations.assign_recording(uuid, uuid) to service_role;

grant execute on function
  voice_clone.receive_recording(text, text, text, timestamptz, int, int, uuid),
  voice_clone.list_recordings(uuid, text, timestamptz, uuid, int),
  voice_clone.assign_recording(uuid, uuid, uuid)
to voice_clone_backend;
