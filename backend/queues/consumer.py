"""The consumer of one queue: holds what it reads, runs the handlers, acknowledges in batches.

Reading, handling, acknowledging and the heartbeat overlap; each survives an outage of Postgres by itself.
A message is handled at least once: what this process does not acknowledge becomes visible again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.backoff import Backoff
from backend.database.connections import checkout
from backend.queues.acknowledgement import Acknowledgement, Acknowledger
from backend.queues.heartbeat import keep_invisible
from backend.queues.jobs import HeartbeatError, QueueJob, describe, handle_job
from backend.queues.messages import DeadLetter, read_messages, release_messages
from backend.queues.outcomes import Outcome, Retry, Snooze
from backend.queues.queue import Queue
from backend.queues.sets import commit_set
from backend.queues.transient import is_transient
from backend.settings.queues import QueueSettings
from backend.telemetry.measures import PICKUP_SECONDS

log = structlog.get_logger("queues")


class Consumer:
    """`read` reads until it returns or `stopping` is set: ahead of the handlers, or for a limited time."""

    def __init__(
        self,
        queue: Queue,
        settings: QueueSettings,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        slots: asyncio.Semaphore,
        read: "Callable[[Consumer], Awaitable[None]]",
    ) -> None:
        self.queue = queue
        self.wake = asyncio.Event()  # the queue may have a visible message
        self.room = asyncio.Event()  # the next batch may be read
        self.room.set()
        self.progress = asyncio.Event()  # fewer messages are unacknowledged
        self.taken = 0  # messages read so far
        self.unacknowledged = 0  # of those
        self.stopping = False
        self._settings = settings
        self._pool = pool
        self._slots = slots
        self._read_policy = read
        self._decoder = msgspec.json.Decoder(queue.message)
        self._acknowledger = Acknowledger(queue.name, settings, pool, self._forget)
        self._held: dict[int, QueueJob] = {}  # read and not acknowledged
        self._waiting: deque[QueueJob] = deque()  # of those, not started
        self._workers: set[asyncio.Task[None]] = set()
        self._set_backoff = Backoff()
        self._stopped = asyncio.Event()
        self._handlers_until: float | None = None
        self._notified_at = 0.0
        self._awaits_delay = False

    async def run(self) -> None:
        """Until stopped and finished. An error that leaves this method is a fault of the runtime."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            reading = tasks.create_task(self._read_until_stopped())
            acknowledging = tasks.create_task(self._acknowledger.run())
            beating = tasks.create_task(
                keep_invisible(
                    self.queue.name,
                    self._settings.visibility_seconds,
                    self._pool,
                    self._held,
                    self._acknowledger,
                    self._lose,
                )
            )
            await self._stopped.wait()
            await self._finish_handlers(reading)
            self._acknowledger.close()
            await acknowledging
            beating.cancel()
            await self._release(list(self._held))

    def notify(self) -> None:
        """A message was sent: it is visible now, or after the queue's delay."""
        self.wake.set()
        self._notified_at = asyncio.get_running_loop().time()
        if self.queue.delay_seconds and not self._awaits_delay:
            self._wake_after_delay(self._notified_at)

    def _wake_after_delay(self, notified_at: float) -> None:
        """One timer at a time, for the messages of all notifications up to this one."""

        def wake() -> None:
            self.wake.set()
            self._awaits_delay = False
            if self._notified_at > notified_at:
                self._wake_after_delay(self._notified_at)

        self._awaits_delay = True
        asyncio.get_running_loop().call_at(notified_at + self.queue.delay_seconds + 0.01, wake)

    def stop(self, handlers_until: float | None = None) -> None:
        """Read no more. Running handlers may finish, until that loop time; then `run` returns."""
        if self.stopping:
            return
        self.stopping = True
        self._handlers_until = handlers_until
        for event in (self._stopped, self.wake, self.room, self.progress):
            event.set()

    async def read(self, quantity: int) -> int:
        """Read at most so many messages and start their handlers. Raises psycopg.Error."""
        visibility = self._settings.visibility_seconds
        visible_at = asyncio.get_running_loop().time() + visibility
        async with checkout(self._pool) as connection:
            rows = await read_messages(connection, self.queue.name, visibility, quantity)
        for msg_id, read_ct, body, age in rows:
            if read_ct == 1:
                PICKUP_SECONDS.labels(self.queue.name).observe(max(0.0, age))
            self._take(msg_id, read_ct, body, visible_at)
        self._update_room()
        self._start_workers()
        return len(rows)

    # -- reading

    async def _read_until_stopped(self) -> None:
        await self._read_policy(self)
        self.stop()
        await self._release([job.msg_id for job in self._waiting])
        self._waiting.clear()

    def _take(self, msg_id: int, read_ct: int, body: str | None, visible_at: float) -> None:
        if held := self._held.get(msg_id):
            held.visible_at = visible_at  # still being handled here, and this read made it invisible again
            return
        self.taken += 1
        self.unacknowledged += 1
        try:
            message = self._decoder.decode(body or "null")
        except msgspec.MsgspecError as error:
            self._acknowledger.dead_letter(DeadLetter(msg_id, body, read_ct, f"malformed: {error}"))
            return
        tries = message.tries + read_ct
        if tries > self._settings.budget:
            reason = f"budget_used: read {tries} times, never acknowledged"
            self._acknowledger.dead_letter(DeadLetter(msg_id, body, tries, reason))
            return
        job = QueueJob(msg_id=msg_id, tries=tries, body=body or "", message=message, visible_at=visible_at)
        self._held[msg_id] = job
        self._waiting.append(job)

    def _update_room(self) -> None:
        """Room for another batch: half of the previous one has started, and acknowledging keeps up."""
        batch, bound = self.queue.batch_size, self.queue.concurrency + 3 * self.queue.batch_size
        if self.stopping or (len(self._waiting) <= batch // 2 and len(self._held) <= bound):
            self.room.set()
        else:
            self.room.clear()

    async def _release(self, ids: list[int]) -> None:
        """Make these messages visible at once, to any reader."""
        for msg_id in ids:
            self._held.pop(msg_id, None)
        if not ids:
            return
        try:
            async with self._acknowledger.lock, checkout(self._pool) as connection:
                await release_messages(connection, self.queue.name, ids)
            log.info("released", queue=self.queue.name, messages=len(ids))
        except psycopg.Error as error:
            log.warning("not_released", queue=self.queue.name, messages=len(ids), error=type(error).__name__)

    async def _finish_handlers(self, reading: asyncio.Task[None]) -> None:
        timeout = None
        if self._handlers_until is not None:
            timeout = max(0, self._handlers_until - asyncio.get_running_loop().time())
        _, late = await asyncio.wait({reading, *self._workers}, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            log.warning("stopped_unfinished", queue=self.queue.name, tasks=len(late))
            await asyncio.wait(late)

    # -- handling

    def _start_workers(self) -> None:
        each = 1 if self.queue.handle else self.queue.batch_size
        wanted = -(-len(self._waiting) // each)
        for _ in range(min(wanted, self.queue.concurrency - len(self._workers))):
            self._workers.add(self._tasks.create_task(self._work()))

    async def _work(self) -> None:
        """Handle the waiting messages, then end."""
        try:
            while True:
                async with self._slots:
                    if self.stopping or not self._waiting:
                        return
                    if self.queue.handle:
                        await self._handle_one(self._start(1)[0])
                    else:
                        await self._handle_set(self._start(self.queue.batch_size))
        finally:
            # In the same step that found nothing waiting: the next batch starts another worker.
            self._workers -= {asyncio.current_task()}

    def _start(self, most: int) -> list[QueueJob]:
        jobs = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._update_room()
        return jobs

    async def _handle_one(self, job: QueueJob) -> None:
        try:
            outcome = await handle_job(self.queue, job, self._settings.deadline_seconds)
        except HeartbeatError as error:
            log.warning("handler_stopped", queue=self.queue.name, msg_id=job.msg_id, error=describe(error))
        else:
            self._finish(job, outcome)

    async def _handle_set(self, jobs: Sequence[QueueJob]) -> None:
        """As one set; when that fails, each alone, so that one message does not fail the others."""
        try:
            batch = await commit_set(
                self.queue, jobs, self._pool, self._acknowledger, self._settings.deadline_seconds
            )
        except Exception as error:
            if isinstance(error, psycopg.Error) and is_transient(error):
                log.warning(
                    "handling_again", queue=self.queue.name, messages=len(jobs), error=describe(error)
                )
                self._waiting.extendleft(reversed(jobs))
                await asyncio.sleep(self._set_backoff.next_delay())
            elif len(jobs) > 1:
                log.warning(
                    "handling_one_by_one", queue=self.queue.name, messages=len(jobs), error=describe(error)
                )
                for job in jobs:
                    await self._handle_set([job])
            else:
                log.warning("handler_failed", queue=self.queue.name, msg_id=jobs[0].msg_id, exc_info=True)
                self._finish(jobs[0], Retry(reason=describe(error)))
        else:
            self._set_backoff.reset()
            self._forget(batch)

    def _finish(self, job: QueueJob, outcome: Outcome) -> None:
        job.outcome = outcome
        if isinstance(outcome, Retry | Snooze):
            self._held.pop(job.msg_id, None)  # the heartbeat must not change its visibility any more
        self._acknowledger.add(job, outcome)

    def _forget(self, batch: Acknowledgement) -> None:
        """After the write."""
        for job in batch.jobs:
            if self._held.get(job.msg_id) is job:
                del self._held[job.msg_id]
        self._progress(sum(not job.lost for job in batch.jobs) + batch.unhandled)
        for delay in batch.delays():
            # No notification is sent when a delay ends.
            asyncio.get_running_loop().call_later(delay + 0.01 if delay else 0, self.wake.set)

    def _lose(self, job: QueueJob) -> None:
        self._held.pop(job.msg_id, None)
        with suppress(ValueError):
            self._waiting.remove(job)
        self._progress(1)
        job.lose()

    def _progress(self, messages: int) -> None:
        self.unacknowledged -= messages
        self.progress.set()
        self._update_room()
