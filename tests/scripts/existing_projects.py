"""Projects with a table `reflections` of their own, made by their application's migrations."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg

from scripts.migrations import push_migrations
from tests.clusters import Database
from tests.fixture import Fixture

# Without policies: only the service role reads it.
BARE: LiteralString = """
create table public.reflections (id uuid primary key default gen_random_uuid(), user_id uuid);
alter table public.reflections enable row level security;
"""

# Its clients have no right on it, its key is no primary key, and its names are not text.
CLOSED: LiteralString = """
create table public.reflections (
  id uuid unique default gen_random_uuid(), user_id uuid not null,
  name jsonb, created_at bigint, instructions text
);
create unique index reflections_user_id_idx on public.reflections (lower(instructions));
alter table public.reflections enable row level security;
revoke all on public.reflections from anon, authenticated;
"""

# A `voice` of its own, which may be null; one policy for every command and every role.
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

# Columns, defaults, constraints, grants, policies and triggers of its own. The triggers name their objects
# without a schema, and one of them changes `voice`.
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
create policy "Clients read no history" on public.reflection_history
  for select to authenticated using (false);
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
create trigger touch before update on public.reflections for each row execute function public.touch();
create trigger zz_history after insert or update on public.reflections
  for each row execute function public.keep_history();
"""
PROJECTS: dict[str, LiteralString] = {"bare": BARE, "closed": CLOSED, "with a voice": VOICED, "full": FULL}


def table(columns: LiteralString, *more: LiteralString, kind: LiteralString = "table") -> LiteralString:
    enabled: LiteralString = "alter table public.reflections enable row level security"
    return "; ".join((f"create {kind} public.reflections {columns}", enabled, *more))


KEYS: LiteralString = "id uuid primary key, user_id uuid"
AS_QUERY: LiteralString = "as select gen_random_uuid() as id, gen_random_uuid() as user_id"
# What cannot be adopted: the reason that the push gives, and the table that has it.
UNFIT: list[tuple[LiteralString, LiteralString]] = [
    ("it has no column user_id", table("(id uuid primary key, owner uuid)")),
    ("it has no column id", table("(key uuid primary key, user_id uuid)")),
    ("its column id is bigint, not uuid", table("(id bigint primary key, user_id uuid)")),
    ("its column user_id is text, not uuid", table("(id uuid primary key, user_id text)")),
    ("its column voice is text, not jsonb", table(f"({KEYS}, voice text)")),
    ("its column voice is json, not jsonb", table(f"({KEYS}, voice json)")),
    (
        "its column voice is generated",
        table(f"({KEYS}, settings jsonb, voice jsonb generated always as (settings) stored)"),
    ),
    (
        "in 2 of its rows, voice is not a JSON object",
        table(
            f"({KEYS}, voice jsonb)",
            "insert into public.reflections (id, voice) select gen_random_uuid(), v::jsonb"
            """ from (values (null), ('{}'), ('[]'), ('"alloy"')) v (v)""",
        ),
    ),
    (
        "its column id is neither the primary key nor unique",
        table(
            "(id uuid, user_id uuid, primary key (user_id, id))",
            "create unique index on public.reflections (id) where user_id is not null",
        ),
    ),
    (
        "its column id is neither the primary key nor unique",
        table("(user_id uuid, id uuid unique deferrable initially deferred)"),
    ),
    ("row level security is not enabled on it", f"create table public.reflections ({KEYS})"),
    (
        "its rule frozen rewrites updates",
        table(f"({KEYS})", "create rule frozen as on update to public.reflections do instead nothing"),
    ),
    (
        "it belongs to the role supabase_admin, whose rights postgres does not have",
        table(f"({KEYS})", "alter table public.reflections owner to supabase_admin"),
    ),
    ("it is a view", f"create view public.reflections {AS_QUERY}"),
    ("it is a materialized view", f"create materialized view public.reflections {AS_QUERY}"),
    (
        "it is a foreign table",
        "create foreign data wrapper elsewhere; create server elsewhere foreign data wrapper elsewhere;"
        " create foreign table public.reflections (id uuid, user_id uuid) server elsewhere",
    ),
    ("it is a partitioned table", table(f"({KEYS}) partition by hash (id)")),
    (
        "it is a partition of another table",
        f"create table public.personas ({KEYS}) partition by hash (id); "
        + table("partition of public.personas for values with (modulus 1, remainder 0)"),
    ),
    (
        "it is a table with child tables",
        table(f"({KEYS})", "create table public.archived () inherits (public.reflections)"),
    ),
    ("it is an unlogged table", table(f"({KEYS})", kind="unlogged table")),
    (
        "it is a typed table",
        "create type public.persona as (id uuid, user_id uuid); "
        + table("of public.persona (primary key (id))"),
    ),
    ("it is not a table", "create sequence public.reflections"),
    (
        "it has no column user_id; its column id is text, not uuid; row level security is not enabled on it",
        "create table public.reflections (id text primary key)",
    ),
]


def application_folder(root: Path, sql: str) -> Path:
    """A folder that the CLI pushes from, with one migration."""
    migrations = root / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (root / "supabase" / "config.toml").write_text('project_id = "application"\n')
    (migrations / "20250101000000_application.sql").write_text(sql)
    return root


def apply(database: Database, sql: LiteralString) -> None:
    """As the application's own migrations would."""
    with psycopg.connect(database.postgres) as owner:
        owner.execute(sql)


@contextmanager
def adopted(database: Database) -> Iterator[Fixture]:
    push_migrations(database.postgres)
    database.cluster.set_passwords()
    with closing(Fixture(database)) as given:
        yield given
