"""Manifests that are kept beside their audio, under its hash."""

import asyncio
import hashlib

from backend.database.pool import Database
from backend.database.queries import load_queries

queries = load_queries(__file__)


async def keep_manifest(database: Database, audio: bytes, manifest: bytes) -> str:
    """The SHA-256 of the audio in hexadecimal digits: the name of the manifest."""
    digest = await asyncio.to_thread(hashlib.sha256, audio)
    await database.execute(queries.keep_manifest, {"hash": digest.digest(), "manifest": manifest})
    return digest.hexdigest()


async def find_manifest(database: Database, audio: bytes) -> bytes | None:
    digest = await asyncio.to_thread(hashlib.sha256, audio)
    return await read_manifest(database, digest.digest())


async def read_manifest(database: Database, digest: bytes) -> bytes | None:
    return await database.fetch_value(queries.kept_manifest, {"hash": digest}, of=bytes)
