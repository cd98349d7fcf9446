"""What every operation of the Storage server needs."""

import msgspec
from psycopg_pool import AsyncConnectionPool

from scripts.local.supabase.storage.files import ObjectFiles
from scripts.local.supabase.storage.tokens import Keys


class StorageSettings(msgspec.Struct, frozen=True):
    database_url: str
    root: str
    keys: Keys


class Server(msgspec.Struct, frozen=True):
    pool: AsyncConnectionPool
    files: ObjectFiles
    keys: Keys
