"""The consumer of one queue: read a batch ahead, handle, settle in batches, drain.

Reading, handling, settling and the heartbeat overlap; each survives an outage of Postgres by itself.
A message is handled at least once: whatever this process does not settle becomes visible again.
"""

import asyncio
import random
from collections import deque
from contextlib import suppress

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from backend.database.backoff import Backoff
from backend.database.connections import checkout
from backend.web.http_client import HttpClient
from queue_consumers.database import is_transient
from queue_consumers.heartbeat import keep_invisible
from queue_consumers.jobs import HeartbeatError, Job, describe, handle_job
from queue_consumers.messages import DeadLetter, read_messages, release_messages
from queue_consumers.outcomes import Outcome, Retry, Snooze
from queue_consumers.queue import Context, Queue
from queue_consumers.sets import commit_set
from queue_consumers.settings import ConsumerSettings
from queue_consumers.settlement import Settlement, Settler

log = structlog.get_logger("queue_consumers")

# From a read that emptied the queue to the next, at least: a busy queue is read a few messages at a time,
# and an idle one at once.
PACE_SECONDS = 0.02


class Consumer:
    def __init__(
        self,
        queue: Queue,
        settings: ConsumerSettings,
        pool: AsyncConnectionPool,
        http: HttpClient,
        slots: asyncio.Semaphore,
    ) -> None:
        self.wake = asyncio.Event()
        self._queue = queue
        self._settings = settings
        self._pool = pool
        self._http = http
        self._slots = slots
        self._decoder = msgspec.json.Decoder(queue.message)
        self._settler = Settler(queue.name, settings, pool, self._forget)
        self._held: dict[int, Job] = {}  # read and not settled
        self._waiting: deque[Job] = deque()  # of those, not begun
        self._workers: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._set_backoff = Backoff()
        self._stopping = False

    async def run(self) -> None:
        """Until drained. An error that comes out of here is a fault of the runtime."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._reading = tasks.create_task(self._read_ahead())
            self._settling = tasks.create_task(self._settler.run())
            self._beating = tasks.create_task(
                keep_invisible(
                    self._queue.name,
                    self._settings.visibility_seconds,
                    self._pool,
                    self._held,
                    self._settler,
                    self._lose,
                )
            )

    async def drain(self, handlers_until: float) -> None:
        """Stop reading; let running handlers finish until that loop time; put back what is not finished."""
        self._stopping = True
        self.wake.set()
        self._room.set()
        busy = {self._reading, *self._workers}
        patience = handlers_until - asyncio.get_running_loop().time()
        _, late = await asyncio.wait(busy, timeout=max(0, patience))
        for task in late:
            task.cancel()
        if late:
            log.warning("stopped unfinished", queue=self._queue.name, tasks=len(late))
            await asyncio.wait(late)
        self._settler.close()
        await self._settling
        self._beating.cancel()
        await self._release(list(self._held))

    # -- reading

    async def _read_ahead(self) -> None:
        backoff = Backoff()
        while not self._stopping:
            await self._room.wait()
            if self._stopping:
                break
            self.wake.clear()
            try:
                count = await self._read()
            except psycopg.Error as error:
                delay = backoff.next_delay()
                log.warning(
                    "not reading", queue=self._queue.name, error=describe(error), again_in=round(delay, 2)
                )
                await self._pause(delay)
                continue
            backoff.reset()
            if count < self._queue.batch_size:
                again_at = asyncio.get_running_loop().time() + PACE_SECONDS
                await self._wake_or_poll()
                await asyncio.sleep(again_at - asyncio.get_running_loop().time())
        await self._release([job.msg_id for job in self._waiting])
        self._waiting.clear()

    async def _read(self) -> int:
        visibility = self._settings.visibility_seconds
        visible_at = asyncio.get_running_loop().time() + visibility
        async with checkout(self._pool) as connection:
            rows = await read_messages(connection, self._queue.name, visibility, self._queue.batch_size)
        for msg_id, read_ct, body in rows:
            self._take(msg_id, read_ct, body, visible_at)
        self._update_room()
        self._start_workers()
        return len(rows)

    def _take(self, msg_id: int, read_ct: int, body: str | None, visible_at: float) -> None:
        if held := self._held.get(msg_id):
            held.visible_at = visible_at  # we are still at it, and this read made it invisible again
            return
        try:
            message = self._decoder.decode(body or "null")
        except msgspec.MsgspecError as error:
            self._settler.bury(DeadLetter(msg_id, body, read_ct, f"malformed: {error}"))
            return
        tries = message.tries + read_ct
        if tries > self._settings.budget:
            reason = f"budget_used: read {tries} times, never settled"
            self._settler.bury(DeadLetter(msg_id, body, tries, reason))
            return
        job = Job(msg_id=msg_id, tries=tries, body=body or "", message=message, visible_at=visible_at)
        self._held[msg_id] = job
        self._waiting.append(job)

    def _update_room(self) -> None:
        """Room for another batch: half of the one before is begun, and settling keeps up."""
        batch, bound = self._queue.batch_size, self._queue.concurrency + 3 * self._queue.batch_size
        if self._stopping or (len(self._waiting) <= batch // 2 and len(self._held) <= bound):
            self._room.set()
        else:
            self._room.clear()

    async def _wake_or_poll(self) -> None:
        """The queue is drained: wait for a notification, or the slow poll behind it."""
        await self._pause(self._settings.poll_seconds * random.uniform(0.5, 1.5))  # noqa: S311

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()

    async def _release(self, ids: list[int]) -> None:
        """Visible at once, to whoever reads next."""
        for msg_id in ids:
            self._held.pop(msg_id, None)
        if not ids:
            return
        try:
            async with self._settler.lock, checkout(self._pool) as connection:
                await release_messages(connection, self._queue.name, ids)
            log.info("put back", queue=self._queue.name, messages=len(ids))
        except psycopg.Error as error:
            log.warning("not put back", queue=self._queue.name, messages=len(ids), error=type(error).__name__)

    # -- handling

    def _start_workers(self) -> None:
        each = 1 if self._queue.handle else self._queue.batch_size
        wanted = -(-len(self._waiting) // each)
        for _ in range(min(wanted, self._queue.concurrency - len(self._workers))):
            self._workers.add(self._tasks.create_task(self._work()))

    async def _work(self) -> None:
        """Handle what waits, then end."""
        try:
            while True:
                async with self._slots:
                    if self._stopping or not self._waiting:
                        return
                    if self._queue.handle:
                        await self._handle_one(self._begin(1)[0])
                    else:
                        await self._handle_set(self._begin(self._queue.batch_size))
        finally:
            # In the very step that found nothing to do: a batch that comes next starts a new one.
            self._workers -= {asyncio.current_task()}

    def _begin(self, most: int) -> list[Job]:
        jobs = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._update_room()
        return jobs

    async def _handle_one(self, job: Job) -> None:
        context = Context(queue=self._queue.name, msg_id=job.msg_id, tries=job.tries, http=self._http)
        try:
            outcome = await handle_job(self._queue, job, context, self._settings.deadline_seconds)
        except HeartbeatError as error:
            log.warning("stopped", queue=self._queue.name, msg_id=job.msg_id, error=describe(error))
        else:
            self._finish(job, outcome)

    async def _handle_set(self, jobs: list[Job]) -> None:
        """As one set; when that fails, each alone, so that one message spoils no other."""
        try:
            settlement = await commit_set(
                self._queue, jobs, self._pool, self._settler, self._settings.deadline_seconds
            )
        except Exception as error:
            if isinstance(error, psycopg.Error) and is_transient(error):
                log.warning(
                    "handling again", queue=self._queue.name, messages=len(jobs), error=describe(error)
                )
                self._waiting.extendleft(reversed(jobs))
                await asyncio.sleep(self._set_backoff.next_delay())
            elif len(jobs) > 1:
                log.warning(
                    "handling one by one", queue=self._queue.name, messages=len(jobs), error=describe(error)
                )
                for job in jobs:
                    await self._handle_set([job])
            else:
                log.warning("handler failed", queue=self._queue.name, msg_id=jobs[0].msg_id, exc_info=True)
                self._finish(jobs[0], Retry(reason=describe(error)))
        else:
            self._set_backoff.reset()
            self._forget(settlement)

    def _finish(self, job: Job, outcome: Outcome) -> None:
        job.outcome = outcome
        if isinstance(outcome, Retry | Snooze):
            self._held.pop(job.msg_id, None)  # its visibility is no longer the heartbeat's to set
        self._settler.add(job, outcome)

    def _forget(self, settlement: Settlement) -> None:
        for job in settlement.jobs:
            if self._held.get(job.msg_id) is job:
                del self._held[job.msg_id]
        self._update_room()
        for delay in settlement.delays():
            # Nobody notifies of a delay that ends.
            asyncio.get_running_loop().call_later(delay + 0.01 if delay else 0, self.wake.set)

    def _lose(self, job: Job) -> None:
        self._held.pop(job.msg_id, None)
        with suppress(ValueError):
            self._waiting.remove(job)
        self._update_room()
        job.lose()
