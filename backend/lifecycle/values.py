"""The values of states, blockers and providers, as the OpenAPI document names them.

The database has the same values in its checks, and the settings the same providers; tests compare them.
"""

from enum import StrEnum


class Provider(StrEnum):
    """Decoding takes any name: one that is not set up is refused later, with an error code of its own."""

    LOCAL = "local"
    QWEN = "qwen"
    ELEVENLABS = "elevenlabs"
    CARTESIA = "cartesia"
    PIPECAT = "pipecat"
    MODAL = "modal"

    @classmethod
    def _missing_(cls, value: object) -> "Provider | None":
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


class CloneStatus(StrEnum):
    AWAITING_UPLOAD = "awaiting_upload"
    QUEUED = "queued"
    PROCESSING = "processing"
    VERIFYING = "verifying"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class MirroredStatus(StrEnum):
    """That of the active attempt, or `none`."""

    NONE = "none"
    QUEUED = "queued"
    PROCESSING = "processing"
    VERIFYING = "verifying"
    READY = "ready"
    FAILED = "failed"


class RuntimeStatus(StrEnum):
    PENDING = "pending"
    SYNCING = "syncing"
    SYNCED = "synced"
    FAILED = "failed"


class PreviewStatus(StrEnum):
    NOT_REQUIRED = "not_required"
    REQUIRED = "required"
    RENDERING = "rendering"
    RENDERED = "rendered"
    COMPLETED = "completed"
    FAILED = "failed"


class AttemptSource(StrEnum):
    SAMPLE = "sample"
    RECORDING = "recording"
    CUSTOM_VOICE = "custom_voice"
    LEGACY_OUTBOX = "legacy_outbox"
    OPERATOR_MOVE = "operator_move"


class Blocker(StrEnum):
    """What a launch waits for: a voice, or a step of the clone, the runtime or the preview."""

    NO_VOICE = "no_voice"
    ORIGINAL_REMOVED = "original_removed"
    CLONE_AWAITING_UPLOAD = "clone_awaiting_upload"
    CLONE_QUEUED = "clone_queued"
    CLONE_PROCESSING = "clone_processing"
    CLONE_VERIFYING = "clone_verifying"
    CLONE_FAILED = "clone_failed"
    VOICE_LOST = "voice_lost"
    VOICE_TAKEN_DOWN = "voice_taken_down"
    CLONE_EXPIRED = "clone_expired"
    CLONE_CANCELLED = "clone_cancelled"
    RUNTIME_PENDING = "runtime_pending"
    RUNTIME_SYNCING = "runtime_syncing"
    RUNTIME_FAILED = "runtime_failed"
    PREVIEW_REQUIRED = "preview_required"
    PREVIEW_RENDERING = "preview_rendering"
    PREVIEW_RENDERED = "preview_rendered"
    PREVIEW_FAILED = "preview_failed"


class JobStatus(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WebhookStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
