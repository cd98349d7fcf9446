"""Chaos: one named disaster at a time, while attempts are under way.

Each scenario ends by itself. Afterwards every attempt must reach a final state, and the throughput must be
what it was. The tests check the accounting of attempts and voices; the benchmark measures the throughput.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import psycopg

from scripts.local.bench.figures import ROUNDS, Figure, against_floor, middle
from scripts.local.bench.storm import Storm, storm, voices_per_second
from scripts.local.supabase.postgres import DEFAULT_VERSION

SECONDS = 8.0  # how long a scenario lasts; longer than a lease, than a visibility and than a step's backoff
ATTEMPTS = 60  # under way meanwhile
EVERY = 6  # after so many attempts, users send a sample and request speech
RECOVERED = 0.95
DISK_BYTES = 1 << 30
DISK_FULL = "disk-full"


async def kill_backends(made: Storm) -> None:
    """Postgres ends every session of the service's login, once."""
    with made.stack.cluster.connect() as superuser:
        superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'voice_clone_service'"
        )


async def kill_repeatedly(made: Storm) -> None:
    """The service and the consumers are killed in turn."""
    for _ in range(3):
        for name in ("service", "consumers 1", "consumers 2"):
            await made.disrupt(name)
            await asyncio.sleep(SECONDS / 9)


async def restart_postgres(made: Storm) -> None:
    """Postgres crashes and recovers."""
    await made.disrupt("postgres")


async def exhaust_pools(made: Storm) -> None:
    """The attempts are locked, so every checked-out connection waits, while clients send requests."""
    [reflection] = made.reflections(1)
    with psycopg.connect(made.stack.cluster.dsn()) as superuser:
        user = made.bench.run("select user_id from public.reflections where id = %(id)s", {"id": reflection})[
            0
        ]
        superuser.execute("lock table public.voice_clone_attempts in access exclusive mode")
        headers = {"authorization": f"Bearer {made.bench.token(user)}"}
        url = f"{made.stack.api_url}/v1/reflections/{reflection}/launch-gate"
        async with (
            httpx.AsyncClient(trust_env=False, timeout=SECONDS * 4, headers=headers) as http,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(60):
                group.create_task(http.get(url))
            await asyncio.sleep(SECONDS)
            superuser.rollback()


async def idle_in_transaction(made: Storm) -> None:
    """A session locks every reflection and does nothing more."""
    with psycopg.connect(made.stack.cluster.dsn()) as superuser:
        superuser.execute("select from public.reflections for update")
        await asyncio.sleep(SECONDS)


async def read_for_long(made: Storm) -> None:
    """Snapshots stay open, so that no dead row can be removed."""
    with (
        psycopg.connect(made.stack.cluster.dsn()) as first,
        psycopg.connect(made.stack.cluster.dsn()) as second,
    ):
        for reader in (first, second):
            reader.execute("set transaction isolation level repeatable read")
            reader.execute("select count(*) from public.voice_clone_attempts")
        await asyncio.sleep(SECONDS)


async def freeze(made: Storm) -> None:
    """The service and a consumer stop for longer than a lease and a visibility, then continue."""
    with made.frozen("service"), made.frozen("consumers 1"):
        await asyncio.sleep(SECONDS)


async def fill_disk(made: Storm) -> None:
    """The disk of Postgres is full. Later there is space again; Postgres is started if it ended."""
    cluster = made.stack.cluster
    ballast = cluster.directory / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    await asyncio.sleep(SECONDS)
    ballast.unlink()
    if cluster.process is None or cluster.process.poll() is not None:
        cluster.start(port=cluster.port)


async def stop_provider(made: Storm, seconds: float = SECONDS * 3) -> None:
    """Every call of every provider is answered with 503."""
    for provider in ("qwen", "elevenlabs"):
        fault = {"provider": provider, "operation": "*", "fault": "unavailable", "times": None}
        await made.control("POST", "/faults", [fault])
    await asyncio.sleep(seconds)


SCENARIOS: dict[str, Callable[[Storm], Coroutine[None, None, None]]] = {
    "backend-kill": kill_backends,
    "repeated-kills": kill_repeatedly,
    "postgres-restart": restart_postgres,
    "pool-exhaustion": exhaust_pools,
    "idle-in-transaction": idle_in_transaction,
    "long-readers": read_for_long,
    "consumer-frozen": freeze,
    DISK_FULL: fill_disk,
    "provider-down": stop_provider,
    "provider-down-ten-minutes": partial(stop_provider, seconds=600),
}


class NoDiskError(Exception):
    """A small disk cannot be mounted here: that takes root."""


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of its own for `directory`, in memory. Raises NoDiskError where that is not allowed."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise NoDiskError
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@asynccontextmanager
async def scene(directory: Path, name: str) -> AsyncIterator[Storm]:
    """A stack for one scenario. Raises NoDiskError where the scenario needs a disk that cannot be mounted."""
    if name != DISK_FULL:
        async with storm(directory) as made:
            yield made
        return
    disk = directory / f"postgres-{DEFAULT_VERSION}"
    with small_disk(disk):
        async with storm(directory) as made:
            yield made


async def act(made: Storm, name: str, attempts: int = ATTEMPTS) -> None:
    """One scenario while attempts are under way, half of them queued before it, with samples and speech jobs.

    Ends when no work is left.
    """
    reflections = made.reflections(attempts)
    made.queue(reflections[::2])
    async with asyncio.TaskGroup() as group:
        scenario = group.create_task(SCENARIOS[name](made))
        for number, reflection in enumerate(reflections[1::2]):
            with suppress(psycopg.OperationalError):  # Postgres is away: nothing was queued
                await asyncio.to_thread(made.queue, [reflection])
                if number % EVERY == 0:
                    await asyncio.to_thread(made.speak)
                    await made.send_samples(1)
            await asyncio.sleep(SECONDS / attempts)
        await scenario
    await made.recover()


async def recovered_throughput(directory: Path, name: str) -> AsyncIterator[Figure]:
    """Voices per second after the scenario; the floor is before it. Nothing if its disk cannot be mounted."""
    try:
        async with scene(directory, name) as made:
            await voices_per_second(made, disruptions=0)  # connections, plans and caches
            before = [await voices_per_second(made, disruptions=0) for _ in range(ROUNDS)]
            await act(made, name)
            after = [await voices_per_second(made, disruptions=0) for _ in range(ROUNDS)]
    except NoDiskError:
        return
    yield against_floor(
        f"recovered after {name}", middle(after), "voices/s", middle(before), at_least=RECOVERED
    )
