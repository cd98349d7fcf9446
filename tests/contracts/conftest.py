"""The clusters that the queue contract is tested on: older pgmq, and every packaged Postgres."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local.postgres import Cluster, bootstrap_scripts
from tests.conftest import Kind, started_cluster
from tests.database.conftest import world
from tests.queue_consumers.conftest import queued

__all__ = ["cluster", "queued", "world"]

HERE = Path(__file__).parent


def older_pgmq(version: str) -> tuple[str, ...]:
    """pgmq as it was, reduced to what all versions offer, with its tables out of reach."""
    files = [(HERE / name).read_text() for name in (f"pgmq-{version}.sql", "restrict.sql")]
    return tuple(bootstrap_scripts("\n".join(["create schema pgmq;", *files])))


KINDS = {
    "pgmq 1.4.4 on Postgres 16": Kind(16, older_pgmq("1.4.4")),
    "pgmq 1.5.1 on Postgres 18": Kind(18, older_pgmq("1.5.1")),
}


@pytest.fixture(scope="session", params=KINDS.values(), ids=list(KINDS))
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with started_cluster(request.param) as started:
        yield started
