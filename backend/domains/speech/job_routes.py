"""Routes of speech jobs: a sample and a text, later the address of the speech. The contract is camelCase."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.samples.voice_details import clean_name
from backend.domains.speech import jobs
from backend.domains.speech.jobs import LONGEST_TEXT, Requested, SpeechJob, SpeechResult
from backend.lifecycle.values import Provider
from backend.web.answers import Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE, OF_ATTEMPT
from backend.web.error_codes import CLONING, RETRYING, SAMPLE_FINDINGS, SPEECH_TEXT, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.pages import PAGE, Page, by_time
from backend.web.rate_limits import POLICY, RateLimits

VOICE_NAME = "Voice"  # of a voice that a job makes, where the request names none


class NewSpeechJob(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    sample_id: UUID
    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
    provider: Provider | None = None
    name: str | None = None


class SpeechJobsController(Controller):
    path = "/api/v1/clone"
    guards = (require_user,)
    tags = ("speech",)

    @post(
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "speech",
            EXAMPLE: {"sampleId": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11", "text": "Hello."},
            CODES: [*CLONING, *SAMPLE_FINDINGS, *SPEECH_TEXT, E.SAMPLE_NOT_READY, E.TOO_MANY_SPEECH_JOBS],
        },
    )
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

    @get()
    async def list_speech_jobs(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[SpeechJob]]:
        """Newest first, by pages."""
        page = Page.of(cursor, limit)
        rows, following = page.cut(await jobs.list_jobs(context, caller, page), by_time)
        return listed([SpeechJob.of(row) for row in rows], following)

    @get("/{job_id:uuid}/status", opt={CODES: [E.NOT_FOUND]})
    async def get_speech_status(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> SpeechJob:
        """`status` is queued, processing, succeeded or failed; `error` says why it failed, or waits."""
        return SpeechJob.of(await jobs.find_job(context, caller, job_id))

    @get(
        "/{job_id:uuid}/result",
        opt={
            CODES: [E.NOT_FOUND, E.SPEECH_NOT_READY, E.SPEECH_REMOVED, *STORAGE],
            OF_ATTEMPT: True,
        },
    )
    async def get_speech_result(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> SpeechResult:
        """409 `speech_not_ready` before the job has succeeded, 502 with its error where it failed."""
        return await jobs.sign_result(context, caller, job_id)

    @post(
        "/{job_id:uuid}/retry",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "speech",
            CODES: [
                *CLONING,
                *RETRYING,
                *SAMPLE_FINDINGS,
                E.SAMPLE_NOT_READY,
                E.SPEECH_REMOVED,
                E.TOO_MANY_SPEECH_JOBS,
            ],
        },
    )
    async def retry_speech(
        self,
        job_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limits: NamedDependency[RateLimits],
    ) -> Requested:
        """202: a failed job starts again, with the same text. 409 `nothing_to_retry` where none failed."""
        return Requested(job_id=await jobs.retry_speech(context, limits, caller, job_id, VOICE_NAME))

    @delete("/{job_id:uuid}", opt={CODES: [E.NOT_FOUND]})
    async def delete_speech_job(
        self, job_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> None:
        """With its text and its speech. What a worker still speaks for it is removed as well."""
        await jobs.delete_job(context, caller, job_id)


class UnversionedSpeechJobsController(SpeechJobsController):
    """The addresses without a version, for the clients of the specification."""

    path = "/api/clone"
    include_in_schema = False
