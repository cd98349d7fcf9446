"""Fixtures for every test: a migrated cluster, a database cloned from it, and the fixture `given`."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.local.supabase.postgres import Cluster
from tests.clusters import (
    DEFAULT,
    Database,
    cloned_database,
    copied_cluster,
    migrated_template,
    started_cluster,
    temporary_directory,
)
from tests.fixture import Fixture

os.environ["ENV_FILE"] = ""  # a developer's .env is not for the processes of the tests
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # `make test &` in a script ignores it, and each process that a test starts and interrupts would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def template_directory() -> Path:
    return migrated_template(DEFAULT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-postgres",
        action="store_true",
        help="run each test of the database on every packaged Postgres, not only on the default one",
    )
    parser.addoption(
        "--postgres-of-the-day",
        action="store_true",
        help="run each test of the database on one packaged Postgres, tomorrow on another",
    )
    parser.addoption(
        "--lifecycle-seed",
        type=int,
        default=int(datetime.now(UTC).strftime("%Y%m%d")),
        help="the orders of events that tests/lifecycle tries; the date of another day gives its orders",
    )
    parser.addoption("--lifecycle-replay", help="the blob of an order that failed: only this order is tried")


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: many tests wait for processes, for leases to end, for a clock."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(trylast=True)  # after pytest's own order, by parameters
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, so that at the end no process waits for another."""
    slowest = ("lifecycle", "storms", "end_to_end", "runbooks", "scripts", "backend")
    items.sort(key=lambda item: (*slowest, item.path.parent.name).index(item.path.parent.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"orders of the lifecycle: --lifecycle-seed={config.option.lifecycle_seed}")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of this run's databases; a Kind as its parameter selects another one."""
    with started_cluster(getattr(request, "param", DEFAULT)) as started:
        yield started


@pytest.fixture
def own_cluster(template_directory: Path) -> Iterator[Cluster]:
    """A durable cluster for one test, which may stop, kill and restart it: `start(port=cluster.port)`."""
    with temporary_directory() as directory:
        started = copied_cluster(template_directory, directory)
        started.start()
        yield started
        started.stop(immediately=True)


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A database for one test."""
    with cloned_database(cluster) as cloned:
        yield cloned


@pytest.fixture
def given(database: Database) -> Iterator[Fixture]:
    with closing(Fixture(database)) as made:
        yield made
