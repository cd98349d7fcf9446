"""Pages of a list: newest first, at most 100 rows, and a cursor to the next page in the header Next-Cursor.

A cursor is a position in the order of the list. It gives no right: who forges one reads their own rows from
another place on. docs/decisions/0072-pages-by-cursor.md
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from backend.errors import InvalidCursor, InvalidInput
from backend.web.timestamps import utc_text

T = TypeVar("T")
PAGE = 100
NO_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH) // MICROSECOND
FORM = struct.Struct(">q16s")


class Page(Struct, frozen=True, kw_only=True):
    """The rows that are asked for: those that come after a position."""

    limit: int
    number: int | None  # of the position; None for the first page
    id: UUID

    @classmethod
    def of(cls, cursor: str | None, limit: int) -> "Page":
        """Raises InvalidCursor, or InvalidInput for a limit that is out of range."""
        if not 1 <= limit <= PAGE:
            raise InvalidInput(f"A page has 1 to {PAGE} rows.", field="limit", extra={"limit": PAGE})
        if cursor is None:
            return cls(limit=limit, number=None, id=LAST_ID)
        number, id_ = decode(cursor)
        return cls(limit=limit, number=number, id=id_)

    @property
    def parameters(self) -> dict[str, Any]:
        """Of a query in the order of time and id. One row more than is shown says whether a page follows."""
        before = "infinity" if self.number is None else utc_text(EPOCH + self.number * MICROSECOND)
        return {"before": before, "before_id": self.id, "limit": self.limit + 1}

    def cut(self, rows: Sequence[T], place: Callable[[T], tuple[int, UUID]]) -> tuple[list[T], str | None]:
        """The rows of this page, and the cursor to the next where there is one."""
        shown = list(rows[: self.limit])
        return shown, encode(*place(shown[-1])) if len(rows) > self.limit else None


def by_time(row: Any) -> tuple[int, UUID]:
    """The place of a row that has `created_at` and `id`."""
    return time_place(row.created_at, row.id)


def time_place(moment: datetime, id_: UUID) -> tuple[int, UUID]:
    return (moment - EPOCH) // MICROSECOND, id_


def encode(number: int, id_: UUID) -> str:
    return urlsafe_b64encode(FORM.pack(number, id_.bytes)).decode()


def decode(cursor: str) -> tuple[int, UUID]:
    """Raises InvalidCursor."""
    try:
        number, id_ = FORM.unpack(urlsafe_b64decode(cursor.encode("ascii")))
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise InvalidCursor(field="cursor") from None
    if encode(number, UUID(bytes=id_)) != cursor or not 0 <= number <= LATEST:
        raise InvalidCursor(field="cursor")
    return number, UUID(bytes=id_)
