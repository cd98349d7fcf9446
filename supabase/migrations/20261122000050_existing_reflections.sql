-- Existing reflections: stops the push before anything is changed where public.reflections exists already and cannot
-- be adopted. In functions of the session, so that the CLI shows the sentence and not the text of these checks.

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
  from unnest('{id,user_id}'::text[]) needed (name)
  where needed.name not in (select c.name from columns c)
  union all
  select format('its column %s is %s, not %s', c.name, c.type, needed.type)
  from (values ('id', 'uuid'), ('user_id', 'uuid'), ('voice', 'jsonb')) needed (name, type)
  join columns c on c.name = needed.name and c.type <> needed.type
  union all
  select 'its column voice is generated' from columns c where c.name = 'voice' and c.is_generated
  union all
  select 'its column id is neither the primary key nor unique' from columns c
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
  if exists (
    select from pg_attribute a where a.attrelid = t.oid and a.attname = 'voice' and a.atttypid = 'jsonb'::regtype
  ) then
    execute format('select count(*) from %s r where jsonb_typeof(r.voice) <> ''object''', t.oid::regclass) into v_count;
    if v_count > 0 then
      return next format('in %s of its rows, voice is not a JSON object', v_count);
    end if;
  end if;
end
$$;

create function pg_temp.check_existing_reflections() returns void
language plpgsql stable
as $$
declare
  t pg_class;
  v_problems text[];
begin
  select * into t from pg_class c where c.oid = to_regclass('public.reflections');
  if not found then
    return;
  elsif pg_temp.kind_of(t) <> 'an ordinary table' then
    v_problems := array['it is ' || pg_temp.kind_of(t)];
  elsif not pg_has_role(t.relowner, 'usage') then
    v_problems := array[format('it belongs to the role %s, whose rights %s does not have', t.relowner::regrole, current_user)];
  else
    v_problems := array(
      select pg_temp.problems_of_columns(t)
      union all
      select pg_temp.problems_of_rows(t)
      union all
      -- To enable it here would hide the rows from clients of the application for which it has no policy.
      select 'row level security is not enabled on it' where not t.relrowsecurity
      union all
      select format('its rule %s rewrites updates', r.rulename)
      from pg_rewrite r where r.ev_class = t.oid and r.ev_type = '2');
  end if;
  if v_problems <> '{}' then
    raise exception 'public.reflections cannot be adopted: %', array_to_string(v_problems, '; ') using errcode = '55000';
  end if;
end
$$;

select pg_temp.check_existing_reflections();
