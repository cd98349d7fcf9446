"""Samples as their user sees them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.queries import load_queries
from backend.domains.samples.advice import sample_advice
from backend.domains.samples.findings import Finding, check, warnings
from backend.domains.samples.preflight import Report, preflights
from backend.domains.samples.preparation import ANY_PROVIDER
from backend.errors import Conflict, NotFound
from backend.web.pages import Page

queries = load_queries(__file__)
Status = Literal["pending", "processing", "ready", "failed"]


class StoredSample(Struct, frozen=True, kw_only=True):
    """A row, without what only workers need."""

    id: UUID
    name: str | None
    language: str | None
    status: str
    file_url: str
    content_type: str
    bytes: int
    measures: Inspection | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    ready_at: datetime | None

    @property
    def shown_status(self) -> Status:
        """A sample whose file is being stored is pending for its user."""
        shown: dict[str, Status] = {"processing": "processing", "ready": "ready", "failed": "failed"}
        return shown.get(self.status, "pending")


class Reason(Struct, frozen=True, kw_only=True):
    """Why a sample failed, and what to do about it; of a pending one, why it waits."""

    code: str
    message: str
    help: str


class SampleStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """`measures` are there once the sample was inspected. A finding refuses it; a warning does not."""

    sample_id: UUID
    status: Status
    reason: Reason | None
    measures: Inspection | None
    findings: list[Finding]
    warnings: list[Finding]

    @classmethod
    def of(cls, sample: StoredSample) -> "SampleStatus":
        seen = sample.measures
        findings = check(seen, ANY_PROVIDER) if seen else []
        return cls(
            sample_id=sample.id,
            status=sample.shown_status,
            reason=reason_of(sample, findings),
            measures=seen,
            findings=findings,
            warnings=warnings(seen, ANY_PROVIDER) if seen else [],
        )


def reason_of(sample: StoredSample, findings: list[Finding]) -> Reason | None:
    if sample.error_code is None:
        return None
    help_ = sample_advice(sample.error_code, findings, has_failed=sample.status == "failed")
    return Reason(code=sample.error_code, message=sample.error_message or "", help=help_)


class ListedSample(Struct, frozen=True, kw_only=True, rename="camel"):
    """`file_url` is read with the user's token."""

    sample_id: UUID
    name: str | None
    language: str | None
    status: Status
    file_url: str
    content_type: str
    bytes: int
    seconds: float | None
    created_at: datetime
    ready_at: datetime | None

    @classmethod
    def of(cls, sample: StoredSample, project: str) -> "ListedSample":
        return cls(
            sample_id=sample.id,
            name=sample.name,
            language=sample.language,
            status=sample.shown_status,
            file_url=f"{project}{sample.file_url}",
            content_type=sample.content_type,
            bytes=sample.bytes,
            seconds=sample.measures.seconds if sample.measures else None,
            created_at=sample.created_at,
            ready_at=sample.ready_at,
        )


async def list_samples(context: AppContext, caller: Caller, page: Page) -> list[StoredSample]:
    """Newest first: those that the user sent by themselves."""
    mine = context.database.as_caller(caller)
    return await mine.fetch_all(queries.stored, page.parameters, row=StoredSample)


async def find_sample(context: AppContext, caller: Caller, sample_id: UUID) -> StoredSample:
    mine = context.database.as_caller(caller)
    sample = await mine.fetch_one(queries.stored_by_id, {"sample": sample_id}, row=StoredSample)
    if sample is None:
        raise NotFound("There is no such sample.")
    return sample


async def report(context: AppContext, caller: Caller, sample_id: UUID) -> Report:
    """Raises Conflict where the sample was not inspected."""
    sample = await find_sample(context, caller, sample_id)
    seen = sample.measures
    if seen is None:
        raise Conflict(
            f"This sample is {sample.shown_status}: nothing was measured.",
            code="sample_not_inspected",
            help="Ask again when its status is ready."
            if sample.status != "failed"
            else "Send another sample.",
        )
    return Report(
        sample_id=sample.id,
        status=sample.shown_status,
        providers=preflights(seen, sample.language, context.providers),
        warnings=warnings(seen, ANY_PROVIDER),
    )
