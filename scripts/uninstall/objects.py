"""The part of an uninstall in Storage: only its API removes an object with its file."""

from collections.abc import Callable, Sequence

from backend.settings.supabase import SupabaseSettings
from backend.storage.client import Storage
from backend.web.upstreams import Upstreams

BATCH = 1000  # paths of one request, which Storage limits


async def remove_buckets(
    settings: SupabaseSettings, buckets: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Interrupted, it leaves what it has not reached; a second run removes the rest."""
    upstreams = Upstreams()
    storage = Storage(settings, upstreams.storage)
    async with upstreams:
        for bucket in buckets:
            paths = [path async for path in storage.walk(bucket, "")]
            for start in range(0, len(paths), BATCH):
                await storage.remove(bucket, paths[start : start + BATCH])
            await storage.remove_bucket(bucket)
            tell(f"bucket {bucket}: {len(paths)} objects removed")
