-- grants --
-- of a relation, those on a column too
select pg_get_userbyid(g.grantee) as role, g.privilege, g.columns from (
  select a.grantee, lower(a.privilege_type) as privilege, '' as columns, c.relowner
  from pg_class c cross join aclexplode(c.relacl) a where c.oid = %(name)s::regclass
  union all
  select a.grantee, lower(a.privilege_type), ' (' || quote_ident(t.attname) || ')', c.relowner
  from pg_class c join pg_attribute t on t.attrelid = c.oid cross join aclexplode(t.attacl) a where c.oid = %(name)s::regclass
) g where g.grantee not in (0, g.relowner) and g.grantee in (select oid from pg_roles where rolname !~ '^pg_')

-- relations --
-- with their columns, where a client may be granted a column
select format('%%s.%%s', c.relnamespace::regnamespace, c.relname) as name, c.relkind = 'S' as is_sequence,
  c.relnamespace::regnamespace::text = 'pgmq' as is_of_queue,
  case when c.relnamespace::regnamespace::text = 'public' then array(
    select quote_ident(a.attname) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
  else '{}' end as columns
from pg_class c
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  and (c.relnamespace::regnamespace::text in ('public', 'voice_clone', 'operations')
    or c.relnamespace::regnamespace::text = 'pgmq' and c.relname ~ '^[aq]_')
order by 1

-- functions --
-- and the roles that are granted each
select p.oid::regprocedure::text as signature, pg_get_userbyid(p.proowner) as owner, array(
  select case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee) end
  from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee <> p.proowner) as roles
from pg_proc p where p.pronamespace::regnamespace::text in ('public', 'voice_clone', 'operations')
order by 1
