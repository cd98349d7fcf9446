"""One step of a speech job: claim → speak → store → complete.

The speech is stored under a path with the lease's epoch, so a late worker overwrites nothing. A worker that
dies leaves a lease that ends, and perhaps an object that is removed with the job.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.backoff import outage_delay
from backend.errors import AppError, InferenceFailed, Unavailable
from backend.lifecycle.claim import queries, retry_delay
from backend.lifecycle.leases import WORKER_ID, Claim, finish, renewed, unclaimed
from backend.lifecycle.synthesis.speaking import speak_marked
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest
from backend.providers.places import find_provider
from backend.queues.outcomes import Outcome
from backend.storage.buckets import SPEECH_BUCKET
from backend.web.logs import log
from backend.web.retry_after import MAX_RETRY_AFTER


class SpeechWork(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of the job that it claimed."""

    job_id: UUID
    user_id: UUID
    text: str
    try_count: int
    waiting_seconds: float  # since the job first met an outage
    language: str
    tts_provider: str
    provider_region: str
    provider_account: str
    provider_voice_id: str
    provider_target_model: str


class SpeechStep(Struct, frozen=True, kw_only=True):
    """A claimed job: each of its writes carries the lease's epoch."""

    context: AppContext
    work: SpeechWork
    epoch: int
    message_id: int | None

    async def write(self, statement: str, result: str, **values: Any) -> Outcome:
        """The end of the step."""
        parameters = {
            "job": self.work.job_id,
            "epoch": self.epoch,
            "message": self.message_id,
            **values,
        }
        write = partial(self.context.database.execute, statement, parameters)
        return await finish(write, result, self.message_id)


async def speak_job(context: AppContext, job_id: UUID, /, *, message_id: int | None = None) -> Outcome:
    """Speak the text of the job with the voice of its sample, and store the speech."""
    async with claimed_job(context, job_id, message_id) as step:
        if not isinstance(step, SpeechStep):
            return step
        try:
            return await complete(step)
        except ProviderError as error:
            return await resolve_failure(step, error)
        except Unavailable as error:  # Storage or the database; where it stays away, the lease ends
            return await requeue_job(step, error.code, error.message, outage_delay(step.work.waiting_seconds))
        except Exception as error:  # a bug, or Storage refuses: the budget limits the retries
            log.exception("speech_step_crashed", job_id=str(job_id))
            code = error.code if isinstance(error, AppError) else "internal_error"
            delay = retry_delay(step.work.try_count)
            return await requeue_job(step, code, "Something went wrong on our side.", delay, is_outage=False)


@asynccontextmanager
async def claimed_job(
    context: AppContext, job_id: UUID, message_id: int | None
) -> AsyncIterator[SpeechStep | Outcome]:
    """The claimed job, its lease renewed until the block ends; or the outcome without a claim."""
    settings = context.settings.attempts
    lease = settings.lease_seconds
    caps = {"user_cap": settings.max_jobs_per_user, "max_jobs": settings.max_jobs}
    parameters = {"job": job_id, "worker": WORKER_ID, "lease": lease, **caps}
    claim = await context.database.fetch_one(queries.claim_speech_job, parameters, row=Claim[SpeechWork])
    if claim is None or claim.lease_epoch is None or claim.work is None:
        yield unclaimed(claim)
        return
    step = SpeechStep(context=context, work=claim.work, epoch=claim.lease_epoch, message_id=message_id)
    async with renewed(partial(renew, step, lease), lease, job_id=str(job_id)):
        yield step


async def renew(step: SpeechStep, lease: int) -> bool | None:
    parameters = {"job": step.work.job_id, "epoch": step.epoch, "lease": lease}
    return await step.context.database.fetch_value(queries.renew_speech, parameters, of=bool)


async def complete(step: SpeechStep) -> Outcome:
    """Raises ProviderError or AppError; then nothing is written."""
    work = step.work
    place = (work.tts_provider, work.provider_region, work.provider_account)
    request = SpeechRequest(
        provider_voice_id=work.provider_voice_id,
        target_model=work.provider_target_model,
        text=work.text,
        language=work.language,
    )
    provider = find_provider(step.context.providers, *place)
    speech = (await speak_marked(step.context.marker, provider, request)).audio
    path = f"{work.user_id}/{work.job_id}/{step.epoch}.wav"
    await step.context.storage.upload(SPEECH_BUCKET, path, speech, "audio/wav", upsert=True)
    return await step.write(queries.complete_speech, "spoken", path=path, bytes=len(speech))


async def resolve_failure(step: SpeechStep, error: ProviderError) -> Outcome:
    """What a provider's failure means: a refusal is final, unusable audio is tried again, an outage waits."""
    work = step.work
    log.error(
        "inference_failed",
        job_id=str(work.job_id),
        provider=error.provider,
        provider_request_id=error.request_id,
        reason=error.code,
        error=str(error),
    )
    if error.kind is ErrorKind.REJECTED:
        code = error.code if error.code.startswith("text_") else InferenceFailed.code
        failure = {"code": code, "error": error.message, "request_id": error.request_id}
        return await step.write(queries.fail_speech, code, **failure)
    is_outage = error.code != InferenceFailed.code
    told = None if error.retry_after is None else min(error.retry_after, MAX_RETRY_AFTER)
    delay = outage_delay(work.waiting_seconds, told) if is_outage else retry_delay(work.try_count)
    return await requeue_job(step, error.code, error.message, delay, error.request_id, is_outage=is_outage)


async def requeue_job(
    step: SpeechStep,
    code: str,
    message: str,
    delay: float,
    request_id: str | None = None,
    *,
    is_outage: bool = True,
) -> Outcome:
    """Later. An outage is not the job's fault, and uses up none of its budget."""
    why = {"code": code, "error": message, "request_id": request_id}
    return await step.write(queries.requeue_speech, code, delay=delay, is_outage=is_outage, **why)
