"""Tests that run on a database without one guard, and must fail there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import psycopg
import pytest

from scripts.local.supabase.postgres import DEFAULT_VERSION, FOLDERS
from tests.clusters import Database
from tests.database.guards.catalog import find_guard

WANTED = pytest.StashKey[dict[str, list[str]]]()  # the hunt says which tests of which guards
LEDGER = Path(__file__).with_name("guards.json")
FAILURES = (AssertionError, psycopg.Error, pytest.fail.Exception)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`test` fails without the guard; `because` says why none does and none has to."""

    test: str = ""
    because: str = ""


def read_ledger() -> dict[str, Entry]:
    return msgspec.json.decode(LEDGER.read_bytes(), type=dict[str, Entry])


def write_ledger(entries: Mapping[str, Entry]) -> None:
    ordered = {key: entries[key] for key in sorted(entries)}
    LEDGER.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


def plain_id(item: pytest.Item) -> str | None:
    """Its id without the version of Postgres; None where that is not the default one."""
    file, _, name = item.nodeid.rpartition("::")
    file = file.rpartition("/")[2]
    for version in FOLDERS:
        label = f"Postgres {version}"
        if label in name:
            if version != DEFAULT_VERSION:
                return None
            name = name.replace(f"{label}-", "").replace(f"-{label}", "").replace(f"[{label}]", "")
    return f"{file}::{name}"


def without_guard(item: pytest.Function, key: str) -> pytest.Function:
    """The same test once more: expected to fail."""
    assert item.parent is not None
    made = type(item).from_parent(
        item.parent,
        name=f"{item.name} without {key}",
        callspec=getattr(item, "callspec", None),
        callobj=item.obj,
        fixtureinfo=item._fixtureinfo,  # noqa: SLF001 - pytest has no other way to run a test twice
        originalname=item.originalname,
    )
    made.own_markers = [*item.own_markers]
    made.add_marker(pytest.mark.without_guard(key))
    reason = f"without {key}"
    made.add_marker(pytest.mark.xfail(strict=True, raises=FAILURES, reason=reason))
    return made


def add_removals(
    items: list[pytest.Item], wanted: Mapping[str, Iterable[str]], ordinary: frozenset[str]
) -> None:
    """`wanted`: the tests of each guard. What is not of the ordinary run is of the long one."""
    tests: dict[str, list[str]] = {}
    for key, names in wanted.items():
        for name in names:
            tests.setdefault(name, []).append(key)
    found: list[pytest.Item] = []
    for item in items:
        found.append(item)
        if isinstance(item, pytest.Function) and (name := plain_id(item)) in tests:
            for key in tests[name]:
                made = without_guard(item, key)
                if key not in ordinary:
                    made.add_marker(pytest.mark.long)
                found.append(made)
    items[:] = found


def remove_guard(database: Database, key: str) -> None:
    with psycopg.connect(database.superuser, autocommit=True) as superuser:
        superuser.execute(find_guard(superuser, key).removal().encode())
