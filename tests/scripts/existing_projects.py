"""Projects with a table `reflections` of their own, as their application's migrations left it."""

from typing import LiteralString

# Without policies: only the service role reads it.
BARE: LiteralString = """
create table public.reflections (id uuid primary key default gen_random_uuid(), user_id uuid);
alter table public.reflections enable row level security;
"""

# Its clients have no right on it, its key is no primary key, and its names are not text.
CLOSED: LiteralString = """
create table public.reflections (
  id uuid unique default gen_random_uuid(), user_id uuid not null, name jsonb, created_at bigint, instructions text);
create unique index reflections_user_id_idx on public.reflections (lower(instructions));
alter table public.reflections enable row level security;
revoke all on public.reflections from anon, authenticated;
"""

# A `voice` of its own, which may be null, and rows of an earlier system; one policy for everything and every role.
VOICED: LiteralString = """
create table public.reflections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  name text,
  voice jsonb
);
create index on public.reflections (user_id);
alter table public.reflections enable row level security;
create policy "Owners read their reflections" on public.reflections
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
"""

# Columns, defaults, constraints, grants, policies and triggers of its own; the triggers name their objects without
# a schema, and one of them writes after the guard of a BEFORE trigger would have run.
FULL: LiteralString = """
create table public.reflections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id),
  title text not null default 'Untitled' check (length(title) < 200),
  voice jsonb not null default '{"theme": "light"}',
  changes int not null default 0,
  created_at timestamp not null default now(),
  updated_at timestamptz
);
create table public.reflection_history (id bigint primary key generated always as identity, title text);
alter table public.reflection_history enable row level security;
create policy "Nobody reads the history" on public.reflection_history for select to authenticated using (false);
alter table public.reflections enable row level security;
revoke all on public.reflections from anon, authenticated;
grant select, insert, update, delete on public.reflections to authenticated;
grant select (id, title) on public.reflections to anon;
create policy "Everyone reads titles" on public.reflections for select to anon using (true);
create policy "Owners read their own" on public.reflections
  for select to authenticated using (user_id = (select auth.uid()));
create policy "Owners insert their own" on public.reflections
  for insert to authenticated with check (user_id = (select auth.uid()));
create policy "Owners update their own" on public.reflections
  for update to authenticated using (user_id = (select auth.uid()));
create policy "Never an untitled one" on public.reflections as restrictive using (title <> '');

create function public.count_change(int) returns int language sql set search_path = '' as 'select $1 + 1';
create function public.touch() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  new.changes := count_change(old.changes);
  if new.title = 'forge' then
    new.voice := new.voice || '{"cloneStatus": "ready"}';
  end if;
  return new;
end $$;
create function public.keep_history() returns trigger language plpgsql security definer as $$
begin
  insert into reflection_history (title) values (new.title);
  return null;
end $$;
alter function public.touch() set search_path from current;
alter function public.keep_history() set search_path = 'public';
create trigger touch before update on public.reflections for each row execute function public.touch();
create trigger zz_history after insert or update on public.reflections
  for each row execute function public.keep_history();
"""
PROJECTS: dict[str, LiteralString] = {"bare": BARE, "closed": CLOSED, "with a voice": VOICED, "full": FULL}

OTHERS: LiteralString = "alter table public.reflections enable row level security"
# What cannot be adopted, by the reason that the push gives. The superuser makes it; `postgres` owns it unless it says so.
UNFIT: dict[str, LiteralString] = {
    "it has no column user_id": "create table public.reflections (id uuid primary key, owner uuid)",
    "it has no column id": "create table public.reflections (key uuid primary key, user_id uuid)",
    "its column id is bigint, not uuid": "create table public.reflections (id bigint primary key, user_id uuid)",
    "its column user_id is text, not uuid": "create table public.reflections (id uuid primary key, user_id text)",
    "its column voice is text, not jsonb": "create table public.reflections (id uuid primary key, user_id uuid, voice text)",
    "its column voice is json, not jsonb": "create table public.reflections (id uuid primary key, user_id uuid, voice json)",
}
