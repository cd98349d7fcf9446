"""Draining: a queue's messages handled inside the service for a bounded time, where no consumer is resident.

The steps are the very ones that consumers ask for. A step that is under way when the time is up goes on in
the background and settles its own message; a message that nobody settles becomes visible again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError, IllegalTransition, NotFound
from backend.lifecycle.claim import StepAnswer, retry_delay
from backend.lifecycle.cleanup import clean_up
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.lifecycle.verification import verify_attempt
from backend.web.background import Background
from backend.web.logs import log

queries = load_queries(__file__)

MIRROR = "voice_mirror"
MIRROR_BATCH = 200
VISIBILITY_SECONDS = 180  # longer than a step: there is no heartbeat, and a second delivery finds a lease
SNOOZE_SECONDS = 30.0  # where a step does not say how long

Step = Callable[[AppContext, UUID, int], Awaitable[StepAnswer]]
STEPS: dict[str, Step] = {
    "voice_clone_process": lambda context, id_, message: process_attempt(context, id_, message_id=message),
    "voice_clone_verify": lambda context, id_, message: verify_attempt(context, id_, message_id=message),
    "voice_runtime_sync": lambda context, id_, message: sync_runtime(context, id_, message_id=message),
    "voice_preview": lambda context, id_, message: render_preview(context, id_, message_id=message),
    "voice_cleanup": lambda context, id_, message: clean_up(context, id_, message_id=message),
}


class Letter(Struct, frozen=True, kw_only=True):
    """A read message, its body as text so that one that is malformed does not spoil a batch."""

    msg_id: int
    read_ct: int
    message: str


class Body(Struct, frozen=True):
    """What a step needs of the body."""

    id: UUID
    tries: int = 0  # counted before it was sent anew


class Drained(Struct, frozen=True, kw_only=True):
    """What was done in the time: messages handled, still running, and whether nothing was left to read."""

    handled: int
    running: int
    empty: bool


class Drainer:
    """All drains of a process share its MAX_JOBS."""

    def __init__(self, context: AppContext, background: Background) -> None:
        self._parts = context
        self._background = background
        self._running = 0

    async def drain(self, queue: str, seconds: float) -> Drained:
        """Handle this queue's messages until none is visible, or the time is up. NotFound: no such queue."""
        if queue == MIRROR:
            return await self._drain_mirror(seconds)
        if queue not in STEPS:
            known = ", ".join(sorted([*STEPS, MIRROR]))
            raise NotFound("There is no such queue to drain.", field="queue", help=f"There are {known}.")
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        begun = 0
        running: set[asyncio.Task[None]] = set()
        while (left := until - loop.time()) > 0:
            room = self._parts.settings.attempts.max_jobs - self._running
            letters = await self._read(queue, room) if room > 0 else []
            begun += len(letters)
            running |= {self._begin(queue, letter) for letter in letters}
            if not running:  # nothing to do, or other drains do as much as this process may
                return Drained(handled=begun, running=0, empty=room > 0)
            _, running = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return Drained(handled=begun - len(running), running=len(running), empty=False)

    async def _drain_mirror(self, seconds: float) -> Drained:
        """As sets: many messages of one reflection are one mirroring."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        handled = 0
        while loop.time() < until:
            letters = await self._read(MIRROR, MIRROR_BATCH)
            if not letters:
                return Drained(handled=handled, running=0, empty=True)
            await self._mirror(letters)
            handled += len(letters)
        return Drained(handled=handled, running=0, empty=False)

    async def _read(self, queue: str, quantity: int) -> list[Letter]:
        parameters = {"queue": queue, "visibility": VISIBILITY_SECONDS, "quantity": quantity}
        return await self._parts.database.fetch_all(queries.read, parameters, row=Letter)

    async def _mirror(self, letters: Sequence[Letter]) -> None:
        bodies = {letter.msg_id: await self._open(MIRROR, letter) for letter in letters}
        opened = {msg_id: body.id for msg_id, body in bodies.items() if body is not None}
        parameters = {"reflections": list(set(opened.values())), "messages": list(opened)}
        await self._parts.database.execute(queries.mirror, parameters)

    def _begin(self, queue: str, letter: Letter) -> asyncio.Task[None]:
        self._running += 1
        task = self._background.start(self._handle(queue, letter))
        task.add_done_callback(self._end)
        return task

    def _end(self, _: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _handle(self, queue: str, letter: Letter) -> None:
        body = await self._open(queue, letter)
        if body is None:
            return
        tries = body.tries + letter.read_ct
        try:
            answer = await STEPS[queue](self._parts, body.id, letter.msg_id)
        except (NotFound, IllegalTransition) as error:  # it moved on without this step
            answer = StepAnswer(outcome="cancel", reason=error.code)
        except AppError as error:
            answer = StepAnswer(outcome="retry", retry_after=error.retry_after, reason=error.code)
        except Exception as error:
            log.exception("step_crashed", queue=queue, msg_id=letter.msg_id)
            answer = StepAnswer(outcome="retry", reason=type(error).__name__)
        await self._settle(queue, letter, tries, answer)

    async def _settle(self, queue: str, letter: Letter, tries: int, answer: StepAnswer) -> None:
        if answer.archived:
            return
        match answer.outcome:
            case "done" | "cancel":
                parameters = {"queue": queue, "message": letter.msg_id}
                await self._parts.database.execute(queries.archive, parameters)
            case "snooze":
                wait = SNOOZE_SECONDS if answer.retry_after is None else answer.retry_after
                await self._send_anew(queue, letter, tries - 1, wait)
            case "retry" if tries >= self._parts.settings.attempts.message_budget:
                await self._bury(queue, letter, tries, f"{answer.reason} (tried {tries} times)")
            case "retry":
                wait = retry_delay(tries) if answer.retry_after is None else answer.retry_after
                await self._send_anew(queue, letter, tries, wait)

    async def _open(self, queue: str, letter: Letter) -> Body | None:
        """The body; a message without a proper one, or read too often and never settled, is a dead letter."""
        budget = self._parts.settings.attempts.message_budget
        try:
            body = msgspec.json.decode(letter.message, type=Body)
        except msgspec.MsgspecError as error:
            await self._bury(queue, letter, letter.read_ct, f"malformed: {error}")
            return None
        if body.tries + letter.read_ct > budget:
            tries = body.tries + letter.read_ct
            await self._bury(queue, letter, tries, f"budget_used: read {tries} times, never settled")
            return None
        return body

    async def _send_anew(self, queue: str, letter: Letter, tries: int, seconds: float) -> None:
        parameters = {"queue": queue, "message": letter.msg_id, "body": letter.message}
        await self._parts.database.execute(
            queries.send_anew, {**parameters, "tries": tries, "delay": max(0, round(seconds))}
        )

    async def _bury(self, queue: str, letter: Letter, reads: int, reason: str) -> None:
        log.error("dead_letter", queue=queue, msg_id=letter.msg_id, reason=reason.partition(":")[0])
        parameters = {"queue": queue, "message": letter.msg_id, "body": letter.message, "reads": reads}
        await self._parts.database.execute(queries.bury, {**parameters, "reason": reason.replace("\0", "")})
