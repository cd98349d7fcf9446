"""What every operation of the Storage server needs."""

import msgspec
from psycopg_pool import AsyncConnectionPool

from scripts.local.supabase.storage.files import ObjectFiles
from scripts.local.supabase.storage.tokens import Keys


class DeclaredBucket(msgspec.Struct, frozen=True):
    """A bucket of supabase/config.toml; the size in bytes."""

    id: str
    public: bool = False
    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None


class StorageSettings(msgspec.Struct, frozen=True):
    database_url: str
    root: str
    keys: Keys
    buckets: list[DeclaredBucket] = []


class Server(msgspec.Struct, frozen=True):
    pool: AsyncConnectionPool
    files: ObjectFiles
    keys: Keys
