"""A worker that a hostile sample took over: it runs the code that it is sent, and tells what came of it."""

import traceback
from collections.abc import Sequence
from typing import Any, BinaryIO


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    names: dict[str, Any] = {"files": files}
    try:
        exec(request.decode(), names)  # noqa: S102 - it is the attack
    except BaseException as error:
        return f"{type(error).__name__}: {error}\n{traceback.format_exc()}".encode()
    return repr(names.get("result")).encode()
