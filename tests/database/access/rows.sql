-- relations --
-- every table that holds rows and has row level security, but no partition: the parent's policies count
select format('%%s.%%s', c.relnamespace::regnamespace, c.relname) as name
from pg_class c
where c.relkind in ('r', 'p') and not c.relispartition
  and (c.relnamespace::regnamespace::text in ('public', 'voice_clone', 'operations', 'storage')
    or c.relnamespace::regnamespace::text = 'pgmq' and c.relname ~ '^[aq]_')
order by 1

-- columns --
-- those that an insert may name, and one that an update may set: in no unique index where there is one, a time where there is one
select array_agg(quote_ident(a.attname)) as inserted,
  (array_agg(quote_ident(a.attname) order by exists (
      select from pg_index i where i.indrelid = a.attrelid and i.indisunique and a.attnum = any (i.indkey::int2[])),
    a.atttypid = 'timestamptz'::regtype desc, a.attnum) filter (where a.attidentity = ''))[1] as updated,
  bool_or(a.attname = 'user_id') as has_owner
from pg_attribute a
where a.attrelid = %(name)s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''

-- policies --
-- each policy of our tables and of Storage's
select format('%%I.%%I', p.schemaname, p.tablename) as relation, p.policyname as name, p.roles::text[] as roles, p.cmd as command,
  p.qual as using_expression, p.with_check as check_expression
from pg_policies p where p.schemaname in ('public', 'voice_clone', 'operations', 'storage', 'pgmq')
order by 1, 2
