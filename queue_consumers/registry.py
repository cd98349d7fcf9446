"""Every queue that has a consumer."""

from queue_consumers import (
    voice_cleanup,
    voice_clone_process,
    voice_clone_verify,
    voice_mirror,
    voice_preview,
    voice_runtime_sync,
)
from queue_consumers.queue import Queue

QUEUES: dict[str, Queue] = {
    module.QUEUE.name: module.QUEUE
    for module in (
        voice_clone_process,
        voice_clone_verify,
        voice_mirror,
        voice_runtime_sync,
        voice_preview,
        voice_cleanup,
    )
}
