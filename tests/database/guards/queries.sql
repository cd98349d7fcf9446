-- functions --
-- the source of each function, and its definition in which the source is replaced
select p.oid::regprocedure::text as signature, p.proname::text as name, p.prosrc as body, pg_get_functiondef(p.oid) as definition
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
where n.nspname in ('voice_clone', 'operations') and l.lanname in ('plpgsql', 'sql') and p.prosrc <> '' and p.prokind = 'f'
  and coalesce(p.oid = %(signature)s::regprocedure, true)
order by p.oid::regprocedure::text
