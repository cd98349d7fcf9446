"""docs/lifecycle.md says what a migrated database does."""

import re

import psycopg
import pytest

from scripts.local.lifecycle import PAGE, PageError, read_edges, render, with_diagrams
from tests.clusters import Database

REDRAW = "the edges changed: run `python -m scripts lifecycle`"
NAMES = """
    select proname from pg_proc where pronamespace = 'voice_clone'::regnamespace
    union select tgname from pg_trigger where not tgisinternal
    union select conname from pg_constraint
    union select relname from pg_class where relkind = 'i'
"""


def test_the_page_draws_the_edges_of_the_database(database: Database) -> None:
    page = PAGE.read_text()
    assert with_diagrams(page, render(read_edges(database.postgres))) == page, REDRAW


def test_an_edge_more_is_an_arrow_more(database: Database) -> None:
    before = render(read_edges(database.postgres))
    with psycopg.connect(database.superuser) as owner:
        owner.execute("""
            insert into voice_clone.edges (machine, from_status, to_status, event, follow_ups)
            values ('status', 'expired', 'queued', 'revived', '{voice_clone_process}')
        """)
    after = render(read_edges(database.postgres))
    added = set(after.splitlines()) - set(before.splitlines())
    assert added == {"  expired --> queued: revived, sends to voice_clone_process"}
    assert "expired --> [*]" not in after


def test_what_the_page_says_holds_an_invariant_exists(database: Database) -> None:
    rows = re.findall(r"^\| \d+ \|.*\| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 15
    with psycopg.connect(database.postgres) as owner:
        existing = {name for (name,) in owner.execute(NAMES)}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} - existing == set()


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(PageError, match="end of edges"):
        with_diagrams("# The lifecycle\n", "")
