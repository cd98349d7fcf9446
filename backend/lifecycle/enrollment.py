"""One process step of an attempt: claim → intent → provider → attach, and on to the runtime.

The intent is committed before the provider's call and the result after it, so a process that dies between
the two leaves an enrollment whose outcome is open. The next worker of the attempt looks its label up and
adopts the voice. If the provider does not list it in time, the enrollment is closed and another one is made.
A custom voice is at its provider already: claim → describe → attach.

The worker that made a voice ready continues to its first runtime sync under the same lease. Every other sync
has a message.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from msgspec import structs
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.backoff import full_jitter, outage_delay
from backend.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    StaleLease,
    Unavailable,
)
from backend.lifecycle.claim import Step, claimed, is_outage, queries, retry_delay, waiting_delay
from backend.lifecycle.custom_voice import describe_voice, speakable_model
from backend.lifecycle.enrolled_sample import enrolled_sample
from backend.lifecycle.leases import persist
from backend.lifecycle.provider_errors import note_provider_error
from backend.lifecycle.runtime_sync import sync
from backend.providers.base import (
    Enrolled,
    EnrollRequest,
    ErrorKind,
    ProviderError,
    VoiceProvider,
    new_label,
)
from backend.providers.http import UNKNOWN, Call
from backend.queues.outcomes import Done, Outcome
from backend.telemetry.traces import note, span
from backend.web.logs import log

NO_SLOT = "The voice provider has no room for another voice."
OUTCOME_UNKNOWN = "The provider did not say whether it made the voice; it is being looked up."
STILL_OPEN = {"enrollment_has_voice", "enrollment_not_settled"}  # meanwhile its voice was reported, or may be
REPORT_TRIES = 6  # of a voice that could not be attached, about ten seconds in all
REPORT_BASE_SECONDS, REPORT_CAP_SECONDS = 0.5, 8.0


async def process_attempt(
    context: AppContext, attempt_id: UUID, *, message_id: int | None = None, early: bool = False
) -> Outcome:
    """Enroll the attempt's sample. `early`: the caller queued it just now, so `not_before` does not apply."""
    settings = context.settings.attempts
    caps = {"user_cap": settings.max_jobs_per_user, "max_jobs": settings.max_jobs}
    claiming = claimed(context, queries.claim, attempt_id, message_id, **caps, early=early)
    with span("enroll", id=str(attempt_id)) as current:
        outcome = await process_claimed(claiming, attempt_id)
        current.set(outcome=type(outcome).__name__.lower())
        return outcome


async def process_claimed(claiming: AbstractAsyncContextManager[Step | Outcome], attempt_id: UUID) -> Outcome:
    async with claiming as step:
        if not isinstance(step, Step):
            return step
        try:
            provider = step.provider()
            if step.work.source == "custom_voice":
                return await attach_custom(step, provider)
            return await enroll(step, provider)
        except ProviderError as error:
            return await resolve_error(step, error)
        except StaleLease:
            return Done("stale_lease")
        except Unavailable as error:  # Storage or the database; where it stays away, the lease ends
            delay, code, message = waiting_delay(step, error), error.code, error.message
            return await persist(lambda: requeue(step, delay, code, message))
        except AppError:
            raise
        except Exception:  # a bug: the budget limits the retries, and an open enrollment is looked up
            log.exception("process_step_crashed", attempt_id=str(attempt_id))
            delay = retry_delay(step.work.process_count)
            message = "Something went wrong on our side."
            return await requeue(step, delay, "internal_error", message, is_outage=False)


async def enroll(step: Step, provider: VoiceProvider) -> Outcome:
    work = step.work
    if work.enrollment_id is not None:
        found = await look_up(step, provider)
        if found is not None:
            return await attach(step, work.enrollment_id, work.label or "", found)
        if work.settles_in_seconds is not None and work.settles_in_seconds > 0:
            return await requeue(step, work.settles_in_seconds, "outcome_unknown", OUTCOME_UNKNOWN)
        try:
            await resolve(step, work.enrollment_id, "closed", code="never_made")
        except Conflict as error:
            if error.code not in STILL_OPEN:
                raise
            return await requeue(step, 0, "outcome_unknown", OUTCOME_UNKNOWN)  # the next worker adopts it
    return await create(step, provider)


async def attach_custom(step: Step, provider: VoiceProvider) -> Outcome:
    """Creates nothing at the provider; marks the attempt ready if the provider confirms the voice."""
    try:
        found = await describe_voice(provider, step.work.provider_voice_id or "")
        model = speakable_model(provider, found)
        statement, values = queries.attach_custom_voice, step.write(label=found.label)
        runtime = await step.context.database.fetch_value(statement, values, of=str)
    except InvalidInput as refused:
        return await fail(step, refused.code, refused.message)
    except StaleLease:
        return Done("stale_lease")
    return await continue_to_sync(step, runtime, found.provider_voice_id, model)


async def look_up(step: Step, provider: VoiceProvider) -> Enrolled | None:
    """The voice of the open enrollment: reported by the worker that made it, or listed under its label."""
    work = step.work
    if work.found_voice_id is not None:
        return Enrolled(
            provider_voice_id=work.found_voice_id,
            target_model=work.found_target_model or provider.target_model,
            requires_verification=bool(work.found_requires_verification),
        )
    found = await provider.find(work.label or "")
    if found is None:
        return None
    log.info("voice_adopted", attempt_id=str(work.attempt_id), label=work.label, provider=work.provider)
    return Enrolled(
        provider_voice_id=found.provider_voice_id,
        target_model=found.target_model or provider.target_model,  # not every provider ties one to it
        requires_verification=found.requires_verification and not found.is_verified,
    )


async def create(step: Step, provider: VoiceProvider) -> Outcome:
    """The intent, the one create call, its result."""
    work = step.work
    found = enrolled_sample(step.context.storage, work, provider.limits)
    if found is None:
        return await fail(step, "sample_missing", "This attempt has no sample to clone. Record one.")
    sample, removes_noise = found
    request = EnrollRequest(
        label=new_label(),
        name=work.name,
        language=work.language,
        transcript=work.transcript,
        sample=sample,
        remove_background_noise=removes_noise,
    )
    settings = step.context.settings.providers
    settle_seconds = settings.enrollment_settle_seconds
    intent = step.write(
        label=request.label, kind=provider.voice_kind, settle=settle_seconds, account=provider.accounts[0]
    )
    enrollment_id = await step.context.database.fetch_value(queries.intend, intent, of=UUID)
    if enrollment_id is None:
        return await wait_for_slot(step) or await requeue(
            step, outage_delay(step.work.waiting_seconds), "provider_full", NO_SLOT
        )
    try:
        async with asyncio.timeout(settings.create_seconds):  # of all that the adapter does
            enrolled = await provider.enroll(request)
    except TimeoutError:
        unheard = Call(provider=provider.name, seconds=0).error(UNKNOWN)
        return await resolve_error(step, unheard, enrollment_id, settle_seconds)
    except ProviderError as error:
        return await resolve_error(step, error, enrollment_id, settle_seconds)
    return await attach(step, enrollment_id, request.label, enrolled)


async def attach(step: Step, enrollment_id: UUID, label: str, enrolled: Enrolled) -> Outcome:
    """Ready, or verifying. Where that cannot be written, the voice is reported: no client sees a change."""
    statement = queries.await_verification if enrolled.requires_verification else queries.attach
    values = {
        "enrollment": enrollment_id,
        "voice": enrolled.provider_voice_id,
        "target_model": enrolled.target_model,
        "request_id": enrolled.request_id,
        "metadata": None if enrolled.metadata is None else Jsonb(enrolled.metadata),
    }
    note(request_id=enrolled.request_id)
    failure: Exception | None = None
    try:
        runtime = await step.context.database.fetch_value(statement, step.write(**values), of=str)
    except StaleLease:
        pass
    except Exception as error:
        failure = error
        log_unrecorded(step, label, enrolled, error)
    else:
        return await continue_to_sync(step, runtime, enrolled.provider_voice_id, enrolled.target_model)
    parameters = {**values, "requires_verification": enrolled.requires_verification}
    status = await report(step, label, enrolled, parameters, is_logged=failure is not None)
    if failure is not None:
        raise failure
    log.warning("late_completion", attempt_id=str(step.work.attempt_id), enrollment=status)
    return Done("stale_lease")


async def report(
    step: Step, label: str, enrolled: Enrolled, parameters: dict[str, object], *, is_logged: bool
) -> str | None:
    """The enrollment keeps the voice and its request id for the worker that adopts it; tries a few times."""
    tries = 1
    while True:
        try:
            return await step.context.database.fetch_value(queries.report, parameters, of=str)
        except DatabaseUnavailable as error:
            if not is_logged:
                log_unrecorded(step, label, enrolled, error)
                is_logged = True
            if tries == REPORT_TRIES:
                raise
        await asyncio.sleep(full_jitter(tries, REPORT_BASE_SECONDS, REPORT_CAP_SECONDS))
        tries += 1


def log_unrecorded(step: Step, label: str, enrolled: Enrolled, error: Exception) -> None:
    """All that finds the voice again, should nothing else be written."""
    log.error(
        "voice_not_recorded",
        attempt_id=str(step.work.attempt_id),
        provider=step.work.provider,
        label=label,
        provider_voice_id=enrolled.provider_voice_id,
        provider_request_id=enrolled.request_id,
        error=getattr(error, "code", type(error).__name__),
    )


async def continue_to_sync(
    step: Step, runtime: str | None, provider_voice_id: str, target_model: str
) -> Outcome:
    """The first runtime sync, if this worker has it. If it fails, the sweep requeues the sync."""
    if runtime == "syncing":
        work = structs.replace(
            step.work,
            provider_voice_id=provider_voice_id,
            target_model=target_model,
            sync_count=step.work.sync_count + 1,
            ready_seconds=0.0,
        )
        try:
            await sync(structs.replace(step, work=work, message_id=None))
        except Exception:
            log.exception("runtime_sync_stopped", attempt_id=str(work.attempt_id))
    return Done(acknowledged=step.message_id is not None)


async def resolve_error(
    step: Step, error: ProviderError, enrollment_id: UUID | None = None, settles_in: float = 0
) -> Outcome:
    """What a provider's failure means for the enrollment and the attempt, by its kind."""
    await note_provider_error(step.context, step.work.attempt_id, "process", error)
    unknown = error.kind is ErrorKind.UNKNOWN
    if enrollment_id is not None:
        status = "unknown" if unknown else "closed"
        await resolve(step, enrollment_id, status, error.code, error.request_id, settles_in if unknown else 0)
    if error.kind is ErrorKind.FULL and (waiting := await wait_for_slot(step)):
        return waiting
    if is_outage(step, error):
        return await requeue(step, waiting_delay(step, error), error.code, error.message)
    return await fail(step, error.code, error.message, error.request_id)


async def wait_for_slot(step: Step) -> Outcome | None:
    """Queued again until a removed voice has left its slot, at no cost of the budget. None: none will."""
    values = step.write(accounts=list(step.context.providers[step.work.provider].accounts))
    try:
        waits = await step.context.database.fetch_value(queries.wait_for_slot, values, of=bool)
    except StaleLease:
        return Done("stale_lease")
    return Done("slot_awaited", acknowledged=step.message_id is not None) if waits else None


async def resolve(
    step: Step,
    enrollment_id: UUID,
    status: str,
    code: str,
    request_id: str | None = None,
    settles_in: float = 0,
) -> None:
    values = {"enrollment": enrollment_id, "status": status, "code": code, "request_id": request_id}
    await step.context.database.execute(queries.resolve, step.write(**values, settle=settles_in))


async def requeue(step: Step, delay: float, code: str, message: str, *, is_outage: bool = True) -> Outcome:
    """Later. An outage is not the attempt's fault, and uses up none of its budget."""
    values = step.write(delay=delay, code=code, error=message, is_outage=is_outage)
    return await end(step, queries.requeue, values)


async def fail(step: Step, code: str, message: str, request_id: str | None = None) -> Outcome:
    return await end(step, queries.fail, step.write(code=code, error=message, request_id=request_id))


async def end(step: Step, statement: str, parameters: dict[str, object]) -> Outcome:
    """The end of a step that failed. Without the lease, the worker that has it decides instead."""
    try:
        await step.context.database.execute(statement, parameters)
    except StaleLease:
        return Done("stale_lease")
    return Done(str(parameters["code"]), acknowledged=step.message_id is not None)
