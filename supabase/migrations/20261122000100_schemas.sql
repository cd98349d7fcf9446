-- The schemas and roles of the voice-clone lifecycle.
--
-- public       what clients see, under row level security
-- voice_clone  transitions and everything internal; not exposed by the Data API
-- operations   what operators call: over the Data API as service_role only, or with the login of the service

create schema voice_clone;
create schema operations;

do $$
begin
  -- May execute the transitions; holds no table.
  if to_regrole('voice_clone_backend') is null then
    create role voice_clone_backend nologin;
  end if;
  -- The login of the service and the consumers. The operator sets its password.
  if to_regrole('voice_clone_service') is null then
    create role voice_clone_service login;
  end if;
end
$$;

grant voice_clone_backend, authenticated to voice_clone_service;

revoke all on schema voice_clone, operations from public, anon, authenticated;
grant usage on schema voice_clone to voice_clone_backend;
grant usage on schema operations to service_role, voice_clone_backend;

-- Adoptions: what these migrations created and changed of the tables that an application may have, so that `likeness uninstall`
-- leaves the application what is its own. A migration notes each table before it changes it, and again at its end.

create table voice_clone.adoptions (
  table_name text not null,
  change text not null check (change in ('created', 'found', 'added', 'taken')),
  kind text not null check (kind in ('table', 'column', 'constraint', 'index', 'policy', 'right', 'bucket')),
  name text not null,
  role text not null default '',
  primary key (table_name, change, kind, name, role)
);
comment on column voice_clone.adoptions.change is
  'created: the whole table is ours; found: it was there; added, taken: what the migrations added to a table that was there, and took from it';
comment on column voice_clone.adoptions.name is 'of a right, what is granted: select (id)';
comment on column voice_clone.adoptions.role is 'of a right, to whom it is granted';
alter table voice_clone.adoptions enable row level security;
revoke all on voice_clone.adoptions from public, anon, authenticated, service_role;

-- What a migration may add to a table or take from it; nothing where there is no table. Triggers are left out: ours are those that
-- call our functions.
create function voice_clone.parts_of_table(p_table text) returns table (kind text, name text, role text)
language sql stable set search_path = ''
as $$
  with t as materialized (select c.* from pg_catalog.pg_class c where c.oid = to_regclass('public.' || p_table))
  select 'table', t.relname::text, '' from t
  union all
  select 'column', a.attname::text, '' from t join pg_catalog.pg_attribute a on a.attrelid = t.oid
  where a.attnum > 0 and not a.attisdropped
  union all
  select 'constraint', o.conname::text, '' from t join pg_catalog.pg_constraint o on o.conrelid = t.oid
  where o.contype in ('c', 'f', 'p', 'u', 'x')
  union all
  select 'index', n.relname::text, '' from t
  join pg_catalog.pg_index i on i.indrelid = t.oid
  join pg_catalog.pg_class n on n.oid = i.indexrelid
  where not exists (select from pg_catalog.pg_constraint o where o.conindid = n.oid and o.contype in ('p', 'u', 'x'))
  union all
  select 'policy', p.polname::text, '' from t join pg_catalog.pg_policy p on p.polrelid = t.oid
  union all
  select 'right', concat(lower(a.privilege_type), ' (' || quote_ident(a.attname) || ')'),
    case a.grantee when 0 then 'public' else a.grantee::regrole::text end || case when a.is_grantable then ' with grant option' else '' end
  from (
    select a.*, null::name as attname from t
    cross join aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) a
    union all
    select a.*, c.attname from t
    join pg_catalog.pg_attribute c on c.attrelid = t.oid
    cross join aclexplode(c.attacl) a
  ) a
$$;

create function voice_clone.note_tables_before(p_tables text[]) returns void
language sql set search_path = ''
as $$
  insert into voice_clone.adoptions (table_name, change, kind, name, role)
  select t, 'found', p.kind, p.name, p.role from unnest(p_tables) t cross join lateral voice_clone.parts_of_table(t) p
$$;

-- Of a table that was there, only the difference is kept.
create function voice_clone.note_tables_after(p_tables text[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_table text;
begin
  foreach v_table in array p_tables loop
    if not exists (select from voice_clone.adoptions a where a.table_name = v_table) then
      insert into voice_clone.adoptions (table_name, change, kind, name) values (v_table, 'created', 'table', v_table);
      continue;
    end if;
    insert into voice_clone.adoptions (table_name, change, kind, name, role)
    select v_table, 'added', p.kind, p.name, p.role from voice_clone.parts_of_table(v_table) p
    except
    select a.table_name, 'added', a.kind, a.name, a.role from voice_clone.adoptions a where a.table_name = v_table;
    insert into voice_clone.adoptions (table_name, change, kind, name, role)
    select a.table_name, 'taken', a.kind, a.name, a.role from voice_clone.adoptions a
    where a.table_name = v_table and a.change = 'found'
      and (a.kind, a.name, a.role) not in (select p.kind, p.name, p.role from voice_clone.parts_of_table(v_table) p);
    delete from voice_clone.adoptions a where a.table_name = v_table and a.change = 'found' and a.kind <> 'table';
  end loop;
end
$$;
