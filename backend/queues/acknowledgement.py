"""Acknowledgement: outcomes become acknowledged, postponed, requeued or dead messages, in batches."""

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.backoff import Backoff, full_jitter, outage_delay
from backend.database.connections import checkout
from backend.queues import messages
from backend.queues.jobs import QueueJob
from backend.queues.outcomes import Cancel, Done, Outcome, Retry, Snooze
from backend.queues.transient import is_transient
from backend.settings.queues import QueueSettings
from backend.telemetry.measures import MESSAGES

log = structlog.get_logger("queues")


MAX_SNOOZE_SECONDS = 86_400.0


def whole_seconds(seconds: float, cap: float) -> int:
    """Rounded up, between 0 and the cap; 0 for what is no number."""
    return math.ceil(min(seconds, cap)) if seconds > 0 else 0


class Acknowledgement:
    """Outcomes sorted by what happens to their messages. Writing it twice has the same effect as once."""

    def __init__(self, queue: str, settings: QueueSettings) -> None:
        self.jobs: list[QueueJob] = []
        self.unhandled = 0  # dead letters that no handler got
        self._queue = queue
        self._settings = settings
        self._acknowledged: list[int] = []
        self._postponed: dict[int, int] = {}
        self._dead: list[messages.DeadLetter] = []
        self._requeued: list[messages.RequeuedMessage] = []

    def __bool__(self) -> bool:
        return bool(self.jobs or self._dead)

    def add(self, job: QueueJob, outcome: Outcome) -> None:
        self.jobs.append(job)
        match outcome:
            case Done(acknowledged=acknowledged):
                self._count("done")
                if not acknowledged:
                    self._acknowledged.append(job.msg_id)
            case Cancel(reason=reason, acknowledged=acknowledged):
                self._count("cancelled")
                log.info("cancelled", queue=self._queue, msg_id=job.msg_id, reason=reason)
                if not acknowledged:
                    self._acknowledged.append(job.msg_id)
            case Snooze(retry_after=seconds):
                self._count("snoozed")
                self._requeue(job, job.tries - 1, whole_seconds(seconds, MAX_SNOOZE_SECONDS))
            case Retry():
                self._retry(job, outcome)

    def dead_letter_unhandled(self, letter: messages.DeadLetter) -> None:
        self.unhandled += 1
        self._dead_letter(letter)

    def _dead_letter(self, letter: messages.DeadLetter) -> None:
        log.error(
            "dead_letter", queue=self._queue, msg_id=letter.msg_id, reason=letter.reason.partition(":")[0]
        )
        self._count("dead")
        self._dead.append(letter)

    def _retry(self, job: QueueJob, outcome: Retry) -> None:
        if outcome.is_outage and self._wait(job, outcome):
            return
        if job.tries >= self._settings.budget:
            reason = f"{outcome.reason} (tried {job.tries} times)"
            self._dead_letter(messages.DeadLetter(job.msg_id, job.body, job.tries, reason))
            return
        self._count("retried")
        base, cap = self._settings.retry_base_seconds, self._settings.retry_cap_seconds
        after = outcome.retry_after
        delay = whole_seconds(full_jitter(job.tries, base, cap) if after is None else after, cap)
        if delay <= messages.QUEUE_DELAY_SECONDS:
            self._postponed[job.msg_id] = delay
        else:
            self._requeue(job, job.tries, delay)

    def _wait(self, job: QueueJob, outcome: Retry) -> bool:
        """Requeue without counting the try. False where the message has waited as long as it may."""
        now = datetime.now(UTC)
        since = job.message.waiting_since or now
        lasted = max(0.0, (now - since).total_seconds())
        if lasted > self._settings.outage_seconds:
            return False
        base, cap = self._settings.retry_base_seconds, self._settings.retry_cap_seconds
        delay = outage_delay(lasted, outcome.retry_after, base=base, cap=cap)
        self._count("waiting")
        self._requeue(job, job.tries - 1, whole_seconds(delay, cap), since)
        return True

    def _requeue(self, job: QueueJob, tries: int, delay: int, waiting_since: datetime | None = None) -> None:
        self._requeued.append(messages.RequeuedMessage(job.msg_id, job.body, tries, delay, waiting_since))

    def _count(self, outcome: str) -> None:
        MESSAGES.labels(self._queue, outcome).inc()

    def delays(self) -> set[int]:
        """Seconds after which messages of this batch become visible again."""
        return {*self._postponed.values(), *(each.delay for each in self._requeued)}

    @property
    def changes_nothing(self) -> bool:
        """Every handler acknowledged its own message."""
        return not (self._acknowledged or self._postponed or self._dead or self._requeued)

    async def write(self, connection: AsyncConnection[Any]) -> None:
        if self._acknowledged:
            await messages.acknowledge_messages(connection, self._queue, self._acknowledged)
        if self._postponed:
            await messages.postpone_messages(connection, self._queue, self._postponed)
        if self._dead:
            await messages.dead_letter_messages(connection, self._queue, self._dead)
        if self._requeued:
            await messages.requeue_messages(connection, self._queue, self._requeued)


class Acknowledger:
    """Writes in one batch the outcomes that arrive while the previous batch is being written."""

    def __init__(
        self,
        queue: str,
        settings: QueueSettings,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        on_written: Callable[[Acknowledgement], None],
    ) -> None:
        self.lock = asyncio.Lock()  # a heartbeat that overtook a postponement would undo it
        self._pending = Acknowledgement(queue, settings)
        self._queue = queue
        self._settings = settings
        self._pool = pool
        self._on_written = on_written
        self._has_work = asyncio.Event()
        self._closing = False

    def add(self, job: QueueJob, outcome: Outcome) -> None:
        self._pending.add(job, outcome)
        self._has_work.set()

    def dead_letter(self, letter: messages.DeadLetter) -> None:
        self._pending.dead_letter_unhandled(letter)
        self._has_work.set()

    def new_batch(self) -> Acknowledgement:
        return Acknowledgement(self._queue, self._settings)

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closing = True
        self._has_work.set()

    async def run(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._pending:
                batch, self._pending = self._pending, self.new_batch()
                if not batch.changes_nothing:
                    await self._write(batch)
                self._on_written(batch)
            if self._closing:
                return

    async def _write(self, batch: Acknowledgement) -> None:
        """Repeated through outages. Messages of a batch that Postgres refuses become visible again."""
        backoff = Backoff()
        while True:
            try:
                async with self.lock, checkout(self._pool) as connection:
                    await batch.write(connection)
                return
            except psycopg.Error as error:
                if not is_transient(error):
                    log.exception("not_acknowledged", queue=self._queue, messages=len(batch.jobs))
                    return
                delay = backoff.next_delay()
                log.warning(
                    "acknowledging_again",
                    queue=self._queue,
                    error=type(error).__name__,
                    again_in=round(delay, 2),
                )
            await asyncio.sleep(delay)
