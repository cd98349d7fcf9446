"""A frame is what travels over a worker's socket: a status, a length, that many bytes.

The open files of a request travel with its header.
"""

import struct
from typing import Any

from msgspec import Struct

HEADER = struct.Struct("<BI")  # the status of a request is OK
MOST_FILES = 4
OK, REFUSED, NO_MEMORY, FAILED = range(4)


class RefusedFrame(Struct, frozen=True):
    """An InputRefused, serialised."""

    code: str
    message: str
    details: dict[str, Any]
