-- login --
-- What the role of this connection may do that it should not.
select r.rolsuper as is_superuser, r.rolbypassrls as bypasses_rls,
  exists (select from pg_catalog.pg_class c where c.relowner = r.oid and c.relnamespace = to_regnamespace('voice_clone')) as is_owner
from pg_catalog.pg_roles r where r.rolname = current_user;

-- pgmq --
-- Its version where it is an extension, and whether its functions are there.
select (select e.extversion from pg_catalog.pg_extension e where e.extname = 'pgmq') as version,
  to_regnamespace('pgmq') is not null and exists (
    select from pg_catalog.pg_proc p where p.pronamespace = to_regnamespace('pgmq') and p.proname = 'send') as is_there;

-- without_row_level_security --
-- Our tables, and those that were adopted.
select c.oid::regclass::text as name from pg_catalog.pg_class c
where c.relkind in ('r', 'p') and not c.relrowsecurity and (
  c.relnamespace = to_regnamespace('voice_clone') and not c.relispartition
  or c.oid in (select to_regclass('public.' || t) from unnest(%(tables)s::text[]) t))
order by 1;

-- too_many_grants --
-- What a client may do that only the functions of voice_clone should: write a row, or reach a table behind them.
select format('%%s: %%s on %%s', r.name, string_agg(p.name, ', ' order by p.name), c.oid::regclass) as name
from unnest('{anon,authenticated}'::text[]) r (name)
cross join unnest('{select,insert,update,delete,truncate}'::text[]) p (name)
cross join pg_catalog.pg_class c
where c.relkind in ('r', 'p') and not c.relispartition and to_regrole(r.name) is not null
  and (c.relnamespace = to_regnamespace('voice_clone')
    or p.name <> 'select' and c.oid in (select to_regclass('public.' || t) from unnest(%(ours)s::text[]) t))
  and has_table_privilege(r.name, c.oid, p.name)
group by r.name, c.oid
order by 1;

-- clock --
-- Of the database's machine.
select clock_timestamp();

-- anchors --
-- Whether the consents are anchored, and the anchors published.
select waiting_seconds, anchors, unpublished, error_code, broken from voice_clone.consent_anchors_state();

-- voice_checks --
-- Whether each account's voices are looked up at their provider.
select provider, region, voices, age_seconds, error_code, is_late, silent from voice_clone.voice_checks_state();
