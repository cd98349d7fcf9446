"""The Retry-After header of a response: seconds or a date, never more than is sensible to wait."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 300.0  # seconds; who asks for more is requested again after that
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_MAX_LENGTH = 64  # characters of a header that is read at all


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, between 0 and MAX_RETRY_AFTER. None where the header is missing or cannot be read."""
    value = headers.get("retry-after", "").strip()
    if len(value) > _MAX_LENGTH:
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER)
