"""A Supabase of the runbooks' own, so that what their commands list is what their tests planted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.local.supabase.postgres import DEFAULT_VERSION
from scripts.local.supabase.stack import Stack, running_stack
from tests.clusters import SPEED, copied_cluster, temporary_directory
from tests.end_to_end.conftest import Product, idle, prepared, product, providers, sample
from tests.end_to_end.test_cleanup import short_times

__all__ = ["idle", "prepared", "product", "providers", "sample", "short_times"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(template_directory: Path) -> AsyncIterator[Stack]:
    with temporary_directory() as directory:
        copied_cluster(template_directory, directory / f"postgres-{DEFAULT_VERSION}")
        async with running_stack(directory, postgres_settings=SPEED) as started:
            yield started


@pytest.fixture(autouse=True)
def nothing_left(product: Product) -> None:
    """The providers begin empty, so the voices of earlier tests would be missing there."""
    with product.connect() as superuser, superuser.transaction():
        superuser.execute("set local session_replication_role = replica")
        superuser.execute(
            "update voice_clone.enrollments set sweep_at = null,"
            " status = case when provider_voice_id is null then 'closed' else 'removed' end"
            " where status not in ('closed', 'removed') and provider <> 'local'"
        )
        superuser.execute(
            "update public.voices set deleted_at = now() where deleted_at is null and tts_provider <> 'local'"
        )
        superuser.execute("delete from voice_clone.voice_checks")
