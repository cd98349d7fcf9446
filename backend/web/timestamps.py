"""Timestamps as text: one form wherever a client reads one in JSON.

RFC 3339 in UTC with six digits, `2026-11-22T10:00:00.000000Z`; `voice_clone.utc_text` writes the same form.
msgspec's own has no digits where a time has whole seconds, and the offset of the time where that is not UTC.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec


def utc_text(moment: datetime) -> str:
    """The moment must have a time zone."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def plain(value: Any, enc_hook: Callable[[Any], Any] | None = None) -> Any:
    """Structs and other types as JSON has them, timestamps in their one form."""
    return _with_texts(msgspec.to_builtins(value, builtin_types=(datetime,), enc_hook=enc_hook))


def encode_json(value: Any, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    return msgspec.json.encode(plain(value, enc_hook))


def _with_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(each) for each in value]
    return utc_text(value) if isinstance(value, datetime) else value
