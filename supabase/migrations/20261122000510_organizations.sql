-- Organizations and their members. A member reads what the organization has; an admin changes it.
--
-- Tables of these names that exist already are adopted: they keep their rows, columns, policies, grants and triggers. Of an
-- adopted table of members, rows with another role than member or admin give no right here.

set local lock_timeout = '5s';
select voice_clone.note_tables_before('{organizations,organization_members}');

-- The organizations of the caller, as sets, so that a policy reads them once for a query and not once for a row. Definer,
-- because the policy of the members reads them too.
create function voice_clone.member_organizations() returns setof uuid
language plpgsql stable security definer set search_path = '' rows 10
as $$
begin
  return query
    select m.org_id from public.organization_members m
    where m.user_id = auth.uid() and m.role::text in ('member', 'admin');
end
$$;

create function voice_clone.admin_organizations() returns setof uuid
language plpgsql stable security definer set search_path = '' rows 10
as $$
begin
  return query
    select m.org_id from public.organization_members m where m.user_id = auth.uid() and m.role::text = 'admin';
end
$$;

grant execute on function voice_clone.member_organizations(), voice_clone.admin_organizations() to authenticated;

-- Who creates an organization is its admin. An operator has no user, and names one.
create function voice_clone.add_first_admin() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  c_limit constant int := 20; -- of one user, because limits count for an organization
  v_user uuid := auth.uid();
begin
  if v_user is null then
    return null;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('organizations:' || v_user::text, 0));
  if (select count(*) from public.organization_members m where m.user_id = v_user and m.role::text = 'admin') >= c_limit then
    raise exception 'you are the admin of % organizations already', c_limit
      using errcode = 'VC008', detail = jsonb_build_object('code', 'too_many_organizations', 'limit', c_limit)::text;
  end if;
  insert into public.organization_members (org_id, user_id, role) values (new.id, v_user, 'admin');
  return null;
end
$$;

-- An organization keeps at least one admin, unless it is deleted, or the user in Auth. The lock orders two changes at once.
create function voice_clone.keep_an_admin() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.organizations o where o.id = old.org_id for no key update;
  if found
    and exists (select from auth.users u where u.id = old.user_id)
    and not exists (
      select from public.organization_members m where m.org_id = old.org_id and m.role::text = 'admin')
  then
    raise exception 'an organization keeps at least one admin'
      using errcode = 'VC007', detail = '{"code": "last_admin"}', hint = 'Make another member an admin before.';
  end if;
  return null;
end
$$;

do $$
declare
  v_is_adopted boolean := to_regclass('public.organizations') is not null and to_regclass('public.organization_members') is not null;
begin
  if to_regclass('public.organizations') is null then
    create table public.organizations (
      id uuid primary key default gen_random_uuid(),
      name text not null check (length(name) between 1 and 120),
      clone_recordings boolean not null default false,
      recording_language text not null default 'en',
      created_at timestamptz not null default now()
    );
    comment on column public.organizations.clone_recordings is
      'whether a recording of an employee who consented is cloned when it is stored; set by an admin';
    comment on column public.organizations.recording_language is
      'the language of such a clone, of two letters; set by an admin';
    alter table public.organizations enable row level security;
    revoke all on public.organizations from public, anon, authenticated, service_role;
    grant select, delete, insert (id, name), update (name, clone_recordings, recording_language) on public.organizations to authenticated;
    grant select, insert, update, delete on public.organizations to service_role;
    create policy "Members read their organizations" on public.organizations
      for select to authenticated using (id = any (array(select voice_clone.member_organizations())));
    create policy "Anyone who is signed in creates an organization" on public.organizations
      for insert to authenticated with check ((select auth.uid()) is not null);
    create policy "Admins change their organizations" on public.organizations
      for update to authenticated using (id = any (array(select voice_clone.admin_organizations())));
    create policy "Admins delete their organizations" on public.organizations
      for delete to authenticated using (id = any (array(select voice_clone.admin_organizations())));
  end if;
  if to_regclass('public.organization_members') is null then
    create table public.organization_members (
      org_id uuid not null references public.organizations (id) on delete cascade,
      user_id uuid not null references auth.users (id) on delete cascade,
      role text not null default 'member' check (role in ('member', 'admin')),
      created_at timestamptz not null default now(),
      primary key (org_id, user_id)
    );
    create index organization_members_user_id_idx on public.organization_members (user_id);
    alter table public.organization_members enable row level security;
    revoke all on public.organization_members from public, anon, authenticated, service_role;
    grant select, delete, insert (org_id, user_id, role), update (role) on public.organization_members to authenticated;
    grant select, insert, update, delete on public.organization_members to service_role;
    create policy "Members read the members of their organizations" on public.organization_members
      for select to authenticated using (org_id = any (array(select voice_clone.member_organizations())));
    create policy "Admins add members" on public.organization_members
      for insert to authenticated with check (org_id = any (array(select voice_clone.admin_organizations())));
    create policy "Admins change the roles of members" on public.organization_members
      for update to authenticated using (org_id = any (array(select voice_clone.admin_organizations())));
    create policy "Admins remove members, and members leave" on public.organization_members
      for delete to authenticated
      using (org_id = any (array(select voice_clone.admin_organizations())) or user_id = (select auth.uid()));
  end if;
  -- Where an application has both tables, it makes the first admin itself.
  if not v_is_adopted then
    create trigger voice_clone_add_first_admin after insert on public.organizations
      for each row execute function voice_clone.add_first_admin();
  end if;
end
$$;

alter table public.organizations add column if not exists clone_recordings boolean not null default false;
alter table public.organizations add column if not exists recording_language text not null default 'en';
alter table public.organizations add constraint voice_clone_recording_language check (recording_language ~ '^[a-z]{2}$');

-- Of an adopted table, others may update the row. Without a user it is the application's server, or an operator.
create function voice_clone.protect_recording_settings() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if auth.uid() is not null and not exists (select from voice_clone.admin_organizations() a where a = new.id) then
    raise exception 'only an admin of the organization sets clone_recordings and recording_language' using errcode = '42501';
  end if;
  return null;
end
$$;
create trigger voice_clone_protect_recording_settings after insert on public.organizations
  for each row when (new.clone_recordings or new.recording_language <> 'en') execute function voice_clone.protect_recording_settings();
create trigger voice_clone_protect_recording_settings_again after update on public.organizations
  for each row when (
    (new.clone_recordings, new.recording_language) is distinct from (old.clone_recordings, old.recording_language))
  execute function voice_clone.protect_recording_settings();

do $$
declare
  v_column text;
begin
  foreach v_column in array array['user_id', 'org_id'] loop
    if not exists (
      select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = 'public.organization_members'::regclass and a.attname = v_column and i.indisvalid and i.indpred is null
    ) then
      execute format('create index on public.organization_members (%I)', v_column);
    end if;
  end loop;
end
$$;

create trigger voice_clone_keep_an_admin_on_delete after delete on public.organization_members
  for each row when (old.role::text = 'admin') execute function voice_clone.keep_an_admin();
create trigger voice_clone_keep_an_admin_on_update after update on public.organization_members
  for each row when (old.role::text = 'admin' and (new.role::text <> 'admin' or new.org_id <> old.org_id or new.user_id <> old.user_id))
  execute function voice_clone.keep_an_admin();

-- The triggers that a write of ours fires have the rights of the table's owner: no client may add one.
revoke trigger on public.organizations, public.organization_members from public, anon, authenticated, service_role;
select voice_clone.note_tables_after('{organizations,organization_members}');
