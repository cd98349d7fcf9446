"""A message that this process holds, and how its handler runs."""

import asyncio

import structlog
from msgspec import Struct

from backend.queues.outcomes import Outcome, Retry
from backend.queues.queue import Delivery, Message, Queue
from backend.telemetry.traces import handling

log = structlog.get_logger("queues")


class DeadlineError(Exception):
    """The handler ran past its deadline and was stopped."""


class HeartbeatError(Exception):
    """The message could not be kept invisible, so another reader may have it: the handler was stopped."""


class QueueJob(Struct, eq=False):
    """One read message until it is acknowledged."""

    msg_id: int
    tries: int  # this one included
    body: str
    message: Message
    visible_at: float  # loop time at which other readers may see it again
    timeout: asyncio.Timeout | None = None  # while its handler runs
    lost: bool = False
    outcome: Outcome | None = None

    def lose(self) -> None:
        """Other readers may read the message now: stop its handler."""
        self.lost = True
        if self.timeout is not None:
            self.timeout.reschedule(asyncio.get_running_loop().time())


async def handle_job(queue: Queue, job: QueueJob, deadline: float) -> Outcome:
    """The handler's outcome; a failure is a Retry. Raises HeartbeatError: another reader acknowledges it."""
    assert queue.handle is not None  # noqa: S101
    delivery = Delivery(queue=queue.name, msg_id=job.msg_id, tries=job.tries)
    try:
        try:
            async with asyncio.timeout(deadline) as job.timeout:
                with handling(queue.name, job.message, job.tries) as span:
                    outcome = await queue.handle(delivery, job.message)
                    span.set(outcome=type(outcome).__name__.lower())
                    return outcome
        except TimeoutError as error:
            if job.lost:
                raise HeartbeatError from error
            if job.timeout is not None and job.timeout.expired():
                raise DeadlineError(f"stopped after {deadline:g} s") from error
            raise
        finally:
            job.timeout = None
    except HeartbeatError:
        raise
    except Exception as error:
        log.warning("handler_failed", queue=queue.name, msg_id=job.msg_id, tries=job.tries, exc_info=True)
        return Retry(reason=describe(error))


def describe(error: BaseException) -> str:
    """A failure as a dead letter records it."""
    return f"{type(error).__name__}: {error}"[:500]
