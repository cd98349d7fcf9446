"""A message in this process's hands, and how its handler is run."""

import asyncio

import structlog
from msgspec import Struct

from queue_consumers.outcomes import Outcome, Retry
from queue_consumers.queue import Context, Message, Queue

log = structlog.get_logger("queue_consumers")


class DeadlineError(Exception):
    """The handler ran past its deadline and was stopped."""


class HeartbeatError(Exception):
    """The message could not be kept invisible, so another reader may have it: the handler was stopped."""


class Job(Struct, eq=False):
    """One read message until it is settled."""

    msg_id: int
    tries: int  # this one included
    body: str
    message: Message
    visible_at: float  # loop time at which other readers may see it again
    timeout: asyncio.Timeout | None = None  # while its handler runs
    lost: bool = False
    outcome: Outcome | None = None

    def lose(self) -> None:
        """Others may read the message now: stop its handler."""
        self.lost = True
        if self.timeout is not None:
            self.timeout.reschedule(asyncio.get_running_loop().time())


async def handle_job(queue: Queue, job: Job, context: Context, deadline: float) -> Outcome:
    """The handler's outcome; its failure is a Retry. Raises HeartbeatError: it is not ours to settle."""
    assert queue.handle is not None  # noqa: S101
    try:
        try:
            async with asyncio.timeout(deadline) as job.timeout:
                return await queue.handle(context, job.message)
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
        log.warning("handler failed", queue=queue.name, msg_id=job.msg_id, tries=job.tries, exc_info=True)
        return Retry(reason=describe(error))


def describe(error: BaseException) -> str:
    """A failure as it stands in a dead letter."""
    return f"{type(error).__name__}: {error}"[:500]
