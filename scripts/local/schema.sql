-- relations --
-- tables and composite types; partitions are left out, for they are as their parent says
select c.oid::regclass::text as name, c.relkind = 'c' as is_type, pg_get_partkeydef(c.oid) as partition_key
from pg_class c
where c.relnamespace::regnamespace::text = any(%(schemas)s) and c.relkind in ('r', 'p', 'c') and not c.relispartition
order by c.relnamespace::regnamespace::text <> 'public', name

-- columns --
-- a default as it is written; what is generated says so
select a.attrelid::regclass::text as relation, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
  not a.attnotnull as is_nullable,
  case when a.attgenerated <> '' then 'generated: ' when a.attidentity <> '' then 'identity' else '' end
    || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as default_value,
  coalesce(col_description(a.attrelid, a.attnum), '') as comment
from pg_attribute a
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attrelid::regclass::text = any(%(relations)s) and a.attnum > 0 and not a.attisdropped
order by relation, a.attnum

-- details --
-- of a table: its keys and checks, the indexes that no constraint made, its triggers, and the rights of other roles
select d.relation::regclass::text as relation, d.text
from (
  select o.conrelid as relation, array_position('{p,u,x,f,c}', o.contype::text) as place, o.conname as name,
    pg_get_constraintdef(o.oid) as text
  from pg_constraint o where o.contype in ('p', 'u', 'x', 'f', 'c')
  union all
  select i.indrelid, 6, n.relname, case when i.indisunique then 'unique ' else '' end
    || format('index %%I on ', n.relname) || regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING (btree )?', '')
  from pg_index i join pg_class n on n.oid = i.indexrelid
  where not exists (select from pg_constraint o where o.conindid = i.indexrelid and o.contype in ('p', 'u', 'x'))
  union all
  select t.tgrelid, 7, t.tgname, regexp_replace(
    pg_get_triggerdef(t.oid), '^CREATE (?:CONSTRAINT )?TRIGGER (\S+) (.*?) ON \S+ (.*)$', 'trigger \1 \2 \3')
  from pg_trigger t where not t.tgisinternal
  union all
  select r.relation, 8, null, 'granted ' || string_agg(r.rights || ' to ' || r.role, '; ' order by r.role)
  from (
    select g.relation, g.role, string_agg(
      g.privilege || coalesce(' (' || g.columns || ')', ''), ', ' order by g.privilege, g.columns) as rights
    from (
      select c.oid as relation, a.grantee::regrole::text as role, lower(a.privilege_type) as privilege, null as columns
      from pg_class c cross join aclexplode(c.relacl) a where a.grantee <> c.relowner
      union all
      select c.oid, a.grantee::regrole::text, lower(a.privilege_type), string_agg(t.attname, ', ' order by t.attnum)
      from pg_class c join pg_attribute t on t.attrelid = c.oid cross join aclexplode(t.attacl) a
      group by c.oid, a.grantee, a.privilege_type
    ) g
    group by g.relation, g.role
  ) r
  group by r.relation
) d
where d.relation::regclass::text = any(%(relations)s)
order by relation, d.place, d.name

-- policies --
-- of our tables, and ours on storage.objects
select format('%%s.%%s', p.schemaname, p.tablename) as relation, p.policyname as name, lower(p.cmd) as command,
  array_to_string(p.roles, ', ') as roles, coalesce(p.qual, '') as using_expression,
  coalesce(p.with_check, '') as check_expression
from pg_policies p
where p.schemaname = any(%(schemas)s) or (p.schemaname, p.tablename) = ('storage', 'objects')
order by relation, name

-- functions --
-- by the roles that may execute them beside their owner; those of triggers stand with their tables
select format('%%s.%%s', p.pronamespace::regnamespace, p.proname) as name,
  pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result,
  array(
    select case a.grantee when 0 then 'public' else a.grantee::regrole::text end
    from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where a.grantee <> p.proowner order by 1
  ) as roles
from pg_proc p
where p.pronamespace::regnamespace::text = any(%(schemas)s) and p.prorettype <> 'trigger'::regtype
order by name, arguments

-- queues --
-- each has a queue of dead letters
select q.name, q.purpose from voice_clone.queues q order by q.name
