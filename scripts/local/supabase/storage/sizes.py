"""Sizes as people write them."""

import re

from scripts.local.supabase.storage.errors import LocalStorageError

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of `10MiB`, or of `20MB`, which is decimal; a bare number is bytes."""
    if text.isdecimal():
        return int(text)
    match = SIZE.fullmatch(text.strip())
    if not match:
        raise LocalStorageError(
            "InvalidRequest", "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B"
        )
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))
