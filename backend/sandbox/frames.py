"""What goes over the pipes between the service and its workers: a status, a length, that many bytes."""

import struct
from typing import Any

from msgspec import Struct

HEADER = struct.Struct("<BI")  # requests have status 0
OK, REFUSED, NO_MEMORY, FAILED = range(4)


class Refusal(Struct, frozen=True):
    """An InputRefused on its way."""

    code: str
    message: str
    details: dict[str, Any]
