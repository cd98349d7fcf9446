"""`python -m scripts lifecycle`: draw the edges of a migrated database into docs/lifecycle.md."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from backend.database.queries import load_queries
from scripts.local.supabase.postgres import Cluster, PostgresError
from scripts.migrations import ROOT, MigrationError, push_migrations

queries = load_queries(__file__)
PAGE = ROOT / "docs" / "lifecycle.md"
START = "<!-- edges: written by `python -m scripts lifecycle` -->\n"
END = "<!-- end of edges -->\n"


class Edge(Struct, frozen=True):
    """A row of voice_clone.edges; what begins comes from the empty status."""

    machine: str  # its title on the page
    from_status: str
    to_status: str
    event: str
    follow_ups: list[str]


class PageError(Exception):
    """The page has no place for the diagrams."""


def lifecycle() -> None:
    """Draw the edges of the lifecycle into docs/lifecycle.md.

    Reads DATABASE_URL if it is set, with the login of the owner, else a new database with this checkout's
    migrations.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    Exit codes: 0 written; 1 the database or the page could not be read.

    Example: likeness lifecycle
    """
    try:
        with migrated() as dsn:
            page = with_diagrams(PAGE.read_text(), render(read_edges(dsn)))
    except (MigrationError, PostgresError, PageError, psycopg.Error) as error:
        sys.exit(str(error))
    PAGE.write_text(page)
    sys.stdout.write(f"written to {PAGE.relative_to(ROOT)}\n")


@contextmanager
def migrated() -> Iterator[str]:
    if dsn := os.environ.get("DATABASE_URL"):
        yield dsn
        return
    with tempfile.TemporaryDirectory(prefix="likeness-", ignore_cleanup_errors=True) as directory:
        cluster = Cluster(Path(directory))
        try:
            cluster.start(settings={"fsync": "off"})
            push_migrations(cluster.dsn("postgres"))
            yield cluster.dsn()
        finally:
            cluster.stop(immediately=True)


def read_edges(dsn: str) -> list[Edge]:
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=class_row(Edge)) as cursor:
        return cursor.execute(queries.edges).fetchall()


def render(edges: Sequence[Edge]) -> str:
    """A heading and a state diagram for each machine."""
    return "\n".join(
        f"### {machine}\n\n{diagram(list(own))}"
        for machine, own in groupby(edges, key=lambda edge: edge.machine)
    )


def diagram(edges: Sequence[Edge]) -> str:
    lines = [arrow(edge) for edge in edges]
    ends = {edge.to_status for edge in edges} - {edge.from_status for edge in edges}
    lines += [f"{each} --> [*]" for each in sorted(ends)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"  {line}" for line in lines), "```", ""])


def arrow(edge: Edge) -> str:
    label = ", sends to ".join([edge.event, *edge.follow_ups])
    return f"{edge.from_status or '[*]'} --> {edge.to_status}: {label}"


def with_diagrams(page: str, diagrams: str) -> str:
    """The page with what stands between its markers replaced; raises PageError where they are missing."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise PageError(f"{PAGE.relative_to(ROOT)} needs these two lines:\n{START}{END}")
    return f"{before}{START}\n{diagrams}\n{END}{after}"
