"""One bounded HTTP request at a time, with the standard library: a process that only checks stays small."""

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLCertVerificationError
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

SECONDS = 3.0  # of each wait
MOST_BYTES = 4 * 1024 * 1024


class Unreachable(Exception):  # noqa: N818 - as the finding says
    """There is no answer. The text names no secret."""


class Answer(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> object:
        """None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def send(method: str, url: str, headers: Mapping[str, str] | None = None, body: object = None) -> Answer:
    """Raises Unreachable. Follows no redirect, and uses no proxy."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    content = None if body is None else msgspec.json.encode(body)
    sent = {**({"content-type": "application/json"} if content else {}), **(headers or {})}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
        try:
            connection.request(method, target, body=content, headers=sent)
            answer = connection.getresponse()
            read = answer.read(MOST_BYTES)
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(reason(error)) from None
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, read)


def reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:g} seconds"
    if isinstance(error, SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    return getattr(error, "strerror", None) or type(error).__name__
