"""Settling: outcomes become archived, postponed, deferred and dead messages, a batch at a time."""

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.backoff import Backoff, full_jitter
from backend.database.connections import checkout
from queue_consumers import messages
from queue_consumers.database import is_transient
from queue_consumers.jobs import Job
from queue_consumers.outcomes import Cancel, Done, Outcome, Retry, Snooze
from queue_consumers.settings import ConsumerSettings

log = structlog.get_logger("queue_consumers")


class Settlement:
    """Outcomes sorted by what is to be done with their messages. Writing it twice does no harm."""

    def __init__(self, queue: str, settings: ConsumerSettings) -> None:
        self.jobs: list[Job] = []
        self._queue = queue
        self._settings = settings
        self._archived: list[int] = []
        self._postponed: dict[int, int] = {}
        self._dead: list[messages.DeadLetter] = []
        self._anew: list[messages.SentAnew] = []

    def __bool__(self) -> bool:
        return bool(self.jobs or self._dead)

    def add(self, job: Job, outcome: Outcome) -> None:
        self.jobs.append(job)
        match outcome:
            case Done(archived=archived):
                if not archived:
                    self._archived.append(job.msg_id)
            case Cancel(reason=reason):
                log.info("cancelled", queue=self._queue, msg_id=job.msg_id, reason=reason)
                self._archived.append(job.msg_id)
            case Snooze(until=until):
                delay = max(0, math.ceil((until - datetime.now(UTC)).total_seconds()))
                self._anew.append(messages.SentAnew(job.msg_id, job.body, job.tries - 1, delay))
            case Retry():
                self._retry(job, outcome)

    def bury(self, letter: messages.DeadLetter) -> None:
        log.error(
            "dead letter", queue=self._queue, msg_id=letter.msg_id, reason=letter.reason.partition(":")[0]
        )
        self._dead.append(letter)

    def _retry(self, job: Job, outcome: Retry) -> None:
        if job.tries >= self._settings.budget:
            reason = f"{outcome.reason} (tried {job.tries} times)"
            self.bury(messages.DeadLetter(job.msg_id, job.body, job.tries, reason))
            return
        base, cap = self._settings.retry_base_seconds, self._settings.retry_cap_seconds
        after = full_jitter(job.tries, base, cap) if outcome.after is None else min(outcome.after, cap)
        delay = math.ceil(after)
        if delay <= messages.QUEUE_DELAY_SECONDS:
            self._postponed[job.msg_id] = delay
        else:
            self._anew.append(messages.SentAnew(job.msg_id, job.body, job.tries, delay))

    def delays(self) -> set[int]:
        """Seconds after which messages of these become visible again."""
        return {*self._postponed.values(), *(each.delay for each in self._anew)}

    async def write(self, connection: AsyncConnection) -> None:
        if self._archived:
            await messages.archive_messages(connection, self._queue, self._archived)
        if self._postponed:
            await messages.postpone_messages(connection, self._queue, self._postponed)
        if self._dead:
            await messages.dead_letter_messages(connection, self._queue, self._dead)
        if self._anew:
            await messages.send_anew(connection, self._queue, self._anew)


class Settler:
    """Writes whatever outcomes came in while the write before was under way."""

    def __init__(
        self,
        queue: str,
        settings: ConsumerSettings,
        pool: AsyncConnectionPool,
        on_settled: Callable[[Settlement], None],
    ) -> None:
        self.lock = asyncio.Lock()  # a heartbeat that overtook a postponement would undo it
        self._pending = Settlement(queue, settings)
        self._queue = queue
        self._settings = settings
        self._pool = pool
        self._on_settled = on_settled
        self._some = asyncio.Event()
        self._closing = False

    def add(self, job: Job, outcome: Outcome) -> None:
        self._pending.add(job, outcome)
        self._some.set()

    def bury(self, letter: messages.DeadLetter) -> None:
        self._pending.bury(letter)
        self._some.set()

    def new(self) -> Settlement:
        return Settlement(self._queue, self._settings)

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closing = True
        self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._pending:
                settlement, self._pending = self._pending, self.new()
                await self._write(settlement)
                self._on_settled(settlement)
            if self._closing:
                return

    async def _write(self, settlement: Settlement) -> None:
        """Through outages. What Postgres refuses is left to be read again."""
        backoff = Backoff()
        while True:
            try:
                async with self.lock, checkout(self._pool) as connection:
                    await settlement.write(connection)
                return
            except psycopg.Error as error:
                if not is_transient(error):
                    log.exception("not settled", queue=self._queue, messages=len(settlement.jobs))
                    return
                delay = backoff.next_delay()
                log.warning(
                    "settling again", queue=self._queue, error=type(error).__name__, again_in=round(delay, 2)
                )
            await asyncio.sleep(delay)
