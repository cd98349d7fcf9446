-- Existing tables: stops the push before anything is changed where a table that an application may have already exists and
-- cannot be adopted, a bucket of ours exists and is public, or a schema of ours exists. In functions of the session, so that the CLI shows the sentence and not the text of these checks.

-- The columns that a table needs, and those that it gets where it has none. Of the role only the text is compared.
create function pg_temp.columns_of(p_table text) returns table (name text, type text, is_needed boolean)
language sql immutable
as $$
  select c.name, c.type, c.is_needed
  from (values
    ('reflections', 'id', 'uuid', true), ('reflections', 'user_id', 'uuid', true), ('reflections', 'voice', 'jsonb', false),
    ('organizations', 'id', 'uuid', true), ('organizations', 'clone_recordings', 'boolean', false),
    ('organizations', 'recording_language', 'text', false),
    ('organization_members', 'org_id', 'uuid', true), ('organization_members', 'user_id', 'uuid', true),
    ('organization_members', 'role', null, true),
    ('employees', 'id', 'uuid', true), ('employees', 'org_id', 'uuid', true),
    ('employees', 'voice', 'jsonb', false), ('employees', 'voice_id', 'text', false),
    ('calls', 'id', 'uuid', true), ('calls', 'employee_id', 'uuid', true), ('calls', 'call_sid', 'text', false)
  ) c (table_name, name, type, is_needed)
  where c.table_name = p_table
$$;

create function pg_temp.kind_of(t pg_class) returns text
language sql stable
as $$
  select case
    when t.relkind = 'v' then 'a view'
    when t.relkind = 'm' then 'a materialized view'
    when t.relkind = 'f' then 'a foreign table'
    when t.relkind = 'p' then 'a partitioned table'
    when t.relkind <> 'r' then 'not a table'
    when t.relispartition then 'a partition of another table'
    when t.reloftype <> 0 then 'a typed table'
    when t.relpersistence <> 'p' then 'an unlogged table'
    when exists (select from pg_inherits i where i.inhparent = t.oid) then 'a table with child tables'
    else 'an ordinary table'
  end
$$;

create function pg_temp.problems_of_columns(t pg_class) returns setof text
language sql stable
as $$
  with columns as (
    select a.attname::text as name, a.attnum, format_type(a.atttypid, a.atttypmod) as type, a.attgenerated <> '' as is_generated
    from pg_attribute a where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  )
  select format('it has no column %s', needed.name)
  from pg_temp.columns_of(t.relname) needed
  where needed.is_needed and needed.name not in (select c.name from columns c)
  union all
  select format('its column %s is %s, not %s', c.name, c.type, needed.type)
  from pg_temp.columns_of(t.relname) needed
  join columns c on c.name = needed.name and c.type <> needed.type
  union all
  select format('its column %s is generated', c.name)
  from pg_temp.columns_of(t.relname) needed
  join columns c on c.name = needed.name and c.is_generated and not needed.is_needed
  union all
  select 'its column id is neither the primary key nor unique'
  from pg_temp.columns_of(t.relname) needed join columns c on c.name = needed.name
  where c.name = 'id' and not exists (
    select from pg_index i
    where i.indrelid = t.oid and i.indkey[0] = c.attnum and i.indnkeyatts = 1 and i.indpred is null
      and i.indisunique and i.indimmediate and i.indisvalid)
$$;

create function pg_temp.problems_of_rows(t pg_class) returns setof text
language plpgsql stable
as $$
declare
  v_count bigint;
begin
  if t.relname in ('reflections', 'employees') and exists (
    select from pg_attribute a where a.attrelid = t.oid and a.attname = 'voice' and a.atttypid = 'jsonb'::regtype
  ) then
    execute format('select count(*) from %s r where jsonb_typeof(r.voice) <> ''object''', t.oid::regclass) into v_count;
    if v_count > 0 then
      return next format('in %s of its rows, voice is not a JSON object', v_count);
    end if;
  end if;
end
$$;

create function pg_temp.problems_of_table(t pg_class) returns text[]
language sql stable
as $$
  select case
    when pg_temp.kind_of(t) <> 'an ordinary table' then array['it is ' || pg_temp.kind_of(t)]
    when not pg_has_role(t.relowner, 'usage')
      then array[format('it belongs to the role %s, whose rights %s does not have', t.relowner::regrole, current_user)]
    else array(
      select pg_temp.problems_of_columns(t)
      union all
      select pg_temp.problems_of_rows(t)
      union all
      -- To enable it here would hide the rows from clients of the application for which it has no policy.
      select 'row level security is not enabled on it' where not t.relrowsecurity
      union all
      select format('its rule %s rewrites updates', r.rulename)
      from pg_rewrite r where r.ev_class = t.oid and r.ev_type = '2')
  end
$$;

create function pg_temp.check_existing_tables() returns void
language plpgsql stable
as $$
declare
  t pg_class;
  v_problems text[];
begin
  for t in
    select c.* from unnest('{reflections,organizations,organization_members,employees,calls}'::text[]) with ordinality n (name, place)
    join pg_class c on c.oid = to_regclass('public.' || n.name)
    order by n.place
  loop
    v_problems := pg_temp.problems_of_table(t);
    if v_problems <> '{}' then
      raise exception 'public.% cannot be adopted: %', t.relname, array_to_string(v_problems, '; ') using errcode = '55000';
    end if;
  end loop;
end
$$;

-- Anyone could read what the service stores in a public bucket.
create function pg_temp.check_existing_buckets() returns void
language plpgsql stable
as $$
declare
  v_public text[] := array(
    select b.id from storage.buckets b
    where b.public and b.id = any ('{voice-samples,voice-previews,speeches,recordings,deep-fakes,local-voices,reference-voices,consent-anchors}'::text[])
    order by b.id);
begin
  if v_public <> '{}' then
    raise exception 'the bucket % exists and is public; the service needs a private one of this name', array_to_string(v_public, ', ')
      using errcode = '55000';
  end if;
end
$$;

-- What an application has in a schema of this name would be closed to its clients.
create function pg_temp.check_existing_schemas() returns void
language plpgsql stable
as $$
declare
  v_name text := (select min(n.nspname) from pg_namespace n where n.nspname in ('voice_clone', 'operations'));
begin
  if v_name is not null then
    raise exception 'the schema % exists; these migrations make a schema of this name', v_name using errcode = '55000';
  end if;
end
$$;

select pg_temp.check_existing_schemas();
select pg_temp.check_existing_tables();
select pg_temp.check_existing_buckets();
