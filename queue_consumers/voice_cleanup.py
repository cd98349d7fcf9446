"""Clean-up: resolve open outcomes, remove orphans at the provider. The message's id is the enrollment's."""

from queue_consumers.internal_http import post_internal
from queue_consumers.outcomes import Outcome
from queue_consumers.queue import Context, Message, Queue


async def handle(context: Context, message: Message) -> Outcome:
    return await post_internal(context, f"/internal/enrollments/{message.id}/clean-up")


QUEUE = Queue(name="voice_cleanup", handle=handle, batch_size=16, concurrency=4, calls_service=True)
