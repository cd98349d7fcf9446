"""Bodies that providers are sent: multipart/form-data, and JSON objects."""

import io
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct, field
from multipart import MultipartError, MultipartParser, parse_options_header

from scripts.local.simulator.http import Request


class Form(Struct):
    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)  # field name, content


def parse_form(request: Request) -> Form:
    """Parts with a filename are files, the others text. What follows a malformed part is left out."""
    form = Form()
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if "boundary" not in options:
        return form
    limit = len(request.body) + 1  # everything stays in memory
    parts = MultipartParser(
        io.BytesIO(request.body), options["boundary"], spool_limit=limit, memory_limit=limit
    )
    with suppress(MultipartError):
        for part in parts:
            if part.filename is None:
                form.fields[part.name or ""] = part.raw.decode("utf-8", "replace")
            else:
                form.files.append((part.name or "", part.raw))
    return form


def json_object(body: bytes) -> dict[str, Any]:
    """The body as an object; an empty one where it is not an object."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
