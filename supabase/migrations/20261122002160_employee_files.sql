-- Files of employees: deep-fakes/{employee_id}/{employee_id}.json names the voice that is ready, and is there only while one is. A row
-- has the version of the file that is wanted and the one that was written. It outlives its employee until the file is gone. Its lock is
-- the last one that a transition takes; the step takes no other.

create table voice_clone.employee_files (
  employee_id uuid primary key,
  wanted bigint not null default 1,
  written bigint not null default 0,
  wanted_at timestamptz not null default now(),
  lease_epoch int not null default 0,
  lease_expires_at timestamptz,
  again_at timestamptz,
  sweep_at timestamptz,
  error_code text,
  constraint employee_files_versions check (written between 0 and wanted),
  constraint employee_files_swept check (
    sweep_at is not null or (written = wanted and num_nonnulls(lease_expires_at, again_at) = 0))
);
comment on table voice_clone.employee_files is 'no reference to the employee: the row is deleted when the file of a deleted employee is gone';
comment on column voice_clone.employee_files.wanted is 'grows with each change of what the file says; the file carries it as version';
comment on column voice_clone.employee_files.written is 'the version that Storage has for certain';
comment on column voice_clone.employee_files.again_at is
  'a request whose outcome is unknown may still write an older version: from then on it cannot, and the file is written again';
create index employee_files_sweep_at_idx on voice_clone.employee_files (sweep_at) where sweep_at is not null;
alter table voice_clone.employee_files enable row level security;
revoke all on voice_clone.employee_files from public, anon, authenticated, service_role;

-- What the file says, from the mirror of the employee's active attempt; null where no voice is ready. No name, address or text of a person.
create function voice_clone.employee_file(a public.voice_clone_attempts) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_mirror jsonb := voice_clone.attempt_mirror(a);
  v_voice text := voice_clone.employee_voice_id(a);
begin
  return case when v_voice is not null then jsonb_build_object(
    'voice_id', v_voice,
    'provider', v_mirror -> 'provider',
    'target_model', v_mirror -> 'targetModel',
    'created_at', voice_clone.utc_text(a.ready_at),
    'attempt_id', v_mirror -> 'attemptId',
    'consent_id', (select s.consent_id from public.voice_samples s where s.id = a.sample_id),
    'organization_id', a.org_id) end;
end
$$;

-- When the sweep next looks at a file; null where nothing is awaited. The wait doubles.
create function voice_clone.employee_file_sweep_at(f voice_clone.employee_files) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when f.lease_expires_at is not null then f.lease_expires_at
    when f.written < f.wanted then now() + least(
      greatest(voice_clone.timeout('lost_message'), now() - f.wanted_at), voice_clone.timeout('lost_message_cap'))
    else f.again_at
  end;
end
$$;

-- A new version is wanted: of a file that changed, or that an older version may have replaced.
create function voice_clone.want_employee_file(p_employee uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  f voice_clone.employee_files;
begin
  insert into voice_clone.employee_files as x (employee_id, sweep_at) values (p_employee, now())
  on conflict (employee_id) do update set wanted = x.wanted + 1, wanted_at = now(), error_code = null, sweep_at = now()
  returning x.* into f;
  update voice_clone.employee_files x set sweep_at = voice_clone.employee_file_sweep_at(f) where x.employee_id = p_employee;
  perform voice_clone.send_messages(
    'employee_files', array[voice_clone.queue_message('employee_files', p_employee, f.wanted, null)], 0);
end
$$;

-- After a transition that makes a voice of an employee ready, or ends one.
create function voice_clone.follow_employee_voice() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.want_employee_file(old.employee_id);
  return null;
end
$$;
create trigger voice_clone_attempts_want_file after update of status, is_active, taken_down_at on public.voice_clone_attempts
  for each row when (
    old.employee_id is not null and (old.is_active and old.status = 'ready' and old.taken_down_at is null)
      <> (new.is_active and new.status = 'ready' and new.taken_down_at is null))
  execute function voice_clone.follow_employee_voice();

-- After the deletion of an employee: the row goes with the file, also where the file was gone before.
create function voice_clone.forget_employee_file() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.want_employee_file(f.employee_id) from voice_clone.employee_files f where f.employee_id = old.id;
  return null;
end
$$;
create trigger voice_clone_forget_file after delete on public.employees
  for each row execute function voice_clone.forget_employee_file();

-- Takes the lease of a file whose wanted version is not written. Where a worker did not confirm in time, its request may still come.
create function voice_clone.claim_employee_file(p_employee uuid) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  f voice_clone.employee_files;
begin
  select * into f from voice_clone.employee_files x where x.employee_id = p_employee for no key update;
  if f.employee_id is null then
    return ('inactive', null, null)::voice_clone.claim;
  elsif f.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(f.lease_expires_at), null)::voice_clone.claim;
  elsif f.written = f.wanted then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  end if;
  update voice_clone.employee_files x
  set lease_epoch = x.lease_epoch + 1, lease_expires_at = now() + voice_clone.timeout('file_lease'),
      again_at = case when f.lease_expires_at is null then x.again_at else now() + voice_clone.timeout('object_removal') end,
      sweep_at = now() + voice_clone.timeout('file_lease')
  where x.employee_id = p_employee;
  return ('claimed', null, f.lease_epoch + 1)::voice_clone.claim;
end
$$;

-- The version to write and what it says; null: the object is removed. Volatile, so that it sees the claim that it is joined to, and every
-- transition that is committed: one that is not waits for the lock of the claim, and will want another version.
create function voice_clone.claimed_employee_file(p_employee uuid) returns table (employee_id uuid, version bigint, content jsonb)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select f.employee_id, f.wanted, (
      select voice_clone.employee_file(a) || jsonb_build_object('version', f.wanted)
      from public.voice_clone_attempts a where a.employee_id = p_employee and a.is_active)
    from voice_clone.employee_files f where f.employee_id = p_employee;
end
$$;

-- Storage has this version. A worker whose lease another one took may have replaced a newer version: then the file is written again.
create function voice_clone.confirm_employee_file(p_employee uuid, p_epoch int, p_version bigint, p_message_id bigint) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  f voice_clone.employee_files;
begin
  perform voice_clone.acknowledge_messages('employee_files', array[p_message_id]) where p_message_id is not null;
  select * into f from voice_clone.employee_files x where x.employee_id = p_employee for no key update;
  if f.lease_epoch is distinct from p_epoch or f.lease_expires_at is null then
    perform voice_clone.want_employee_file(p_employee);
    return 'late';
  end if;
  f.written := p_version;
  f.lease_expires_at := null;
  f.error_code := null;
  if f.written = f.wanted and f.again_at is null and not exists (select from public.employees e where e.id = p_employee) then
    delete from voice_clone.employee_files x where x.employee_id = p_employee;
    return 'written';
  end if;
  update voice_clone.employee_files x
  set written = f.written, lease_expires_at = null, error_code = null, sweep_at = voice_clone.employee_file_sweep_at(f)
  where x.employee_id = p_employee;
  perform voice_clone.send_messages('employee_files', array[voice_clone.queue_message('employee_files', p_employee, f.wanted, null)], 0)
  where f.written < f.wanted;
  return 'written';
end
$$;

-- Storage did not take it: the next worker need not wait until the lease is over. p_is_unknown: it may take it later.
create function voice_clone.release_employee_file(p_employee uuid, p_epoch int, p_error_code text, p_is_unknown boolean) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  f voice_clone.employee_files;
begin
  select * into f from voice_clone.employee_files x
  where x.employee_id = p_employee and x.lease_epoch = p_epoch and x.lease_expires_at is not null for no key update;
  if f.employee_id is null then
    perform voice_clone.want_employee_file(p_employee) where p_is_unknown;
    return;
  end if;
  f.lease_expires_at := null;
  update voice_clone.employee_files x
  set lease_expires_at = null, error_code = p_error_code, sweep_at = voice_clone.employee_file_sweep_at(f),
      again_at = case when p_is_unknown then now() + voice_clone.timeout('object_removal') else x.again_at end
  where x.employee_id = p_employee;
end
$$;

-- Sends a message for each file that is due, at most p_limit. One with an error is postponed, and stops no other.
create function voice_clone.sweep_employee_files(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  f voice_clone.employee_files;
begin
  for f in
    select * from voice_clone.employee_files x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.employee_id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      if f.lease_expires_at is null and f.again_at <= now() then
        update voice_clone.employee_files x set again_at = null where x.employee_id = f.employee_id;
        perform voice_clone.want_employee_file(f.employee_id);
      else
        f.lease_expires_at := null; -- it is over: the message is to be claimed
        update voice_clone.employee_files x set sweep_at = voice_clone.employee_file_sweep_at(f) where x.employee_id = f.employee_id;
        perform voice_clone.send_messages(
          'employee_files', array[voice_clone.queue_message('employee_files', f.employee_id, f.wanted, null)], 0);
      end if;
      return next 'file_sent';
    exception when others then
      perform voice_clone.postpone_row('employee file', f.employee_id, sqlerrm, sqlstate);
    end;
  end loop;
end
$$;

grant execute on function
  voice_clone.claim_employee_file(uuid),
  voice_clone.claimed_employee_file(uuid),
  voice_clone.confirm_employee_file(uuid, int, bigint, bigint),
  voice_clone.release_employee_file(uuid, int, text, boolean)
to voice_clone_backend;
