"""Time limits of a connection: in the server, and here for a server that does not answer at all.

The migration sets the server's limits for the login too. Here they hold for any login, and behind a pooler.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection


class Timeouts(Struct, frozen=True):
    """Seconds. `statement` also limits how long a transaction may be idle; `answer` is for the network."""

    statement: float = 15.0
    lock: float = 2.0
    answer: float = 5.0

    @property
    def checkout(self) -> float:
        """For all that happens on a connection while it is checked out of the pool."""
        return self.statement + self.answer

    def set_config(self) -> str:
        """The server's limits, for the rest of the session."""
        statement, lock = int(self.statement * 1000), int(self.lock * 1000)
        return (
            f"set_config('statement_timeout', '{statement}', false), "
            f"set_config('idle_in_transaction_session_timeout', '{statement}', false), "
            f"set_config('lock_timeout', '{lock}', false)"
        )


@contextmanager
def time_limit(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Close the socket after so long: what waits for the server then fails as if the connection was lost.

    A cancelled task would not do: psycopg asks the server to cancel, and waits for its answer.
    """
    limit = asyncio.get_running_loop().call_later(seconds, close_socket, connection)
    try:
        yield
    finally:
        limit.cancel()


def close_socket(connection: AsyncConnection[Any]) -> None:
    if connection.closed:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
