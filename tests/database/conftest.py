"""The tests of the database run on every packaged Postgres with --every-postgres."""

import pytest

from scripts.local.supabase.postgres import FOLDERS
from tests.clusters import Kind


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On every packaged Postgres with --every-postgres, unless a test is marked `one_postgres`."""
    if metafunc.definition.get_closest_marker("one_postgres"):
        return
    if "cluster" in metafunc.fixturenames and metafunc.config.getoption("every_postgres"):
        kinds = {f"Postgres {version}": Kind(version) for version in FOLDERS}
        metafunc.parametrize("cluster", kinds.values(), ids=list(kinds), indirect=True, scope="session")
