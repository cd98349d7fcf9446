-- Clones of recordings by themselves: where an organization asked for it, an object that Storage writes as the recording of an employee
-- sends a message, in the same transaction; the handler then does what POST /api/employees/{id}/clone-voice does. A row has what became
-- of one object. Its id is that of the sample and of the attempt too, so that an object is cloned once. Lock order: after all others.

create table voice_clone.recording_clones (
  id uuid primary key default gen_random_uuid(),
  employee_id uuid not null,
  object_version text not null,
  status text not null default 'pending' check (status in ('pending', 'queued', 'refused', 'superseded')),
  error_code text,
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  sweep_at timestamptz,
  unique (employee_id, object_version),
  constraint recording_clones_ended check ((status = 'pending') = (ended_at is null) and (status = 'pending') = (sweep_at is not null)),
  constraint recording_clones_refused check (status <> 'refused' or num_nulls(error_code, error_message) = 0)
);
comment on column voice_clone.recording_clones.employee_id is
  'without a reference, which would lock the employee in the transaction of Storage; the rows go with the employee';
comment on column voice_clone.recording_clones.object_version is 'Storage gives each upload another one';
comment on column voice_clone.recording_clones.error_code is 'why it was refused; of a pending one, why its last try failed';
create index recording_clones_employee_id_idx on voice_clone.recording_clones (employee_id, created_at desc);
create index recording_clones_sweep_at_idx on voice_clone.recording_clones (sweep_at) where sweep_at is not null;
alter table voice_clone.recording_clones enable row level security;
revoke all on voice_clone.recording_clones from public, anon, authenticated, service_role;

-- As receive_object: only what Storage wrote, and no lock on a row that others write.
create function voice_clone.receive_recording_object() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_employee text := substring(new.name from '^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/\1\.wav$');
  v_id uuid;
begin
  if v_employee is null
    or session_user <> (select pg_get_userbyid(c.relowner) from pg_catalog.pg_class c where c.oid = tg_relid)
  then
    return null;
  end if;
  insert into voice_clone.recording_clones (employee_id, object_version, sweep_at)
  select e.id, coalesce(new.version, new.id::text), now() + voice_clone.timeout('lost_message')
  from public.employees e join public.organizations o on o.id = e.org_id and o.clone_recordings
  where e.id = v_employee::uuid
  on conflict (employee_id, object_version) do nothing
  returning id into v_id;
  perform voice_clone.send_messages('recording_clones', array[voice_clone.queue_message('recording_clones', v_id, 1, null)], 0)
  where v_id is not null;
  return null;
end
$$;
create trigger voice_clone_receive_recording after insert on storage.objects
  for each row when (new.bucket_id = 'recordings') execute function voice_clone.receive_recording_object();
create trigger voice_clone_receive_recording_again after update on storage.objects
  for each row when (
    new.bucket_id = 'recordings' and (new.version, new.name) is distinct from (old.version, old.name))
  execute function voice_clone.receive_recording_object();

-- Queued is set with the attempt; here what ends otherwise, and leaves no copy of the recording.
create function voice_clone.end_recording_clone(
  p_clone uuid, p_status text, p_error_code text, p_error_message text, p_message_id bigint
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.acknowledge_messages('recording_clones', array[p_message_id]) where p_message_id is not null;
  perform voice_clone.drop_recording(p_clone, c.employee_id) from voice_clone.recording_clones c
  where c.id = p_clone and c.status = 'pending';
  update voice_clone.recording_clones c
  set status = p_status, error_code = p_error_code, error_message = p_error_message, ended_at = now(), sweep_at = null
  where c.id = p_clone and c.status = 'pending';
end
$$;

-- The object to clone. No row where that has ended: now as well, if there is a newer one, or it was tried for too long.
create function voice_clone.begin_recording_clone(p_clone uuid)
returns table (id uuid, employee_id uuid, object_version text, language text)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  c voice_clone.recording_clones;
begin
  select * into c from voice_clone.recording_clones x where x.id = p_clone and x.status = 'pending';
  if c.id is null then
    return;
  elsif exists (
    select from voice_clone.recording_clones x
    where x.employee_id = c.employee_id and (x.created_at, x.id) > (c.created_at, c.id))
  then
    perform voice_clone.end_recording_clone(c.id, 'superseded', null, null, null);
  elsif c.created_at + voice_clone.timeout('outage') <= now() then
    perform voice_clone.end_recording_clone(c.id, 'refused', coalesce(c.error_code, 'recording_not_cloned'),
      coalesce(c.error_message, 'The recording was not cloned in time.'), null);
  else
    return query
      select c.id, c.employee_id, c.object_version, coalesce(o.recording_language, 'en')
      from (values (c.employee_id)) asked (employee)
      left join public.employees e on e.id = asked.employee
      left join public.organizations o on o.id = e.org_id;
  end if;
end
$$;

-- Why a try failed, where another follows.
create function voice_clone.postpone_recording_clone(p_clone uuid, p_error_code text, p_error_message text) returns void
language sql security definer set search_path = ''
as $$
  update voice_clone.recording_clones c set error_code = p_error_code, error_message = p_error_message
  where c.id = p_clone and c.status = 'pending'
$$;

-- The attempt, by the function of the route. A second call changes nothing: it waits for the first one's lock on the employee.
create function voice_clone.queue_recording_clone(
  p_clone uuid, p_employee uuid, p_provider text, p_region text, p_preview_required boolean, p_per_day int, p_message_id bigint
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_consents_shared(p_employee);
  perform from public.employees e where e.id = p_employee for no key update;
  if not exists (select from voice_clone.recording_clones c where c.id = p_clone and c.status = 'pending') then
    return false;
  end if;
  perform voice_clone.clone_recording(p_clone, p_clone, p_employee, null, p_provider, p_region, p_preview_required, p_per_day);
  update voice_clone.recording_clones c
  set status = 'queued', error_code = null, error_message = null, ended_at = now(), sweep_at = null
  where c.id = p_clone;
  perform voice_clone.acknowledge_messages('recording_clones', array[p_message_id]) where p_message_id is not null;
  return true;
end
$$;

-- For a member: what became of the newest object; null where the organization did not ask for it.
create function voice_clone.last_recording_clone(p_employee uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'status', c.status, 'error_code', c.error_code, 'error_message', c.error_message, 'received_at', c.created_at,
    'attempt_id', case c.status when 'queued' then c.id end)
  from voice_clone.recording_clones c where c.employee_id = p_employee order by c.created_at desc, c.id desc limit 1
$$;

create function voice_clone.forget_recording_clones() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from voice_clone.recording_clones c where c.employee_id = old.id;
  return null;
end
$$;
create trigger voice_clone_forget_recording_clones after delete on public.employees
  for each row execute function voice_clone.forget_recording_clones();

-- Sends a message for each object that is due, at most p_limit; the wait doubles. One with an error is postponed, and stops no other.
create function voice_clone.sweep_recording_clones(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.recording_clones;
begin
  for c in
    select * from voice_clone.recording_clones x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      update voice_clone.recording_clones x
      set sweep_at = now() + least(
        greatest(voice_clone.timeout('lost_message'), now() - c.created_at), voice_clone.timeout('lost_message_cap'))
      where x.id = c.id;
      perform voice_clone.send_messages('recording_clones', array[voice_clone.queue_message('recording_clones', c.id, 1, null)], 0);
      return next 'recording_clone_sent';
    exception when others then
      perform voice_clone.postpone_row('recording clone', c.id, sqlerrm, sqlstate);
    end;
  end loop;
end
$$;

grant execute on function
  voice_clone.begin_recording_clone(uuid),
  voice_clone.end_recording_clone(uuid, text, text, text, bigint),
  voice_clone.postpone_recording_clone(uuid, text, text),
  voice_clone.queue_recording_clone(uuid, uuid, text, text, boolean, int, bigint)
to voice_clone_backend;
