"""The file of a form, as the framework has it on disk."""

from typing import BinaryIO

import anyio
from litestar.datastructures import UploadFile

from backend.samples.preparation import require_size
from backend.web.http_client import write_whole

CHUNK = 1 << 18  # bytes


async def spool(sample: UploadFile, target: BinaryIO, most: int, field: str = "sample") -> int:
    """Copy the upload into a file and return its size."""
    size = 0
    while chunk := await sample.read(CHUNK):
        size += len(chunk)
        require_size(size, most, field)
        await anyio.to_thread.run_sync(write_whole, target, chunk)
    return size
