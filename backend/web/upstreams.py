"""Upstreams: a client for each server that the service calls: one that hangs takes no connection of another.

A provider that reads a sample slowly holds a connection to Storage as well. Storage has more connections than
all providers together, so that some are left.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Self

from backend.settings.network import Network
from backend.web.guarded_http import GuardedHttp
from backend.web.http_client import HttpClient

PROVIDER_CONNECTIONS = 64  # to each provider
STORAGE_CONNECTIONS = 400
KEY_CONNECTIONS = 4
KEY_SECONDS = 10.0
STAMP_CONNECTIONS = 4  # to the authority of time stamps: two marks are made at once
RECORDING_CONNECTIONS = 16  # to the host of recordings
RECORDING_SECONDS = 120.0  # of a whole download
WEBHOOK_CONNECTIONS = 256  # to all webhooks
WEBHOOK_SECONDS = 10.0  # of a delivery; less than its lease


class Upstreams:
    """Opened on the event loop that uses it (`async with`), with the clients that were made before."""

    def __init__(self, allowed_networks: Sequence[Network] = ()) -> None:
        """`allowed_networks`: not public, but open to requests whose addresses others choose."""
        self.storage = HttpClient(connections=STORAGE_CONNECTIONS)
        self.keys = HttpClient(connections=KEY_CONNECTIONS, total_seconds=KEY_SECONDS)
        self.time_stamps = HttpClient(connections=STAMP_CONNECTIONS)
        self.recordings = GuardedHttp(
            connections=RECORDING_CONNECTIONS, allowed=allowed_networks, total_seconds=RECORDING_SECONDS
        )
        self.webhooks = GuardedHttp(
            connections=WEBHOOK_CONNECTIONS, allowed=allowed_networks, total_seconds=WEBHOOK_SECONDS
        )
        self._providers: dict[str, HttpClient] = {}
        self._opened = AsyncExitStack()

    def provider(self, name: str) -> HttpClient:
        """The client of one provider."""
        return self._providers.setdefault(name, HttpClient(connections=PROVIDER_CONNECTIONS))

    async def __aenter__(self) -> Self:
        own = (self.storage, self.keys, self.time_stamps, self.recordings, self.webhooks)
        for client in (*own, *self._providers.values()):
            await self._opened.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()
