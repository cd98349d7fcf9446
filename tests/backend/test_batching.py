"""Concurrent loads become one query; each caller gets its own result, or the query's error."""

import asyncio
from collections.abc import Callable

import pytest

from backend.database.batching import MAX_BATCH, MAX_CONCURRENT, Batcher

Held = tuple[Batcher[int, int], list[list[int]], asyncio.Event]


@pytest.fixture
def held() -> Held:
    """A batcher whose queries double each number once they are released, and the keys of each query."""
    let_go = asyncio.Event()
    queries: list[list[int]] = []

    async def double(numbers: list[int]) -> list[int]:
        queries.append(numbers)
        await let_go.wait()
        if 13 in numbers:
            raise ValueError("13 cannot be doubled")
        return [2 * number for number in numbers]

    return Batcher(double), queries, let_go


async def start_load(batcher: Batcher[int, int], number: int) -> asyncio.Task[int]:
    """Start a load; if fewer than the maximum run, wait until its query has started."""
    task = asyncio.create_task(batcher.load(number))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_what_is_asked_meanwhile_is_one_query(held: Held) -> None:
    batcher, queries, let_go = held
    first = [await start_load(batcher, number) for number in range(MAX_CONCURRENT)]
    later = [await start_load(batcher, number) for number in range(100, 120)]
    await asyncio.sleep(0)
    assert queries == [[number] for number in range(MAX_CONCURRENT)]
    let_go.set()
    answers = await asyncio.gather(*first, *later)
    assert answers == [2 * number for number in [*range(MAX_CONCURRENT), *range(100, 120)]]
    assert queries[MAX_CONCURRENT:] == [list(range(100, 120))]


async def test_what_is_asked_in_one_step_is_one_query(held: Held) -> None:
    batcher, queries, let_go = held
    let_go.set()
    assert await asyncio.gather(*(batcher.load(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert queries == [list(range(5))]


async def test_a_query_takes_no_more_than_its_fill(held: Held) -> None:
    batcher, queries, let_go = held
    let_go.set()
    count = 2 * MAX_BATCH + 1
    answers = await asyncio.gather(*(batcher.load(number + 14) for number in range(count)))
    assert answers == [2 * (number + 14) for number in range(count)]
    assert max(map(len, queries)) == MAX_BATCH


async def test_a_lookup_at_the_end_of_the_running_queries_is_answered(held: Held) -> None:
    """A load that arrives while the last query ends must start a query of its own."""
    batcher, _, let_go = held

    async def asked_twice() -> int:
        return await batcher.load(await batcher.load(1))

    twice = asyncio.create_task(asked_twice())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    once = [await start_load(batcher, 5) for _ in range(MAX_CONCURRENT - 1)]
    let_go.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(twice, *once) == [4, *[10] * (MAX_CONCURRENT - 1)]


async def test_an_error_is_for_those_who_asked(held: Held) -> None:
    batcher, _, let_go = held
    first = [await start_load(batcher, number) for number in range(MAX_CONCURRENT)]
    spoiled = [await start_load(batcher, number) for number in (13, 14)]
    let_go.set()
    assert await asyncio.gather(*first) == [2 * number for number in range(MAX_CONCURRENT)]
    errors = await asyncio.gather(*spoiled, return_exceptions=True)
    assert [str(error) for error in errors] == ["13 cannot be doubled"] * 2
    assert await batcher.load(15) == 30


@pytest.mark.parametrize("hangs_up", [lambda tasks: tasks[0], lambda tasks: tasks[-1]], ids=["first", "last"])
async def test_an_asker_that_hangs_up_spoils_nothing(
    held: Held, hangs_up: Callable[[list[asyncio.Task[int]]], asyncio.Task[int]]
) -> None:
    batcher, _, let_go = held
    tasks = [await start_load(batcher, number) for number in range(MAX_CONCURRENT + 3)]
    gone = hangs_up(tasks)
    gone.cancel()
    let_go.set()
    rest = [task for task in tasks if task is not gone]
    assert await asyncio.gather(*rest) == [2 * n for n, task in enumerate(tasks) if task is not gone]
    assert await batcher.load(20) == 40
