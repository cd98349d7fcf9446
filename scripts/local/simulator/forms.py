"""What providers are sent: multipart/form-data, and JSON objects."""

import re
from typing import Any

import msgspec
from msgspec import Struct, field

from scripts.local.simulator.http import Request

_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)


class Form(Struct):
    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)  # field name, content


def parse_form(request: Request) -> Form:
    """AppContext with a filename are files, the others text. Anything malformed is left out."""
    form = Form()
    _, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    if not boundary:
        return form
    for part in (b"\r\n" + request.body).split(b"\r\n--" + boundary.strip('"').encode())[1:]:
        head, split, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not split or name is None:
            continue
        if b"filename=" in head:
            form.files.append((name[1].decode("utf-8", "replace"), content))
        else:
            form.fields[name[1].decode("utf-8", "replace")] = content.decode("utf-8", "replace")
    return form


def json_object(body: bytes) -> dict[str, Any]:
    """The body as an object; an empty one when it is none."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
