"""supabase/schema.md says what the migrations make."""

import psycopg

from scripts.local.schema import PAGE, render
from tests.clusters import Database

REWRITE = "the schema changed: run `python -m scripts schema`"


def test_the_page_shows_the_schema_of_the_migrations(database: Database) -> None:
    assert render(database.postgres) == PAGE.read_text(), REWRITE


def test_what_is_added_to_the_schema_is_added_to_the_page(database: Database) -> None:
    before = render(database.postgres)
    with psycopg.connect(database.postgres) as owner:
        owner.execute("""
            create table public.speeches (
              id uuid primary key,
              minutes int generated always as identity,
              tone text default 'a|b' check (tone <> '')
            );
            comment on column public.speeches.tone is 'as the owner wishes';
            create unique index speeches_tone_idx on public.speeches (lower(tone)) where tone is not null;
            revoke all on public.speeches from anon, authenticated, service_role;
            grant select on public.speeches to anon;
            grant update (tone, minutes) on public.speeches to anon;
            alter table public.speeches enable row level security;
            create policy "Everyone listens" on public.speeches for select to anon using (tone = 'calm');
            create function voice_clone.speak(p_times int default 2) returns text
            language sql return 'spoken';
            revoke execute on function voice_clone.speak(int) from public;
            grant execute on function voice_clone.speak(int) to voice_clone_backend;
            create type voice_clone.pitch as (low int, high int);
        """)
    added = [line for line in render(database.postgres).splitlines() if line not in before.splitlines()]
    assert added == [
        "### public.speeches",
        "| minutes | integer not null | `identity` |  |",
        "| tone | text | `'a\\|b'::text` | as the owner wishes |",
        "- `CHECK ((tone <> ''::text))`",
        "- `unique index speeches_tone_idx on (lower(tone)) WHERE (tone IS NOT NULL)`",
        "- `granted select, update (minutes, tone) to anon`",
        "- `voice_clone.pitch (low integer, high integer)`",
        "- public.speeches: Everyone listens (select, anon) using `(tone = 'calm'::text)`",
        "- `voice_clone.speak(p_times integer DEFAULT 2) → text`",
    ]
