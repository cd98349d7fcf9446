-- Who may reach the tables and functions of Likeness in this project, whatever was granted since. For `supabase test db`.
begin;
select plan(13);

create temp view ours as
select c.oid, c.oid::regclass as name from pg_class c
where c.relkind in ('r', 'p') and (c.relnamespace = 'voice_clone'::regnamespace or c.oid in (
  select to_regclass('public.' || t) from unnest('{speech_jobs,voice_clone_attempts,voice_consents,voice_consent_statements,
    voice_samples,voice_sessions,voices,webhook_deliveries,webhooks}'::text[]) t));

select is_empty(
  'select o.name from ours o join pg_class c using (oid) where not c.relrowsecurity',
  'each table has row level security');
select is_empty(
  $$select o.name, p.polname from ours o join pg_policy p on p.polrelid = o.oid where p.polcmd <> 'r'$$,
  'no policy lets a client write');
select is_empty(
  $$select o.name, r.role, p.privilege from ours o
    cross join unnest('{anon,authenticated}'::text[]) r (role)
    cross join unnest('{insert,update,delete,truncate,references,trigger}'::text[]) p (privilege)
    where has_table_privilege(r.role, o.oid, p.privilege)$$,
  'no client has a right to write');
select is_empty(
  $$select o.name, a.attname, r.role from ours o
    join pg_attribute a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
    cross join unnest('{anon,authenticated}'::text[]) r (role)
    where has_column_privilege(r.role, o.oid, a.attnum, 'insert, update, references')$$,
  'nor on a column');
select is_empty(
  $$select o.name from ours o join pg_class c using (oid)
    where c.relnamespace = 'voice_clone'::regnamespace and has_any_column_privilege('service_role', o.oid, 'select, insert, update')$$,
  'nobody but the functions reaches the tables of voice_clone');
select ok(not has_schema_privilege('anon', 'voice_clone', 'usage'), 'anon cannot use voice_clone');
select ok(not has_schema_privilege('authenticated', 'voice_clone', 'usage'), 'nor can authenticated');
select ok(not has_schema_privilege('authenticated', 'operations', 'usage'), 'the operators'' functions are not for users');
select is_empty(
  $$select p.oid::regprocedure from pg_proc p
    where p.pronamespace in ('voice_clone'::regnamespace, 'operations'::regnamespace) and has_function_privilege('anon', p.oid, 'execute')$$,
  'anon may execute no function');
select is_empty(
  $$select p.oid::regprocedure from pg_proc p
    where p.pronamespace in ('voice_clone'::regnamespace, 'operations'::regnamespace) and p.prosecdef
      and not coalesce(p.proconfig::text like '%search_path%', false)$$,
  'each function with its owner''s rights has a search path of its own');
select is_empty(
  $$select r.rolname from pg_roles r where r.rolname in ('voice_clone_service', 'voice_clone_backend')
    and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication)$$,
  'the login of the service has no right over the database');
select is_empty(
  $$select c.oid::regclass from pg_class c where c.relowner = 'voice_clone_service'::regrole$$,
  'it owns nothing');
select is_empty(
  $$select b.id from storage.buckets b where b.public
    and b.id = any ('{voice-samples,voice-previews,speeches,recordings,deep-fakes,local-voices,reference-voices,consent-anchors}')$$,
  'no bucket of the service is public');

select * from finish();
rollback;
