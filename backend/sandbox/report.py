"""The job that tells which restrictions the kernel refused a worker."""

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from backend.sandbox.restrictions import refused


def handle(_request: bytes, _files: Sequence[BinaryIO]) -> bytes:
    return msgspec.json.encode(refused)
