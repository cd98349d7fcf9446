-- roles --
-- every role but the superusers, those of Postgres itself, and the owner of what the migrations make
select rolname::text as role from pg_roles where not rolsuper and rolname !~ '^pg_' and rolname <> 'postgres' order by rolname

-- relations --
-- what each role may do with each relation of ours, by itself or through a role that it inherits
with roles as materialized (
  select oid, rolname::text as name, pg_has_role(oid, 'pg_read_all_data', 'usage') as reads_all
  from pg_roles where not rolsuper and rolname !~ '^pg_' and rolname <> 'postgres'
),
relations as (
  select c.oid, c.relkind = 'S' as is_sequence, format('%%s.%%s', c.relnamespace::regnamespace, c.relname) as name,
    case
      when c.relispartition then 'a partition of ' || (
        select format('%%s.%%s', p.relnamespace::regnamespace, p.relname) from pg_inherits i join pg_class p on p.oid = i.inhparent
        where i.inhrelid = c.oid)
      when c.relnamespace::regnamespace::text = 'pgmq' then 'a table of a queue'
      else format('%%s.%%s', c.relnamespace::regnamespace, c.relname)
    end as label
  from pg_class c
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and (c.relnamespace::regnamespace::text in ('public', 'voice_clone', 'operations')
      or c.relnamespace::regnamespace::text = 'pgmq' and c.relname ~ '^[aq]_')
    and (%(name)s::text is null or format('%%s.%%s', c.relnamespace::regnamespace, c.relname) = %(name)s)
),
privileges as (
  select 'select, insert, update, delete, truncate, references, trigger'
    || case when current_setting('server_version_num')::int >= 170000 then ', maintain' else '' end as of_tables
)
select r.name, r.label, roles.name as role, string_agg(held.text, ', ' order by held.text) as rights
from relations r cross join roles cross join privileges
cross join lateral regexp_split_to_table(
  case when r.is_sequence then 'usage, select, update' else privileges.of_tables end, ', ') p (privilege)
cross join lateral (
  select case
    when p.privilege = 'select' and roles.reads_all then null
    when r.is_sequence then case when has_sequence_privilege(roles.oid, r.oid, p.privilege) then p.privilege end
    when has_table_privilege(roles.oid, r.oid, p.privilege) then p.privilege
    when p.privilege in ('select', 'insert', 'update', 'references') and has_any_column_privilege(roles.oid, r.oid, p.privilege)
      then p.privilege || ' (' || (
        select string_agg(a.attname, ', ' order by a.attname) from pg_attribute a
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
          and has_column_privilege(roles.oid, r.oid, a.attnum, p.privilege)) || ')'
  end as text
) held
group by r.name, r.label, roles.name

-- functions --
-- who may execute each function of ours
select p.oid::regprocedure::text as signature, format('%%s.%%s', p.pronamespace::regnamespace, p.proname) as label, array(
  select r.rolname::text from pg_roles r
  where not r.rolsuper and r.rolname !~ '^pg_' and r.rolname <> 'postgres' and has_function_privilege(r.oid, p.oid, 'execute')
) as roles
from pg_proc p
where p.pronamespace::regnamespace::text in ('public', 'voice_clone', 'operations')
  and (%(name)s::text is null or p.oid = to_regprocedure(%(name)s))

-- schemas --
-- who may use each schema or create in it
select n.nspname::text as label, r.rolname::text as role, concat_ws(', ',
  case when has_schema_privilege(r.oid, n.oid, 'create') then 'create' end,
  case when has_schema_privilege(r.oid, n.oid, 'usage')
    and (n.nspname = 'public' or not pg_has_role(r.oid, 'pg_read_all_data', 'usage')) then 'usage' end) as rights
from pg_namespace n cross join pg_roles r
where n.nspname !~ '^(pg_|information_schema$)' and not r.rolsuper and r.rolname !~ '^pg_' and r.rolname <> 'postgres'

-- memberships --
-- who may act as whom: by inheritance, by SET ROLE
select m.roleid::regrole::text as role, m.member::regrole::text as member,
  concat_ws(', ', case when m.inherit_option then 'inherits' end, case when m.set_option then 'sets' end) as how
from pg_auth_members m where m.member::regrole::text !~ '^(postgres|pg_.*)$' and (m.inherit_option or m.set_option)

-- attributes --
-- what a role may do without any grant
select rolname::text as role, concat_ws(', ', case when rolcanlogin then 'login' end, case when rolbypassrls then 'bypassrls' end,
  case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end,
  case when rolreplication then 'replication' end) as attributes
from pg_roles where not rolsuper and rolname !~ '^pg_' and rolname <> 'postgres'

-- defaults --
-- what a new object of postgres is granted; the migrations add nothing outside of their schemas
select coalesce(nullif(d.defaclnamespace, 0)::regnamespace::text, 'every schema') as schema, d.defaclobjtype::text as kind,
  (select string_agg(format('%%s=%%s', e.grantee, e.rights), ', ' order by e.grantee) from (
    -- a letter each, as psql shows them; Postgres 17 added MAINTAIN
    select split_part(acl::text, '=', 1) as grantee, replace(split_part(split_part(acl::text, '=', 2), '/', 1), 'm', '') as rights
    from unnest(d.defaclacl) acl) e) as granted
from pg_default_acl d where d.defaclrole = 'postgres'::regrole and d.defaclnamespace <> coalesce(to_regnamespace('pgmq'), 0)

-- without_row_level_security --
-- tables of ours, their partitions, and the tables of our queues
select c.oid::regclass::text as name from pg_class c
where c.relkind in ('r', 'p') and not c.relrowsecurity
  and (c.relnamespace::regnamespace::text in ('public', 'voice_clone', 'operations', 'storage')
    or c.relnamespace::regnamespace::text = 'pgmq' and c.relname ~ '^[aq]_')
  and (%(name)s::text is null or c.oid = to_regclass(%(name)s))
order by 1
