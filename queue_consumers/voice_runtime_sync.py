"""Runtime sync: make a ready voice known to the runtime. The message's id is the attempt's."""

from queue_consumers.internal_http import post_step
from queue_consumers.outcomes import Outcome
from queue_consumers.queue import Context, Message, Queue


async def handle(context: Context, message: Message) -> Outcome:
    return await post_step(context, message, "runtime-sync")


QUEUE = Queue(name="voice_runtime_sync", handle=handle, batch_size=16, calls_service=True)
