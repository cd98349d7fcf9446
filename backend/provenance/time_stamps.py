"""Time stamps (RFC 3161): an authority attests when a mark was signed, so that it outlives its certificate.

C2PA's library would ask the authority itself, but its worker has no network. So the service asks, with the
hash of the signature, and the worker puts the answer where the signature has room (C2PA 2.1, `sigTst2`).

docs/decisions/0096-time-stamps.md
"""

import hashlib

from backend.provenance.stamp_bytes import NotStamped, countersigned, query_of, token_of
from backend.web.http_client import FAILURES, HttpClient

SECONDS = 5.0
MOST_BYTES = 16_384  # of an answer; authorities send about 6 kB
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


class TimeStamper:
    """`url`: of the authority. `client` is opened by its owner."""

    def __init__(self, url: str, client: HttpClient) -> None:
        self.url = url
        self._client = client

    async def stamp(self, claim: bytes, signature: bytes) -> bytes:
        """The authority's token. `claim`: the structure that was signed. Raises NotStamped."""
        digest = hashlib.sha256(countersigned(claim, signature)).digest()
        headers = {"content-type": QUERY, "accept": REPLY}
        try:
            async with self._client.request(
                "POST", self.url, headers=headers, content=query_of(digest), total_seconds=SECONDS
            ) as answer:
                if answer.status != 200:
                    raise NotStamped(f"HTTP {answer.status}")
                reply = b""
                while len(reply) <= MOST_BYTES and (part := await answer.content.read(MOST_BYTES)):
                    reply += part
        except FAILURES as error:
            raise NotStamped(type(error).__name__) from error
        token = token_of(reply)
        if digest not in token:
            raise NotStamped("the answer is about something else")
        return token
