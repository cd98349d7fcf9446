-- Installation: what these migrations created, as rows, so that the service notices where a part is missing: a backup that
-- was restored halfway, a trigger that was left disabled. The last migration records it again.

create table voice_clone.installation (
  part text primary key
);
alter table voice_clone.installation enable row level security;
revoke all on voice_clone.installation from public, anon, authenticated, service_role;

-- The parts that work as of now. What an application has on its own tables is not ours, and partitions come and go.
create function voice_clone.installed_parts() returns setof text
language sql stable set search_path = '' set jit = off
as $$
  with tables as materialized (
    select c.oid, c.oid::regclass::text as name from pg_catalog.pg_class c
    where c.relkind in ('r', 'p') and (
      c.relnamespace = 'voice_clone'::regnamespace and not c.relname ~ '^events_[0-9]' or c.oid in (
        select to_regclass('public.' || t) from unnest('{speech_jobs,voice_clone_attempts,voice_consents,voice_consent_statements,
          voice_samples,voice_sessions,voices,webhook_deliveries,webhooks}'::text[]) t))
  )
  select 'table ' || t.name from tables t
  union all
  select format('trigger %s on %s', g.tgname, g.tgrelid::regclass) from pg_catalog.pg_trigger g
  join pg_catalog.pg_proc p on p.oid = g.tgfoid
  where not g.tgisinternal and g.tgenabled in ('O', 'A') and p.pronamespace = 'voice_clone'::regnamespace
    and (g.tgrelid in (select t.oid from tables t)
      or g.tgrelid in (to_regclass('auth.users'), to_regclass('public.reflections'), to_regclass('public.organizations'),
        to_regclass('public.organization_members'), to_regclass('public.employees'), to_regclass('public.calls'),
        to_regclass('storage.objects')))
  union all
  select format('constraint %s on %s', o.conname, t.name) from pg_catalog.pg_constraint o join tables t on t.oid = o.conrelid
  where o.convalidated and o.contype in ('c', 'f', 'p', 'u')
  union all
  select format('index %s', i.indexrelid::regclass) from pg_catalog.pg_index i join tables t on t.oid = i.indrelid
  where i.indisvalid
  union all
  select format('policy "%s" on %s', p.polname, t.name) from pg_catalog.pg_policy p join tables t on t.oid = p.polrelid
  union all
  select format('policy "%s" on storage.objects', p.polname) from pg_catalog.pg_policy p
  where p.polrelid = to_regclass('storage.objects') and pg_get_expr(p.polqual, p.polrelid) ~ 'voice-samples'
  union all
  select format('policy "%s" on realtime.messages', p.polname) from pg_catalog.pg_policy p
  where p.polrelid = to_regclass('realtime.messages') and pg_get_expr(p.polqual, p.polrelid) ~ 'voice_clone'
  union all
  select format('function %s%s', p.oid::regprocedure,
    case when has_function_privilege('voice_clone_backend', p.oid, 'execute') then ' for the service' else '' end)
  from pg_catalog.pg_proc p
  where p.pronamespace in ('voice_clone'::regnamespace, 'operations'::regnamespace)
    and p.proowner = (select c.relowner from pg_catalog.pg_class c where c.oid = 'voice_clone.installation'::regclass)
  union all
  select 'queue ' || q.name from voice_clone.queues q where voice_clone.has_queue_tables(q.name)
  union all
  select 'the key of the mirror' from voice_clone.mirror_key
  union all
  select 'the right to write the mirror' from pg_catalog.pg_proc p
  join pg_catalog.pg_class r on r.oid = to_regclass('public.reflections')
  where p.oid = 'voice_clone.write_mirrors(uuid[])'::regprocedure and p.prosecdef
    and has_column_privilege(p.proowner, r.oid, 'voice', 'update')
    and (pg_has_role(p.proowner, r.relowner, 'usage') or (select a.rolbypassrls from pg_catalog.pg_roles a where a.oid = p.proowner))
$$;

create function voice_clone.record_installation() returns void
language plpgsql set search_path = ''
as $$
begin
  delete from voice_clone.installation;
  insert into voice_clone.installation (part) select p from voice_clone.installed_parts() p;
end
$$;

-- The parts that are not there any more, or do not work. For the readiness check and for operators.
create function voice_clone.missing_parts() returns setof text
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not exists (select from voice_clone.installation) then
    return next 'the list of parts';
  end if;
  return query
    select i.part from voice_clone.installation i
    except
    select p from voice_clone.installed_parts() p
    order by 1;
end
$$;

create function operations.missing_parts() returns setof text
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.missing_parts() $$;

-- The version of this schema, and the oldest version of the service that works with it. After the first release each migration
-- that changes what the service calls replaces this function; backend/database/schema_version.py has the service's own version.
create function voice_clone.schema_version() returns table (version int, oldest_service int)
language sql immutable set search_path = '' rows 1
as $$ select 1, 1 $$;

create function operations.schema_version() returns table (version int, oldest_service int)
language sql stable security definer set search_path = '' rows 1
as $$ select * from voice_clone.schema_version() $$;

-- Postgres lets everyone execute a new function. Default privileges could forbid it only for all schemas of the role that
-- migrates, so for functions of the application too; here it is forbidden for those of our two schemas.
revoke execute on all functions in schema voice_clone, operations from public;

grant execute on function voice_clone.schema_version() to voice_clone_backend;
grant execute on function operations.schema_version() to service_role;
grant execute on function voice_clone.missing_parts() to voice_clone_backend;
grant execute on function operations.missing_parts() to service_role;

select voice_clone.record_installation();
