"""An attempt as clients see it, and as workers read it."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.queries import load_queries
from backend.errors import NotFound
from backend.lifecycle.values import AttemptSource, CloneStatus, PreviewStatus, Provider, RuntimeStatus
from backend.web.error_codes import ErrorCode
from backend.web.pages import Page

queries = load_queries(__file__)


class AttemptRow(Struct, frozen=True, kw_only=True):
    """The columns of public.voice_clone_attempts that the service reads; others are ignored."""

    id: UUID
    user_id: UUID | None
    reflection_id: UUID | None
    employee_id: UUID | None = None
    sample_id: UUID | None
    voice_id: UUID
    source: str
    name: str | None
    language: str | None
    status: str
    runtime_status: str
    preview_status: str
    is_active: bool
    version: int
    not_before: datetime | None
    provider: str
    region: str
    target_model: str | None
    request_id: str | None
    preview_path: str | None
    error_code: str | None
    error_message: str | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    queued_at: datetime | None
    ready_at: datetime | None
    failed_at: datetime | None
    cancelled_at: datetime | None
    synced_at: datetime | None
    previewed_at: datetime | None

    @property
    def has_failed(self) -> bool:
        """The enrollment, the runtime sync or the preview failed for good."""
        steps = (self.runtime_status, self.preview_status)
        return self.status == "failed" or (self.status == "ready" and "failed" in steps)


class AttemptError(Struct, frozen=True, kw_only=True):
    """Why it failed. What is tried again by itself is no error: so far each one here is final."""

    code: ErrorCode
    message: str
    final: bool = True
    provider_request_id: str | None = None
    alternatives: list[Provider] = []  # providers that could make a voice of the same sample


class Attempt(Struct, frozen=True, kw_only=True):
    """One try at a clone."""

    attempt_id: UUID
    voice_id: UUID
    reflection_id: UUID | None
    employee_id: UUID | None
    sample_id: UUID | None
    source: AttemptSource
    name: str | None
    language: str | None
    status: CloneStatus
    runtime_status: RuntimeStatus
    preview_status: PreviewStatus
    is_active: bool
    version: int
    provider: Provider
    target_model: str | None
    error: AttemptError | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    queued_at: datetime | None
    ready_at: datetime | None
    failed_at: datetime | None
    cancelled_at: datetime | None

    @classmethod
    def of(cls, row: AttemptRow) -> "Attempt":
        shared: dict[str, Any] = {
            name: getattr(row, name) for name in cls.__struct_fields__ if name not in {"attempt_id", "error"}
        }
        error = None
        if row.error_code is not None and (row.has_failed or row.cancel_reason == "original_removed"):
            error = AttemptError(
                code=cast(ErrorCode, row.error_code),
                message=row.error_message or "",
                provider_request_id=row.request_id,
            )
        return cls(attempt_id=row.id, error=error, **shared)


class AttemptEvent(Struct, frozen=True, kw_only=True):
    """One step of an attempt's timeline: which edges it took, and what changed."""

    id: int
    version: int
    events: list[str]
    changes: dict[str, object]
    recorded_at: datetime


class Work(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of the attempt it claimed."""

    attempt_id: UUID
    owner_id: UUID  # the user or the employee: whose folder of Storage it is
    reflection_id: UUID | None
    voice_id: UUID
    source: str
    provider: str
    region: str
    account: str | None  # of the open enrollment or the voice; null where there is neither
    name: str
    language: str
    provider_voice_id: str | None
    target_model: str | None
    process_count: int
    sync_count: int
    preview_count: int
    path: str | None  # of the prepared WAV; null without a sample
    bytes: int | None
    original_path: str | None  # of the file as it was sent, as are the next two
    original_bytes: int | None
    original_type: str | None
    transcript: str | None
    enrollment_id: UUID | None  # the one whose outcome is open
    label: str | None
    found_voice_id: str | None  # reported by a worker that had lost its lease
    found_target_model: str | None
    found_requires_verification: bool | None
    settles_in_seconds: float | None
    ready_seconds: float | None  # since the voice was made
    waiting_seconds: float  # since the step first met an outage


async def read_attempt(context: AppContext, caller: Caller, attempt_id: UUID) -> AttemptRow:
    """Under row level security: raises NotFound for another user's attempt."""
    mine = context.database.as_caller(caller)
    attempt = await mine.fetch_one(queries.by_id, {"attempt": attempt_id}, row=AttemptRow)
    if attempt is None:
        raise NotFound("There is no such attempt.")
    return attempt


async def list_attempts(
    context: AppContext, caller: Caller, reflection_id: UUID, page: Page
) -> list[AttemptRow]:
    """The newest first, under row level security."""
    parameters = {"reflection": reflection_id, **page.parameters}
    return await context.database.as_caller(caller).fetch_all(
        queries.of_reflection, parameters, row=AttemptRow
    )


async def read_events(context: AppContext, caller: Caller, attempt_id: UUID) -> list[AttemptEvent]:
    """The whole timeline of the caller's attempt."""
    parameters = {"attempt": attempt_id, "user": caller.user_id, "after": 0}
    return await context.database.reads.fetch_all(queries.events, parameters, row=AttemptEvent)
