"""Batching: questions of one kind that come at the same time are one query."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

LARGEST = 100  # questions of one query
AT_ONCE = 2  # queries: one that is slow does not hold up those who come after it


class Batcher(Generic[Question, Answer]):
    """A question waits for no clock: it goes out at once, or with the next query where enough are under way.

    No answer is older than its question, for a query takes no question after it was sent.
    """

    def __init__(self, answer: Callable[[list[Question]], Awaitable[Sequence[Answer]]]) -> None:
        """`answer` gives one answer to each question, in their order; what it raises, each asker gets."""
        self._answer = answer
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._running: set[asyncio.Task[None] | None] = set()

    async def ask(self, question: Question) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if len(self._running) < AT_ONCE:
            self._running.add(asyncio.create_task(self._run()))
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                await self._answer_each(batch)
        finally:
            # In the very step that found nothing waiting: whoever asks next starts another.
            self._running -= {asyncio.current_task()}

    async def _answer_each(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in batch])
            for (_, asker), answer in zip(batch, answers, strict=True):
                if not asker.done():  # it hung up
                    asker.set_result(answer)
        except Exception as error:
            for _, asker in batch:
                if not asker.done():
                    asker.set_exception(error)
