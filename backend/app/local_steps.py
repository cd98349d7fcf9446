"""The steps in the service's own process, for its drain."""

from backend.app.queues import QUEUES, LifecycleMessage, LifecycleQueue
from backend.context import AppContext
from backend.errors import AppError, IllegalTransition, NotFound, Unavailable
from backend.queues.outcomes import Cancel, Outcome, Retry
from backend.queues.queue import Delivery, Handle, Queue
from backend.web.logs import log


def local_queues(context: AppContext) -> dict[str, Queue]:
    return {
        name: queue.runtime_queue(lambda queue: local_step(context, queue)) for name, queue in QUEUES.items()
    }


def local_step(context: AppContext, queue: LifecycleQueue) -> Handle:
    step = queue.step
    assert step is not None  # noqa: S101 - the table calls this for queues with a step

    async def handle(delivery: Delivery, message: LifecycleMessage) -> Outcome:
        try:
            return await step(context.for_steps(), message.id, message_id=delivery.msg_id)
        except (NotFound, IllegalTransition) as error:  # the row moved on without this step
            return Cancel(error.code)
        except AppError as error:
            return Retry(error.retry_after, error.code, is_outage=isinstance(error, Unavailable))
        except Exception as error:
            log.exception("step_crashed", queue=queue.name, msg_id=delivery.msg_id)
            return Retry(reason=type(error).__name__)

    return handle
