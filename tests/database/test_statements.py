"""Each named statement fits the schema: Postgres prepares it for the service's own login."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import DiagnosticField

from scripts.migrations import ROOT
from tests.clusters import Database

FILES = sorted((ROOT / "backend").rglob("*.sql"))
NAMED = re.compile(r"^-- (\w+) --$(.*?)(?=^-- \w+ --$|\Z)", re.MULTILINE | re.DOTALL)
PARAMETER = re.compile(r"%\((\w+)\)s")
FITS = {b"", b"42P18", b"42P08"}  # or only its value tells the type of a parameter


def prepared(statement: str) -> bytes:
    """As the driver sends it, with numbered parameters."""
    names = list(dict.fromkeys(PARAMETER.findall(statement)))
    numbered = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    return numbered.replace("%%", "%").encode()


def state(service: psycopg.Connection, statement: str) -> bytes:
    result = service.pgconn.prepare(b"", prepared(statement))
    return result.error_field(DiagnosticField.SQLSTATE) or b""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_postgres_prepares_each_statement(database: Database, file: Path) -> None:
    statements = NAMED.findall(file.read_text())
    assert statements
    with psycopg.connect(database.service, autocommit=True) as service:
        found = {name: state(service, statement) for name, statement in statements}
    assert {name: each for name, each in found.items() if each not in FITS} == {}


def test_what_does_not_fit_is_found(database: Database) -> None:
    with psycopg.connect(database.service, autocommit=True) as service:
        assert state(service, "select user_id from voice_clone.claimed_sample(%(sample)s)") == b"42703"
