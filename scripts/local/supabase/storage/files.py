"""Objects on disk. A file is named by its version, a UUID of ours: no name of a client's is ever a path."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from scripts.local.supabase.storage.errors import LocalStorageError

CHUNK = 256 * 1024


class Received(msgspec.Struct, frozen=True):
    """A file that is on disk for good, whether or not a row comes to stand for it."""

    version: str
    size: int
    etag: str


class ObjectFiles:
    """A directory of objects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, version: str) -> Path:
        return self.root / str(uuid.UUID(version))

    async def receive(self, chunks: AsyncIterator[bytes], limit: int | None) -> Received:
        """Write to a temporary file, fsync, rename, fsync the directory; or remove all of it.

        Raises:
            LocalStorageError: EntityTooLarge, as soon as one byte more than the limit has come.
        """
        version = str(uuid.uuid4())
        part = self.root / f"{version}.part"
        size, digest, buffer = 0, hashlib.md5(usedforsecurity=False), bytearray()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise LocalStorageError("EntityTooLarge")
                digest.update(chunk)
                buffer += chunk
                if len(buffer) >= CHUNK:
                    await asyncio.to_thread(write_all, descriptor, bytes(buffer))
                    buffer.clear()
            await asyncio.to_thread(self._finish, descriptor, bytes(buffer), part, self.path(version))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return Received(version, size, f'"{digest.hexdigest()}"')

    def _finish(self, descriptor: int, rest: bytes, part: Path, final: Path) -> None:
        write_all(descriptor, rest)
        os.fsync(descriptor)
        part.rename(final)
        directory = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    async def read(self, version: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` to `end`, the last included."""
        descriptor = os.open(self.path(version), os.O_RDONLY)
        try:
            while start <= end:
                chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK, end + 1 - start), start)
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)

    def remove(self, version: str | None) -> None:
        """Remove a file that no row stands for any more."""
        if version:
            self.path(version).unlink(missing_ok=True)

    def sweep(self, versions: set[str]) -> None:
        """Remove what a crash left: files without a row. Only before the first upload."""
        for path in self.root.iterdir():
            if path.name not in versions:
                path.unlink(missing_ok=True)


def write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
