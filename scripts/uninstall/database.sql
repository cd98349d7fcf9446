-- installed --
-- whether there is anything to remove, and whether this login may
select to_regnamespace('voice_clone') is not null as is_installed,
  coalesce((select pg_has_role(n.nspowner, 'usage') from pg_namespace n where n.nspname = 'voice_clone'), true) as is_owner

-- schema_version --
-- of a newer release there may be more than this one knows
select version from voice_clone.schema_version()

-- tables --
-- the tables in public: those that only the migrations make, and those that the application did not have
select c.relname::text as name from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
  and (c.relname = any (%(tables)s) or exists (
    select from voice_clone.adoptions a where a.table_name = c.relname and a.kind = 'table' and a.change = 'created'))
order by c.relname

-- adopted_tables --
-- the tables of the application that the migrations changed
select a.table_name as name from voice_clone.adoptions a
where a.kind = 'table' and a.change = 'found' and to_regclass(format('public.%%I', a.table_name)) is not null
order by a.table_name

-- parts --
-- everything else, in the order of the table that people read; `goes` is false for what stays
select 'schema' as part, n.nspname::text as name, null::bigint as rows, true as goes
from pg_namespace n where n.nspname = 'voice_clone'
union all
select 'schema', n.nspname, null, not exists (
  select from pg_proc p where p.pronamespace = n.oid and 'operations.' || p.proname <> all (%(functions)s)
  union all
  select from pg_class c where c.relnamespace = n.oid)
from pg_namespace n where n.nspname = 'operations'
union all
select 'function', p.oid::regprocedure::text, null, true from pg_proc p
where p.pronamespace = 'public'::regnamespace and 'public.' || p.proname = any (%(functions)s)
union all
select 'trigger', format('%%s on %%s', t.tgname, t.tgrelid::regclass), null, true
from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
where not t.tgisinternal and p.pronamespace = to_regnamespace('voice_clone')
  and c.relnamespace <> to_regnamespace('voice_clone')
  and not (c.relnamespace = 'public'::regnamespace and c.relname = any (%(public_tables)s))
union all
select 'policy', format('%%s on %%s', p.polname, p.polrelid::regclass), null, true
from pg_policy p
where p.polrelid in (to_regclass('storage.objects'), to_regclass('realtime.messages')) and p.polname = any (%(policies)s)
union all
select a.kind, case a.kind
    when 'right' then format('%%s on %%s of %%s, %%s', a.name, a.table_name, a.role,
      case a.change when 'taken' then 'given back' else 'taken back' end)
    else format('%%s of %%s', a.name, a.table_name) end,
  null, a.kind <> 'column' or %(columns)s
from voice_clone.adoptions a
where a.change in ('added', 'taken') and to_regclass(format('public.%%I', a.table_name)) is not null
union all
select 'role', r.rolname, null, not exists (
  select from pg_shdepend d
  where d.refclassid = 'pg_authid'::regclass
    and d.refobjid in (to_regrole('voice_clone_service'), to_regrole('voice_clone_backend'))
    and d.dbid not in (0, (select b.oid from pg_database b where b.datname = current_database())))
from pg_roles r where r.rolname in ('voice_clone_service', 'voice_clone_backend')
union all
select 'bucket', b.id, (select count(*) from storage.objects o where o.bucket_id = b.id),
  %(objects)s and exists (
    select from voice_clone.adoptions a where a.kind = 'bucket' and a.change = 'created' and a.name = b.id)
from storage.buckets b where b.id = any (%(buckets)s)
union all
select 'extension', e.extname, null, false from pg_extension e where e.extname = 'pgmq'

-- queues --
-- their tables are pgmq's
select q.name from voice_clone.queues q where to_regclass('pgmq.q_' || q.name) is not null order by q.name

-- jobs --
-- of pg_cron, by the names of the runbooks
select j.jobname as name from cron.job j where j.jobname like 'likeness-%%' order by 1

-- foreign_jobs --
-- they would fail at each run
select coalesce(j.jobname, j.jobid::text) as name from cron.job j
where coalesce(j.jobname, '') not like 'likeness-%%' and j.command ~ '\m(voice_clone|operations)\.'
order by 1

-- secrets --
-- of the vault, by the names of the runbook
select s.name from vault.secrets s where s.name in ('likeness_url', 'likeness_internal_token') order by 1

-- history --
-- what the CLI recorded of these migrations
select count(*) from supabase_migrations.schema_migrations m
join unnest(%(versions)s::text[], %(names)s::text[]) ours (version, name) using (version, name)

-- dependents --
-- what the application made of ours: a view, a foreign key, a policy. Nothing of it is removed, so it stands in the way.
with recursive roots as (
  select 'pg_namespace'::regclass::oid as classid, n.oid as objid from pg_namespace n where n.nspname = 'voice_clone'
  union all
  select 'pg_class'::regclass, c.oid from pg_class c
  where c.relnamespace = to_regnamespace('voice_clone')
    or (c.relnamespace = 'public'::regnamespace and c.relname = any (%(public_tables)s))
  union all
  select 'pg_type'::regclass, t.oid from pg_type t where t.typnamespace = to_regnamespace('voice_clone')
  union all
  select 'pg_proc'::regclass, p.oid from pg_proc p
  where p.pronamespace = to_regnamespace('voice_clone')
    or format('%%s.%%s', p.pronamespace::regnamespace, p.proname) = any (%(functions)s)
  union all
  select 'pg_constraint'::regclass, o.oid from pg_constraint o join voice_clone.adoptions a
    on a.kind = 'constraint' and a.change = 'added' and a.name = o.conname and o.conrelid = to_regclass(format('public.%%I', a.table_name))
  union all
  select 'pg_class'::regclass, c.oid from pg_class c join voice_clone.adoptions a
    on a.kind = 'index' and a.change = 'added' and c.oid = to_regclass(format('public.%%I', a.name))
  union all
  select 'pg_policy'::regclass, p.oid from pg_policy p join voice_clone.adoptions a
    on a.kind = 'policy' and a.change = 'added' and a.name = p.polname and p.polrelid = to_regclass(format('public.%%I', a.table_name))
  union all
  select 'pg_policy'::regclass, p.oid from pg_policy p
  where p.polrelid in (to_regclass('storage.objects'), to_regclass('realtime.messages')) and p.polname = any (%(policies)s)
  union all
  select 'pg_trigger'::regclass, t.oid from pg_trigger t join pg_proc p on p.oid = t.tgfoid
  where p.pronamespace = to_regnamespace('voice_clone') and t.tgname like 'voice\_clone\_%%'
), ours as (
  select classid, objid from roots
  union
  select d.classid, d.objid from ours o join pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid
  where d.deptype in ('a', 'i', 'P', 'S')
)
select distinct pg_describe_object(d.classid, d.objid, 0) as name
from (
  select d.* from pg_depend d join ours o on d.refclassid = o.classid and d.refobjid = o.objid where d.deptype = 'n'
  union all
  select d.* from pg_depend d
  join voice_clone.adoptions a on %(columns)s and a.kind = 'column' and a.change = 'added'
  join pg_attribute c on c.attrelid = to_regclass(format('public.%%I', a.table_name)) and c.attname = a.name
  where d.refclassid = 'pg_class'::regclass and d.refobjid = c.attrelid and d.refobjsubid = c.attnum
    and d.classid <> 'pg_attrdef'::regclass and d.deptype in ('a', 'n')
) d
where not exists (select from ours o where o.classid = d.classid and o.objid = d.objid)
order by 1

-- mentions --
-- functions of the application whose text names ours; Postgres does not know of it
select p.oid::regprocedure::text as name from pg_proc p
where p.pronamespace not in (
    select n.oid from pg_namespace n where n.nspname in ('voice_clone', 'pgmq', 'pg_catalog', 'information_schema'))
  and format('%%s.%%s', p.pronamespace::regnamespace, p.proname) <> all (%(functions)s)
  and p.prosrc ~ '\m(voice_clone|operations)\.'
order by 1

-- held_voices --
-- what is or may be at a provider: nobody would remove it after this
select e.provider, e.region, e.status, count(*) as voices,
  count(*) filter (where e.status = 'removing' or (e.status = 'orphaned' and e.removal_due_at is not null)) as requested
from voice_clone.enrollments e
where e.status in ('intended', 'unknown', 'attached', 'orphaned', 'removing')
group by e.provider, e.region, e.status order by 1, 2, 3

-- open_erasures --
-- a person was promised that it is done
select count(*) from voice_clone.erasures e where e.completed_at is null

-- legal_holds --
-- files that must not go, and the only record of it
select count(*) from voice_clone.legal_holds h where h.released_at is null

-- open_removals --
-- objects of what was deleted or revoked
select (select count(*) from voice_clone.object_removals)
  + (select count(*) from voice_clone.employee_files f where f.written <> f.wanted) as sum

-- sessions --
-- the service or a consumer, by the login that it uses
select count(*) from pg_stat_activity a where a.usename = 'voice_clone_service' and a.datname = current_database()

-- proof --
-- what is lost for good
select (select count(*) from public.voice_consents) as consents, (select count(*) from voice_clone.events) as events,
  (select count(*) from voice_clone.erasures) as erasures

-- patience --
-- of the transaction that removes: it waits for no other for long, and its own work may take long
select set_config('lock_timeout', '10s', true), set_config('statement_timeout', '0', true)

-- drop_triggers --
-- with their functions, because only its owner may drop the trigger of a table, and auth.users is not ours
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid from pg_proc p
    where p.pronamespace = to_regnamespace('voice_clone') and p.prorettype = 'trigger'::regtype
  loop
    execute format('drop function %s cascade', v_function);
  end loop;
end
$$

-- clear_reflections --
-- the mirror's keys, where the mirror wrote them; a version that stayed would stop the mirror of another installation
update public.reflections r set voice = r.voice - %(keys)s::text[]
where r.voice @> voice_clone.first_mirror() or (r.voice ? 'cloneStatus' and exists (
  select from public.voice_clone_attempts a where a.reflection_id = r.id and a.activated_at is not null))

-- clear_employees --
-- the same, and the id of a voice that is gone
update public.employees e set voice = e.voice - %(keys)s::text[], voice_id = case when e.voice @> voice_clone.first_mirror() then e.voice_id end
where e.voice @> voice_clone.first_mirror() or (e.voice ? 'cloneStatus' and exists (
  select from public.voice_clone_attempts a where a.employee_id = e.id and a.activated_at is not null))

-- undo_adoptions --
-- each change of a table of the application, in the opposite direction
do $$
declare
  a voice_clone.adoptions;
begin
  for a in
    select * from voice_clone.adoptions x
    where x.change in ('added', 'taken') and x.kind <> 'column' and to_regclass(format('public.%I', x.table_name)) is not null
      and (x.kind <> 'right' or x.role = 'public' or to_regrole(regexp_replace(x.role, ' with grant option$', '')) is not null)
  loop
    case a.change || ' ' || a.kind
      when 'added policy' then execute format('drop policy if exists %I on public.%I', a.name, a.table_name);
      when 'added constraint' then execute format('alter table public.%I drop constraint if exists %I', a.table_name, a.name);
      when 'added index' then execute format('drop index if exists public.%I', a.name);
      when 'added right' then execute format('revoke %s on public.%I from %s', a.name, a.table_name, a.role);
      when 'taken right' then execute format('grant %s on public.%I to %s', a.name, a.table_name, a.role);
    end case;
  end loop;
end
$$

-- drop_columns --
-- only where it is asked for: the application may use them
do $$
declare
  a voice_clone.adoptions;
begin
  for a in
    select * from voice_clone.adoptions x
    where x.change = 'added' and x.kind = 'column' and to_regclass(format('public.%I', x.table_name)) is not null
  loop
    execute format('alter table public.%I drop column if exists %I', a.table_name, a.name);
  end loop;
end
$$

-- drop_queue --
-- by pgmq, which keeps a list of them
select pgmq.drop_queue(%(name)s::text)

-- drop_jobs --
-- as the runbook stops them
select cron.unschedule(j.jobname) from cron.job j where j.jobname like 'likeness-%%'

-- drop_secrets --
-- the address and the token of a service that is gone
delete from vault.secrets s where s.name in ('likeness_url', 'likeness_internal_token')

-- name_functions --
-- for the next statement, which can have no parameter
select set_config('likeness.functions', %(names)s, true)

-- drop_functions --
-- by name: the application may have functions in these schemas too
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid from pg_proc p
    where format('%s.%s', p.pronamespace::regnamespace, p.proname) = any (string_to_array(current_setting('likeness.functions'), ','))
  loop
    execute format('drop function %s cascade', v_function);
  end loop;
  if not exists (
    select from pg_proc p where p.pronamespace = to_regnamespace('operations')
    union all
    select from pg_class c where c.relnamespace = to_regnamespace('operations'))
  then
    drop schema if exists operations;
  end if;
end
$$

-- drop_schema --
-- with the policies of storage.objects and realtime.messages, which call its functions
drop schema voice_clone cascade

-- forget_history --
-- a later push applies the migrations again
delete from supabase_migrations.schema_migrations m
using unnest(%(versions)s::text[], %(names)s::text[]) ours (version, name)
where m.version = ours.version and m.name = ours.name

-- drop_roles --
-- both or none: they stay where another database of the cluster uses one of them, or another role created them
do $$
begin
  drop role if exists voice_clone_service, voice_clone_backend;
exception when dependent_objects_still_exist or insufficient_privilege then
  raise notice 'the roles stay: %', sqlerrm;
end
$$
