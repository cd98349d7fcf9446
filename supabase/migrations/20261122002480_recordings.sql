-- Recordings of calls at Twilio: one row each, and the machine of its states. A recording whose call names no employee is kept
-- as unmatched, without its audio, until an admin assigns it or its call record arrives.

insert into voice_clone.machines (name, position, title) values ('recording', 8, '`status`, of a recording of a call');
insert into voice_clone.edges (machine, from_status, to_status, event, follow_ups) values
  ('recording', '', 'unmatched', 'received', '{}'),
  ('recording', '', 'pending', 'received', '{recordings}'),
  ('recording', 'unmatched', 'pending', 'assigned', '{recordings}'),
  ('recording', 'pending', 'processing', 'claimed', '{}'),
  ('recording', 'pending', 'superseded', 'superseded', '{}'),
  ('recording', 'processing', 'stored', 'stored', '{}'),
  ('recording', 'processing', 'pending', 'requeued', '{recordings}'),
  ('recording', 'processing', 'superseded', 'superseded', '{}'),
  ('recording', 'processing', 'failed', 'failed', '{}'),
  ('recording', 'stored', 'superseded', 'superseded', '{}'),
  ('recording', 'failed', 'pending', 'assigned', '{recordings}');

-- The audio of an employee is one object, recordings/{employee_id}/{employee_id}.wav: that of the newest recording. At most
-- one worker writes it, and a row that is stored is the one whose audio it is.
create table voice_clone.recordings (
  id uuid primary key default gen_random_uuid(),
  recording_sid text not null unique check (recording_sid ~ '^RE[0-9a-fA-F]{32}$'),
  account_sid text check (account_sid ~ '^AC[0-9a-fA-F]{32}$'),
  call_sid text check (call_sid ~ '^CA[0-9a-fA-F]{32}$'),
  org_id uuid,
  employee_id uuid references public.employees (id) on delete cascade,
  recorded_at timestamptz not null,
  seconds int check (seconds >= 0),
  channels int check (channels > 0),
  status text not null check (status in ('unmatched', 'pending', 'processing', 'stored', 'superseded', 'failed')),
  bytes bigint,
  error_code text,
  error_message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  stored_at timestamptz,

  lease_epoch int not null default 0,
  lease_owner text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  process_count int not null default 0,
  process_budget int not null default 8,
  not_before timestamptz,
  waiting_since timestamptz,
  sweep_at timestamptz,

  constraint recordings_matched check (
    (employee_id is null) = (status = 'unmatched') and (employee_id is null or org_id is not null)),
  constraint recordings_fetched check (num_nulls(account_sid, call_sid) = 0 or status in ('processing', 'stored', 'superseded')),
  constraint recordings_stored check (status <> 'stored' or num_nulls(bytes, stored_at) = 0),
  constraint recordings_failed check (status <> 'failed' or num_nulls(error_code, error_message) = 0),
  constraint recordings_lease check (
    num_nulls(lease_owner, leased_at, lease_expires_at) = case status when 'processing' then 0 else 3 end),
  constraint recordings_budget check (process_count <= process_budget)
);
comment on column voice_clone.recordings.call_sid is 'null of a recording that is or was moved from an older layout, like account_sid';
comment on column voice_clone.recordings.org_id is
  'of the employee; of an unmatched recording the one that the address of the callback named; null: only an operator assigns it. Without a reference: its check would lock the organization after the employee, and a deletion locks the organization first';
comment on column voice_clone.recordings.recorded_at is 'when the recording began, or when its callback came; the newest has the object';
comment on column voice_clone.recordings.waiting_since is 'when the step first met an outage: until the timeout outage its tries do not count';
comment on column voice_clone.recordings.sweep_at is 'a renewal of the lease does not move it, the sweep does; null where nothing is awaited';
create unique index recordings_one_worker_idx on voice_clone.recordings (employee_id) where status = 'processing';
create unique index recordings_one_stored_idx on voice_clone.recordings (employee_id) where status = 'stored';
create index recordings_employee_id_idx on voice_clone.recordings (employee_id);
create index recordings_org_id_idx on voice_clone.recordings (org_id, created_at desc, id desc);
create index recordings_call_sid_idx on voice_clone.recordings (call_sid) where status = 'unmatched';
create index recordings_stored_at_idx on voice_clone.recordings (stored_at) where status = 'stored';
create index recordings_sweep_at_idx on voice_clone.recordings (sweep_at) where sweep_at is not null;
alter table voice_clone.recordings enable row level security;
revoke all on voice_clone.recordings from public, anon, authenticated, service_role;

-- When the sweep next looks at a recording; null where nothing is awaited.
create function voice_clone.recording_sweep_at(r voice_clone.recordings) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case r.status
    when 'processing' then least(r.lease_expires_at, r.leased_at + voice_clone.timeout('step'))
    when 'pending' then greatest(now(), r.not_before) + least(
      greatest(voice_clone.timeout('lost_message'), now() - greatest(r.updated_at, r.not_before)),
      voice_clone.timeout('lost_message_cap'))
    when 'unmatched' then r.created_at + voice_clone.timeout('unmatched_recording')
  end;
end
$$;

-- Before a write: the edge exists, the epoch only grows, and a recording keeps its call and its employee. Whatever ends the
-- step ends its lease, so a worker that is late writes nothing.
create function voice_clone.check_recording() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('recording', '', new.status, new.id);
    new.sweep_at := voice_clone.recording_sweep_at(new);
    return new;
  end if;
  if new.lease_epoch < old.lease_epoch or new.employee_id <> old.employee_id
    or (new.id, new.recording_sid, new.account_sid, new.call_sid, new.recorded_at, new.created_at)
      is distinct from (old.id, old.recording_sid, old.account_sid, old.call_sid, old.recorded_at, old.created_at)
  then
    raise exception 'recording %: its epoch only grows, and its call and its employee never change', new.id
      using errcode = 'VC001';
  end if;
  if new.status = old.status and new.lease_epoch = old.lease_epoch then
    return new;
  end if;
  new.updated_at := now();
  if new.status <> old.status then
    perform voice_clone.require_edge('recording', old.status, new.status, new.id);
    new.stored_at := case new.status when 'stored' then now() else new.stored_at end;
  end if;
  if new.status <> 'processing' then
    new.lease_owner := null;
    new.leased_at := null;
    new.lease_expires_at := null;
  end if;
  new.sweep_at := voice_clone.recording_sweep_at(new);
  return new;
end
$$;
create trigger recordings_check before insert or update on voice_clone.recordings
  for each row execute function voice_clone.check_recording();

-- After a transition: the message of its edge.
create function voice_clone.follow_recording() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_from text := case tg_op when 'UPDATE' then old.status else '' end;
  v_queue text;
begin
  if v_from = new.status then
    return null;
  end if;
  foreach v_queue in array (voice_clone.require_edge('recording', v_from, new.status, new.id)).follow_ups loop
    perform voice_clone.send_messages(v_queue, array[voice_clone.queue_message(v_queue, new.id, 1, null)],
      greatest(0, ceil(extract(epoch from new.not_before - now())))::int);
  end loop;
  return null;
end
$$;
create trigger recordings_follow after insert or update of status on voice_clone.recordings
  for each row execute function voice_clone.follow_recording();

-- After the deletion of an organization: what it would have assigned. The other recordings go with their employees.
create function voice_clone.forget_unmatched_recordings() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from voice_clone.recordings r where r.org_id = old.id and r.status = 'unmatched';
  return null;
end
$$;
create trigger voice_clone_forget_unmatched_recordings after delete on public.organizations
  for each row execute function voice_clone.forget_unmatched_recordings();
