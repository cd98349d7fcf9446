-- Reflections: the AI personas of a user. `voice` is a mirror of lifecycle state that clients read.
--
-- A table of this name that exists already is adopted: it gets what is missing, and keeps its rows, columns, defaults,
-- policies, grants and triggers. What its clients may do with their reflections stays the application's decision.

set local lock_timeout = '5s';
select voice_clone.note_tables_before('{reflections}');

-- The mirror before the first clone.
create function voice_clone.first_mirror() returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return '{"cloneStatus": "none", "runtimeStatus": "pending", "previewStatus": "not_required", "previewRequired": false,
    "attemptId": null, "voiceId": null, "provider": null, "targetModel": null, "error": null, "version": 0, "updatedAt": null}';
end
$$;

-- Adds the column of the mirror where the application has none of this name. The rows that exist show the first mirror without being
-- written, as Postgres keeps the default that a column was added with. A trigger gives it to new rows
-- (voice_clone.add_first_mirror), so that the default does not need this schema.
create function voice_clone.add_mirror_column(p_table regclass) returns void
language plpgsql set search_path = ''
as $$
begin
  if exists (
    select from pg_attribute a where a.attrelid = p_table and a.attname = 'voice' and not a.attisdropped
  ) then
    return;
  end if;
  execute format('alter table %s add column voice jsonb not null default voice_clone.first_mirror()', p_table);
  execute format('alter table %s alter column voice set default ''{}''', p_table);
end
$$;

do $$
begin
  if to_regclass('public.reflections') is not null then
    return;
  end if;
  create table public.reflections (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    name text not null check (length(name) between 1 and 120),
    voice jsonb not null default '{}',
    created_at timestamptz not null default now()
  ) with (fillfactor = 70); -- room for the next mirror in the page: no index is written (HOT)
  create index reflections_user_id_idx on public.reflections (user_id, created_at desc);
  alter table public.reflections enable row level security;
  revoke all on public.reflections from public, anon, authenticated, service_role;
  grant select, delete, insert (id, name), update (name) on public.reflections to authenticated;
  grant select, insert, update, delete on public.reflections to service_role;
  create policy "Owners read their reflections" on public.reflections
    for select to authenticated using (user_id = (select auth.uid()));
  create policy "Owners add reflections of their own" on public.reflections
    for insert to authenticated with check (user_id = (select auth.uid()));
  create policy "Owners rename their reflections" on public.reflections
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
  create policy "Owners delete their reflections" on public.reflections
    for delete to authenticated using (user_id = (select auth.uid()));
end
$$;

select voice_clone.add_mirror_column('public.reflections');
alter table public.reflections
  add column if not exists created_at timestamptz not null default now(),
  add check (jsonb_typeof(voice) = 'object');

do $$
begin
  if not exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'public.reflections'::regclass and a.attname = 'user_id' and i.indisvalid and i.indpred is null
  ) then
    create index on public.reflections (user_id);
  end if;
  -- Only where no policy of the application decides what its signed-in users read.
  if not exists (
    select from pg_policy p
    where p.polrelid = 'public.reflections'::regclass and p.polpermissive and p.polcmd in ('r', '*')
      and p.polroles && array[0, 'authenticated'::regrole]::oid[]
  ) then
    create policy "Owners read the voice of their reflections" on public.reflections
      for select to authenticated using (user_id = (select auth.uid()));
    grant select (id, user_id, voice) on public.reflections to authenticated;
  end if;
end
$$;

-- The mirror is written with the rights of this table's owner, and so are the triggers that it fires: no client may add one.
revoke trigger on public.reflections from public, anon, authenticated, service_role;
select voice_clone.note_tables_after('{reflections}');

-- What a reflection is called, as a voice may be called: one line, without control characters and changes of the reading
-- direction. Only a table of ours is sure to have a name.
create function voice_clone.reflection_name(r public.reflections) returns text
language plpgsql stable set search_path = ''
as $$
declare
  c_unfit constant text := '[\u0001-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+';
  v_name jsonb := to_jsonb(r) -> 'name';
begin
  return coalesce(case jsonb_typeof(v_name)
    when 'string' then nullif(btrim(regexp_replace(left(v_name #>> '{}', 120), c_unfit, ' ', 'g')), '') end, 'Voice');
end
$$;

-- The version that the mirror shows; 0 for none, and for a value of the application's own that is no such version.
create function voice_clone.shown_version(p_voice jsonb) returns bigint
language plpgsql immutable set search_path = ''
as $$
begin
  return case when p_voice ->> 'version' ~ '^[0-9]{1,15}$' then (p_voice ->> 'version')::bigint else 0 end;
end
$$;
