"""The file of a form, as the framework has it on disk."""

from typing import BinaryIO

import anyio
from litestar.datastructures import UploadFile

from backend.domains.samples.formats import HEAD_BYTES, audio_format
from backend.domains.samples.preparation import plain_content_type, require_size
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


def sent_content_type(file: BinaryIO, declared: str, field: str = "sample") -> str:
    """Judged by content, and by what the form declares where the first bytes say nothing.

    The framework calls a file without a type `text/plain`, and many clients send `application/octet-stream`.
    Raises InvalidFormat.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return audio_format(head) or plain_content_type(declared, field)
