"""A Supabase of the runbooks' own, so that what their commands list is what their tests planted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from scripts.local.supabase.postgres import DEFAULT_VERSION
from scripts.local.supabase.stack import Stack, running_stack
from tests.clusters import SPEED, copied_cluster, temporary_directory
from tests.end_to_end.conftest import idle, prepared, product, providers, sample
from tests.end_to_end.test_cleanup import short_times

__all__ = ["idle", "prepared", "product", "providers", "sample", "short_times"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(template_directory: Path) -> AsyncIterator[Stack]:
    with temporary_directory() as directory:
        copied_cluster(template_directory, directory / f"postgres-{DEFAULT_VERSION}")
        async with running_stack(directory, postgres_settings=SPEED) as started:
            yield started
