"""The rows of the model and its constants: spans in seconds, statuses, what is compared with the database."""

from dataclasses import dataclass

TICK = 1000.0
LEASE = SETTLE = LONG = 1500
SHORT = 500
STEP = 4500
DAY = 24 * 60 * 60
OPEN_UPLOADS = 5
USER_CAP = 2
MOST_JOBS = 2
TIMES = {
    "upload": 20_500,
    "slot_reservation": 4500,
    "inspection_lease": LEASE,
    "queue_hold": 1000,
    "lost_message": 2500,
    "lost_message_cap": 10_500,
    "step": STEP,
    "mirror_progress": 500,
    "orphan_grace": 5500,
    "outage": 6500,
    "verification": 30_500,
    "verification_poll": 1500,
    "verification_poll_cap": 10_500,
    "deleted_voice": 20_500,
    "sample": 40_500,
    "preview": 8_500,
    "object_removal": 5500,
    "speech_result": 20_500,
    "new_voice": 0,
    "voice_check_pause": 10**8,  # no sweep sends a check: the test claims it
    "webhook": 12_500,
    "webhook_lease": LEASE,
    "webhook_backoff": SHORT,
    "webhook_backoff_cap": 2500,
}
OPEN = ("intended", "unknown")
LIVE = ("awaiting_upload", "queued", "processing", "verifying", "ready", "failed")


@dataclass(frozen=True)
class Refusal:
    """The database must refuse with this SQLSTATE; if it does not, this invariant is broken."""

    sqlstate: str
    invariant: int


@dataclass
class Consent:
    user: str | None  # None once the user is deleted
    subject: str | None
    revoked: bool = False


@dataclass
class Attempt:
    """Named like the columns; `None` in `until` means that no worker holds the lease."""

    id: str
    user_id: str | None
    reflection_id: str | None
    consent: str | None
    sample: str | None = None  # its key in the model
    source: str = "sample"
    provider: str = "local"
    status: str = "awaiting_upload"
    runtime_status: str = "pending"
    preview_status: str = "required"
    is_active: bool = False
    version: int = 1
    created_at: float = 0.0
    reserved_until: float = 0.0  # its upload's slot
    lease_epoch: int = 0
    lease_owner: str | None = None
    until: float | None = None
    since: float = 0.0
    not_before: float | None = None
    waiting_since: float | None = None
    verifying_since: float = 0.0
    verified_once: bool = False  # it is this processing's voice that was verified, or not
    ready_at: int = 0  # in the order of all changes
    activated: bool = False
    activated_at: int = 0  # in the order of all changes
    was_ready: bool = False
    queued_at: float = 0.0
    failed_at: float = -1.0
    process_count: int = 0
    sync_count: int = 0
    preview_count: int = 0
    user_retry_count: int = 0
    user_retry_budget: int = 5
    verify_count: int = 0
    provider_voice_id: str | None = None
    error_code: str | None = None
    cancel_reason: str | None = None
    is_taken_down: bool = False
    frozen_since: float = 0.0

    def has_ended_without_voice(self) -> bool:
        return self.has_failed() or (
            self.status == "cancelled"
            and (self.failed_at >= self.queued_at or "failed" in (self.runtime_status, self.preview_status))
        )

    def is_launchable(self) -> bool:
        is_heard = self.preview_status in ("not_required", "completed")
        is_synced = self.status == "ready" and self.runtime_status == "synced"
        return is_synced and is_heard and not self.is_taken_down

    def has_failed(self) -> bool:
        return self.status == "failed" or (
            self.status == "ready" and "failed" in (self.runtime_status, self.preview_status)
        )


@dataclass
class Sample:
    """Named like the columns; its key in the model is the attempt that it is uploaded for, or its own id."""

    id: str
    user_id: str | None
    consent: str
    is_kept: bool = False
    status: str = "awaiting_upload"
    lease_epoch: int = 0
    until: float | None = None
    since: float = 0.0
    process_count: int = 0
    timeout_count: int = 0
    not_before: float | None = None
    waiting_since: float | None = None
    error_code: str | None = None
    created_at: float = 0.0
    language: str | None = None
    is_compared: bool = False  # the sweep has found it in use


COMPARED_OF_SAMPLES = (
    "user_id", "is_kept", "status", "lease_epoch", "process_count", "timeout_count", "error_code",
)  # fmt: skip
COMPARED = (
    "user_id", "reflection_id", "source", "provider", "status", "runtime_status", "preview_status",
    "is_active", "version", "lease_epoch", "lease_owner", "process_count", "sync_count", "preview_count",
    "user_retry_count", "verify_count", "provider_voice_id", "error_code", "cancel_reason",
)  # fmt: skip
BUDGET = 5


@dataclass
class Enrollment:
    id: str
    attempt: str
    label: str
    settles_at: float
    status: str = "intended"
    voice: str | None = None
    orphaned_at: float = 0.0
    removal_due: float | None = None  # without a grace period
