"""Routes of speech jobs: a sample and a text, later the address of the speech. The contract is camelCase."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.samples.voice_details import clean_name
from backend.speech import jobs
from backend.speech.jobs import LONGEST_TEXT, Requested, SpeechJob, SpeechResult
from backend.web.authentication import require_user
from backend.web.idempotency import IDEMPOTENT
from backend.web.rate_limits import POLICY, RateLimits

PAGE = 100
VOICE_NAME = "Voice"  # of a voice that a job makes, where the request names none


def addresses(path: str = "") -> list[str]:
    """With the version and without it: both are the specification's."""
    return [f"/api/v1/clone{path}", f"/api/clone{path}"]


class NewSpeechJob(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    sample_id: UUID
    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
    provider: str | None = None
    name: str | None = None


class SpeechJobsController(Controller):
    guards = (require_user,)
    tags = ("speech",)

    @post(addresses(), status_code=202, middleware=IDEMPOTENT, opt={POLICY: "speech"})
    async def request_speech(
        self,
        data: JSONBody[NewSpeechJob],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limits: NamedDependency[RateLimits],
    ) -> Requested:
        """202 with the job: the text is spoken with the sample's voice, which is made where there is none.

        429 `too_many_speech_jobs` while twenty jobs of the user are open.
        """
        text = jobs.clean_speech_text(data.text)
        name = clean_name(data.name if data.name is not None else VOICE_NAME)
        job = await jobs.request_speech(context, limits, caller, data.sample_id, text, name, data.provider)
        return Requested(job_id=job)

    @get(addresses())
    async def list_jobs(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: FromQuery[int] = PAGE,
    ) -> list[SpeechJob]:
        """Newest first."""
        rows = await jobs.list_jobs(context, caller, max(1, min(limit, PAGE)))
        return [SpeechJob.of(row) for row in rows]

    @get(addresses("/{job_id:uuid}/status"))
    async def get_status(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> SpeechJob:
        """`status` is queued, processing, succeeded or failed; `error` says why it failed, or waits."""
        return SpeechJob.of(await jobs.find_job(context, caller, job_id))

    @get(addresses("/{job_id:uuid}/result"))
    async def get_result(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> SpeechResult:
        """409 `speech_not_ready` before the job has succeeded, 502 with its error where it failed."""
        return await jobs.sign_result(context, caller, job_id)

    @post(addresses("/{job_id:uuid}/retry"), status_code=202, middleware=IDEMPOTENT, opt={POLICY: "speech"})
    async def retry_speech(
        self,
        job_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limits: NamedDependency[RateLimits],
    ) -> Requested:
        """202: a failed job starts again, with the same text. 409 `nothing_to_retry` where none failed."""
        return Requested(job_id=await jobs.retry_speech(context, limits, caller, job_id, VOICE_NAME))

    @delete(addresses("/{job_id:uuid}"))
    async def delete_job(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> None:
        """With its text and its speech. What a worker still speaks for it is removed as well."""
        await jobs.delete_job(context, caller, job_id)
