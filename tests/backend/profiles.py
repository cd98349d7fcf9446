"""Voices of the embedded provider as files of a directory, for tests without Storage."""

import asyncio
from collections.abc import Sequence
from pathlib import Path


class DirectoryProfiles:
    """Voices as files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, key: str, data: bytes) -> None:
        def write() -> None:
            with (self._directory / key).open("xb") as file:
                file.write(data)

        await asyncio.to_thread(write)

    async def get(self, key: str) -> bytes | None:
        try:
            return await asyncio.to_thread((self._directory / key).read_bytes)
        except FileNotFoundError:
            return None

    async def list(self, prefix: str = "") -> list[str]:
        return await asyncio.to_thread(
            lambda: sorted(path.name for path in self._directory.glob(f"{prefix}*"))
        )

    async def list_page(self, offset: int, limit: int) -> Sequence[str]:
        return (await self.list())[offset : offset + limit]

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(lambda: (self._directory / key).unlink(missing_ok=True))
