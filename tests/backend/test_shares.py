"""Shares of the pool: what waits for one row leaves connections for everything else."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from backend.database.shares import Share, share_pool
from backend.errors import DatabaseUnavailable
from tests.backend.following import headers, serving
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until


async def test_one_owner_has_a_part_of_a_share_and_the_others_the_rest() -> None:
    share = Share(6, seconds=0.01)
    async with share.turn("ada"), share.turn("ada"):
        with pytest.raises(DatabaseUnavailable):
            async with share.turn("ada"):
                pass
        async with share.turn("bob"), share.turn("bob"), share.turn(), share.turn():
            with pytest.raises(DatabaseUnavailable):
                async with share.turn("eve"):
                    pass
    async with share.turn("ada"), share.turn("ada"):
        pass


async def test_a_turn_goes_to_the_first_that_may_have_it() -> None:
    share, order, may_end = Share(3, seconds=30), [], asyncio.Event()

    async def take(owner: str) -> None:
        async with share.turn(owner):
            order.append(owner)
            await may_end.wait()

    async with asyncio.TaskGroup() as tasks:
        for owner in ("ada", "bob", "eve", "ada", "bob", "dan"):
            tasks.create_task(take(owner))
            await asyncio.sleep(0)
        assert order == ["ada", "bob", "eve"]
        may_end.set()
    assert sorted(order) == ["ada", "ada", "bob", "bob", "dan", "eve"]


async def test_a_cancelled_wait_gives_its_turn_back() -> None:
    share = Share(1, seconds=30)

    async def take() -> None:
        async with share.turn():
            pass

    for let_go in (False, True):  # before it got its turn, and in the same moment
        async with share.turn():
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
            if not let_go:
                waiting.cancel()
        waiting.cancel()
        await asyncio.wait([waiting])
        async with asyncio.timeout(30), share.turn():
            pass


def test_writes_steps_and_revocations_never_take_the_whole_pool() -> None:
    for size in (8, 16, 40):
        shares = share_pool(size, seconds=1)
        taken = [shares[name].connections for name in ("writes", "steps", "revocations")]
        assert sum(taken) < size


# What waits for a connection gives up long before what waits for a row.
PATIENT = {
    "DATABASE_TIMEOUT_SECONDS": "10",
    "DATABASE_LOCK_TIMEOUT_SECONDS": "60",
    "DATABASE_STATEMENT_TIMEOUT_SECONDS": "60",
}


def statuses(answers: Sequence[httpx.Response]) -> set[int]:
    return {answer.status_code for answer in answers}


async def test_calls_on_a_locked_reflection_leave_the_others_alone(given: Fixture, tmp_path: Path) -> None:
    """Another user's gates, reads and writes succeed, while forty calls wait for the row."""
    ada, bob = given.user(), given.user()
    locked, free = given.reflection(ada), given.reflection(bob)
    given.launchable(ada, locked)
    given.launchable(bob, free)
    async with (
        serving(tmp_path, given.database.service, **PATIENT) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as http,
    ):
        path = f"/v1/reflections/{free}"
        with given.superuser.transaction(force_rollback=True):
            given.superuser.execute("select from public.reflections where id = %s for update", (locked,))
            waiting = [
                asyncio.create_task(http.post(f"/v1/reflections/{locked}/voice/reset", headers=headers(ada)))
                for _ in range(40)
            ]
            await until(
                lambda: given.superuser.execute("select 1 from pg_locks where not granted").fetchone()
            )
            reads = [
                http.get(f"{path}{each}", headers=headers(bob))
                for each in ("/launch-gate", "/voice-clone-attempts") * 10
            ]
            writes = [http.post(f"{path}/sessions", headers=headers(bob)) for _ in range(10)]
            read, written = await asyncio.gather(asyncio.gather(*reads), asyncio.gather(*writes))
            assert not all(task.done() for task in waiting)
        late = await asyncio.gather(*waiting)
        assert (statuses(read), statuses(written)) == ({200}, {201})
        assert statuses(late) <= {200, 503}
        assert all(answer.headers["retry-after"] for answer in late if answer.status_code == 503)
