-- Employees of an organization, and the calls that are recorded of them. `voice` is a mirror of lifecycle state as that of a
-- reflection is, and `voice_id` is the id at the provider of the voice that is ready.
--
-- Tables of these names that exist already are adopted: they get what is missing, and keep the rest.

set local lock_timeout = '5s';
select voice_clone.note_tables_before('{employees,calls}');

-- The employees of the caller's organizations, as a set. Definer, because who reads an employee may be the application's decision.
create function voice_clone.member_employees() returns setof uuid
language plpgsql stable security definer set search_path = '' rows 100
as $$
begin
  return query select e.id from public.employees e where e.org_id = any (array(select voice_clone.member_organizations()));
end
$$;
grant execute on function voice_clone.member_employees() to authenticated;

do $$
begin
  if to_regclass('public.employees') is not null then
    return;
  end if;
  create table public.employees (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references public.organizations (id) on delete cascade,
    full_name text not null check (length(full_name) between 1 and 120),
    email text check (length(email) between 3 and 320),
    phone text check (length(phone) between 3 and 40),
    voice_id text,
    voice jsonb not null default '{}',
    created_at timestamptz not null default now()
  ) with (fillfactor = 70);
  create index employees_org_id_idx on public.employees (org_id, created_at desc);
  alter table public.employees enable row level security;
  revoke all on public.employees from public, anon, authenticated, service_role;
  grant select, delete, insert (org_id, full_name, email, phone), update (full_name, email, phone)
    on public.employees to authenticated;
  grant select, insert, update, delete on public.employees to service_role;
  create policy "Members read the employees of their organizations" on public.employees
    for select to authenticated using (org_id = any (array(select voice_clone.member_organizations())));
  create policy "Admins add employees" on public.employees
    for insert to authenticated with check (org_id = any (array(select voice_clone.admin_organizations())));
  create policy "Admins change employees" on public.employees
    for update to authenticated using (org_id = any (array(select voice_clone.admin_organizations())));
  create policy "Admins delete employees" on public.employees
    for delete to authenticated using (org_id = any (array(select voice_clone.admin_organizations())));
end
$$;

select voice_clone.add_mirror_column('public.employees');
alter table public.employees
  add column if not exists voice_id text,
  add check (jsonb_typeof(voice) = 'object');

do $$
begin
  if not exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'public.employees'::regclass and a.attname = 'org_id' and i.indisvalid and i.indpred is null
  ) then
    create index on public.employees (org_id);
  end if;
  -- Only where no policy of the application decides what its signed-in users read.
  if not exists (
    select from pg_policy p
    where p.polrelid = 'public.employees'::regclass and p.polpermissive and p.polcmd in ('r', '*')
      and p.polroles && array[0, 'authenticated'::regrole]::oid[]
  ) then
    create policy "Members read the voice of their employees" on public.employees
      for select to authenticated using (org_id = any (array(select voice_clone.member_organizations())));
    grant select (id, org_id, voice, voice_id) on public.employees to authenticated;
  end if;
end
$$;

do $$
begin
  if to_regclass('public.calls') is not null then
    return;
  end if;
  create table public.calls (
    id uuid primary key default gen_random_uuid(),
    employee_id uuid not null references public.employees (id) on delete cascade,
    call_sid text unique check (length(call_sid) between 1 and 64),
    created_at timestamptz not null default now()
  );
  create index calls_employee_id_idx on public.calls (employee_id, created_at desc);
  alter table public.calls enable row level security;
  revoke all on public.calls from public, anon, authenticated, service_role;
  grant select on public.calls to authenticated;
  grant select, insert, update, delete on public.calls to service_role;
  create policy "Members read the calls of their employees" on public.calls
    for select to authenticated using (employee_id = any (array(select voice_clone.member_employees())));
  comment on column public.calls.call_sid is 'the id of the call at Twilio, where the application knows it';
end
$$;

alter table public.calls add column if not exists call_sid text;

-- Each column that is looked up has an index.
do $$
declare
  v_column text;
begin
  foreach v_column in array array['employee_id', 'call_sid'] loop
    if not exists (
      select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = 'public.calls'::regclass and a.attname = v_column and i.indisvalid and i.indpred is null
    ) then
      execute format('create index on public.calls (%I)', v_column);
    end if;
  end loop;
end
$$;

-- The mirror is written with the rights of these tables' owner, and so are the triggers that it fires: no client may add one.
revoke trigger on public.employees, public.calls from public, anon, authenticated, service_role;
select voice_clone.note_tables_after('{employees,calls}');
