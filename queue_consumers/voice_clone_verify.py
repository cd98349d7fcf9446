"""Verify: ask the provider whether a voice is verified by now. The message's id is the attempt's."""

from queue_consumers.internal_http import post_step
from queue_consumers.outcomes import Outcome
from queue_consumers.queue import Context, Message, Queue


async def handle(context: Context, message: Message) -> Outcome:
    return await post_step(context, message, "verify")


QUEUE = Queue(name="voice_clone_verify", handle=handle, batch_size=16, calls_service=True)
