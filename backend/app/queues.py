"""The table of queues: what handles a message, and the address of that step over HTTP.

To add a queue: a row here, its handler, and a call of the SQL function that creates the queue. The service's
drain, its internal routes and the consumers all read this table.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.domains.anchors.publishing import publish_anchor
from backend.domains.employees.employee_files import write_file
from backend.domains.employees.recording_clones import clone_stored_recording
from backend.domains.recordings.recording_step import fetch_recording
from backend.domains.samples.sample_step import prepare_sample
from backend.domains.samples.upload_step import finalize_upload
from backend.domains.webhooks.delivery import deliver_events
from backend.lifecycle.cleanup import clean_up
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.mirror import mirror_reflections
from backend.lifecycle.object_removal import remove_objects
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.lifecycle.speech_jobs import speak_job
from backend.lifecycle.verification import verify_attempt
from backend.lifecycle.voice_checks import check_voices
from backend.queues.outcomes import Outcome
from backend.queues.queue import Handle, HandleBatch, Message, Queue


class LifecycleMessage(Message, frozen=True):
    """`reflection_id`: of the attempt that the message is about, where it has a reflection."""

    reflection_id: UUID | None = None


class StepFunction(Protocol):
    """One step for the row that the message names. The step acknowledges the message with its effect."""

    def __call__(
        self, context: AppContext, row_id: UUID, /, *, message_id: int | None = None
    ) -> Awaitable[Outcome]: ...


class LifecycleQueue(Struct, frozen=True, kw_only=True):
    """A queue with a step for each message, or with a handler of many messages at once.

    `address` has the place `{row_id}`; `reflection_address`, for a message of a reflection's attempt, has
    `{reflection_id}` as well.
    """

    name: str
    step: StepFunction | None = None
    address: str = ""
    reflection_address: str = ""
    handle_batch: HandleBatch | None = None
    batch_size: int = 16
    concurrency: int = 50
    delay_seconds: float = 0.0

    def path(self, message: LifecycleMessage) -> str:
        if self.reflection_address and message.reflection_id:
            return self.reflection_address.format(reflection_id=message.reflection_id, row_id=message.id)
        return self.address.format(row_id=message.id)

    def runtime_queue(self, make_handle: "Callable[[LifecycleQueue], Handle]") -> Queue:
        """For the queue runtime. `make_handle` decides where a step runs: in this process, or over HTTP."""
        return Queue(
            name=self.name,
            message=LifecycleMessage,
            handle=make_handle(self) if self.step else None,
            handle_batch=self.handle_batch,
            batch_size=self.batch_size,
            concurrency=self.concurrency,
            limited=self.step is not None,
            delay_seconds=self.delay_seconds,
        )


ATTEMPT = "/internal/voice-clone-attempts/{row_id}"
ATTEMPT_OF_REFLECTION = "/internal/reflections/{reflection_id}/voice-clone-attempts/{row_id}"

ALL_QUEUES = [
    LifecycleQueue(
        name="voice_clone_process",
        step=process_attempt,
        address=f"{ATTEMPT}/process",
        reflection_address=f"{ATTEMPT_OF_REFLECTION}/process",
    ),
    LifecycleQueue(name="voice_clone_verify", step=verify_attempt, address=f"{ATTEMPT}/verify"),
    LifecycleQueue(
        name="voice_mirror",
        handle_batch=mirror_reflections,
        batch_size=200,
        concurrency=1,
        delay_seconds=2.0,  # the database's timeout 'mirror_progress', unless an operator set another
    ),
    LifecycleQueue(name="voice_runtime_sync", step=sync_runtime, address=f"{ATTEMPT}/runtime-sync"),
    LifecycleQueue(name="voice_preview", step=render_preview, address=f"{ATTEMPT}/preview"),
    LifecycleQueue(name="speech_jobs", step=speak_job, address="/internal/speech-jobs/{row_id}/speak"),
    LifecycleQueue(
        name="uploads",
        step=finalize_upload,
        address=f"{ATTEMPT}/finalize",
        concurrency=4,
    ),
    LifecycleQueue(
        name="voice_samples",
        step=prepare_sample,
        address="/internal/voice-samples/{row_id}/prepare",
        concurrency=4,
    ),
    LifecycleQueue(
        name="recordings",
        step=fetch_recording,
        address="/internal/recordings/{row_id}/fetch",
        concurrency=8,
    ),
    LifecycleQueue(
        name="voice_cleanup",
        step=clean_up,
        address="/internal/enrollments/{row_id}/clean-up",
        concurrency=4,
    ),
    LifecycleQueue(
        name="object_removal",
        step=remove_objects,
        address="/internal/object-removals/{row_id}/remove",
        concurrency=4,
    ),
    LifecycleQueue(
        name="recording_clones",
        step=clone_stored_recording,
        address="/internal/recording-clones/{row_id}/clone",
        concurrency=4,
    ),
    LifecycleQueue(
        name="employee_files",
        step=write_file,
        address="/internal/employees/{row_id}/write-file",
        concurrency=8,
    ),
    LifecycleQueue(
        name="consent_anchors",
        step=publish_anchor,
        address="/internal/consent-anchors/{row_id}/publish",
        concurrency=2,
    ),
    LifecycleQueue(
        name="voice_checks",
        step=check_voices,
        address="/internal/voice-checks/{row_id}/check",
        concurrency=2,
    ),
    LifecycleQueue(
        name="webhooks",
        step=deliver_events,
        address="/internal/webhooks/{row_id}/deliver",
        concurrency=16,  # of MAX_JOBS, so that slow receivers leave the most for the other queues
    ),
]
QUEUES = {queue.name: queue for queue in ALL_QUEUES}
