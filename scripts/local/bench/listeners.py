"""Many who follow attempts on one process: from the commit of a transition to its receipt."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg

from backend.app.server import allow_many_files
from backend.database.queries import load_queries
from scripts.local.bench.figures import ROUNDS, Figure, at_most, middle
from scripts.local.bench.load import request_bytes
from scripts.local.bench.messages import percentile
from scripts.local.bench.seed import Bench, connected

queries = load_queries(__file__)
LISTENERS = 2_000
EACH = 50  # attempts of one person
TRANSITIONS = 1_000
PAUSE_SECONDS = (0.002, 0.008)  # between two of them
PATIENCE = 30.0

# Commits, and returns the moment at which the commit was sent; the caller awaits the receipts.
Change = Callable[[Sequence[str]], Awaitable[float]]


class Listener(asyncio.Protocol):
    """One event stream. It notes when each event begins to arrive."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received: asyncio.Future[float] | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._read += data
        if not self.opened.done() and b"\r\n\r\n" in self._read:
            if self._read.startswith(b"HTTP/1.1 200"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(self._read.decode(errors="replace")))
        if b"data: " in self._read and self.received is not None:
            self.received.set_result(now)
            self.received = None
        self._read = self._read[-5:] if self.opened.done() else self._read

    def expect(self) -> asyncio.Future[float]:
        self.received = asyncio.get_running_loop().create_future()
        return self.received

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def listeners(bench: Bench) -> list[Figure]:
    """One attempt each; a transition now and then, and one of all of them in a single transaction."""
    allow_many_files()
    async with following(bench) as followers, changing(bench) as change, notifying(bench) as (floors, notify):
        one, all_at_once = await delays(followers, change)
        floor, floor_at_once = await delays(floors, notify)
    what = f"{LISTENERS:,} listeners"
    return [
        at_most(f"{what}, delivery, p50", percentile(one, 50), "ms", 100, percentile(floor, 50)),
        at_most(f"{what}, delivery, p99", percentile(one, 99), "ms", 100, percentile(floor, 99)),
        at_most(f"{what}, one transaction, p99", all_at_once, "ms", 2_000, floor_at_once),
    ]


async def delays(expected: dict[str, Listener], change: Change) -> tuple[list[float], float]:
    """Milliseconds of transitions one by one, and the p99 of all attempts' in one transaction."""
    taken: list[float] = []
    for attempt in random.choices(list(expected), k=TRANSITIONS):  # noqa: S311 - spreads load
        received = expected[attempt].expect()
        committed = await change([attempt])
        taken.append((await soon(received) - committed) * 1000)
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311
    at_once: list[float] = []
    for _ in range(ROUNDS):
        received_by_all = [listener.expect() for listener in expected.values()]
        committed = await change(list(expected))
        by_all = [(await soon(received) - committed) * 1000 for received in received_by_all]
        at_once.append(percentile(by_all, 99))
    return taken, middle(at_once)


async def soon(received: asyncio.Future[float]) -> float:
    async with asyncio.timeout(PATIENCE):
        return await received


@asynccontextmanager
async def following(bench: Bench) -> AsyncIterator[dict[str, Listener]]:
    """Each listener by its attempt, all of them open."""
    opened: dict[str, Listener] = {}
    for user in bench.users(LISTENERS // EACH):
        token = {"authorization": f"Bearer {bench.token(user)}"}
        attempts = bench.run(queries.followed, {"user": user, "count": EACH}, past_triggers=True)
        streams = await asyncio.gather(*(open_stream(bench, attempt, token) for attempt in attempts))
        opened |= zip(map(str, attempts), streams, strict=True)
    try:
        yield opened
    finally:
        for listener in opened.values():
            listener.close()


async def open_stream(bench: Bench, attempt: object, token: dict[str, str]) -> Listener:
    address = urlsplit(bench.stack.api_url)
    url = f"{bench.stack.api_url}/v1/voice-clone-attempts/{attempt}/events"
    loop = asyncio.get_running_loop()
    transport, listener = await loop.create_connection(Listener, str(address.hostname), address.port or 80)
    transport.write(request_bytes(url, token))
    await listener.opened
    return listener


@asynccontextmanager
async def changing(bench: Bench) -> AsyncIterator[Change]:
    """Transitions of these attempts, and the moment their commit was sent."""
    async with connected(bench) as connection:
        yield committing(connection, queries.change)


@asynccontextmanager
async def notifying(bench: Bench) -> AsyncIterator[tuple[dict[str, Listener], Change]]:
    """The floor: what Postgres alone takes to bring a notification to one connection."""
    expected = {f"floor-{number}": Listener() for number in range(LISTENERS)}

    async def read(connection: psycopg.AsyncConnection) -> None:
        async for notification in connection.notifies():
            expected[notification.payload].data_received(b"data: ")

    async with connected(bench) as sender, connected(bench) as receiver:
        await receiver.execute("listen bench_listeners")
        reading = asyncio.create_task(read(receiver))
        yield expected, committing(sender, queries.notify)
        reading.cancel()


def committing(connection: psycopg.AsyncConnection, statement: str) -> Change:
    async def change(attempts: Sequence[str]) -> float:
        await connection.execute("begin")
        await connection.execute(statement.encode(), {"attempts": list(attempts)})
        committed = time.perf_counter()
        await connection.execute("commit")
        return committed

    return change
