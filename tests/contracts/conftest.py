"""The clusters that the queue contract is tested on: an older pgmq on each packaged Postgres."""

from pathlib import Path

import pytest

from scripts.local.supabase.postgres import bootstrap_scripts
from tests.clusters import Kind, of_the_day
from tests.queue_consumers.conftest import queued

__all__ = ["queued"]

HERE = Path(__file__).parent


def older_pgmq(version: str) -> tuple[str, ...]:
    """An older pgmq, reduced to what all versions offer, without access to its tables."""
    files = [(HERE / name).read_text() for name in (f"pgmq-{version}.sql", "restrict.sql")]
    return tuple(bootstrap_scripts("\n".join(["create schema pgmq;", *files])))


KINDS = {
    "pgmq 1.4.4 on Postgres 16": Kind(16, older_pgmq("1.4.4")),
    "pgmq 1.5.1 on Postgres 18": Kind(18, older_pgmq("1.5.1")),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        kinds = of_the_day(metafunc, KINDS) or KINDS
        metafunc.parametrize("cluster", kinds.values(), ids=list(kinds), indirect=True, scope="session")
