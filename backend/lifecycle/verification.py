"""Verification: a voice that its provider made is used only once its speaker was verified there.

A poll changes nothing at the provider, so it takes no lease: its result is written only where the attempt
has not changed. An operator or a webhook may report the result as well; the first report counts.
"""

from functools import partial
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.errors import InvalidInput, NotFound
from backend.lifecycle.attempts import Attempt, AttemptRow
from backend.lifecycle.claim import queries
from backend.lifecycle.leases import finish
from backend.lifecycle.provider_errors import note_provider_error
from backend.providers.base import ErrorKind, ProviderError
from backend.providers.places import find_provider
from backend.queues.outcomes import Done, Outcome
from backend.web.logs import log

REFUSED = "verification_refused"
WHAT_TO_DO = "Record another sample with the voice that the consent is for, or choose another provider."
MAX_REASON = 200  # characters


class VerificationWork(Struct, frozen=True, kw_only=True):
    """An attempt that awaits its verification, and the number of its poll."""

    outcome: str  # due | not_due | inactive | nothing_to_do
    lease_epoch: int
    verify_count: int
    provider: str
    region: str
    account: str | None
    provider_voice_id: str | None
    verifying_seconds: float | None


async def verify_attempt(context: AppContext, attempt_id: UUID, *, message_id: int | None = None) -> Outcome:
    """Poll the provider: the voice is verified, refused, or neither yet."""
    work = await context.database.fetch_one(
        queries.verification_work, {"attempt": attempt_id}, row=VerificationWork
    )
    if work is None or work.outcome != "due":  # not_due: the message is sent when it is due
        return Done(work.outcome if work else "gone")
    statement, values = await poll(context, attempt_id, work)
    parameters = {
        "attempt": attempt_id,
        "epoch": work.lease_epoch,
        "count": work.verify_count,
        "message": message_id,
    }
    write = partial(context.database.execute, statement, {**parameters, **values})
    return await finish(write, None, message_id)


async def poll(
    context: AppContext, attempt_id: UUID, work: VerificationWork
) -> tuple[str, dict[str, object]]:
    """The statement that writes what the provider says, and its parameters beside those of the poll.

    A provider that fails, or is not set up here any more, is polled again: the verification has its own
    deadline, and the voice is the user's.
    """
    try:
        provider = find_provider(context.providers, work.provider, work.region, work.account)
        found = await provider.describe(work.provider_voice_id or "")
    except ProviderError as error:
        log.warning("provider_failed", attempt_id=str(attempt_id), error=str(error))
        await note_provider_error(context, attempt_id, "verification", error)
        return queries.postpone_verification, postponed(error.retry_after or 0.0, error)
    if found is None:
        young = provider.limits.listing_lag_seconds - (work.verifying_seconds or 0)
        if young > 0:
            return queries.postpone_verification, postponed(young)
        message = "The provider does not have this voice any more. Record a new sample."
        return queries.reject_verification, {"code": "voice_missing", "error": message}
    if found.is_verified:
        return queries.complete_verification, {}
    if found.verification_refused:
        return queries.reject_verification, {"code": REFUSED, "error": refusal_message()}
    return queries.postpone_verification, postponed(0.0)


def postponed(at_least: float, error: ProviderError | None = None) -> dict[str, object]:
    """The attempt says so where no poll is possible, because its voice is not where this service looks."""
    told = error if error is not None and error.kind is ErrorKind.MISPLACED else None
    return {
        "at_least": at_least,
        "code": told.code if told else None,
        "error": told.message if told else None,
    }


async def record_verification(
    context: AppContext,
    attempt_id: UUID,
    *,
    verified: bool,
    reason: str | None,
    provider_voice_id: str | None,
) -> Attempt:
    """What an operator or a webhook reports. Repeating it changes nothing; a contradiction is refused."""
    row = await context.database.fetch_one(
        queries.record_verification,
        {
            "attempt": attempt_id,
            "verified": verified,
            "voice": provider_voice_id,
            "code": REFUSED,
            "error": refusal_message(reason),
        },
        row=AttemptRow,
    )
    if row is None:
        raise NotFound("There is no such attempt.")
    return Attempt.of(row)


def refusal_message(reason: str | None = None) -> str:
    """What the user reads: the reason is shown to them as it is, so it must be fit for that."""
    if reason is None:
        return f"The provider did not accept the verification of this voice. {WHAT_TO_DO}"
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON or not reason.isprintable():
        raise InvalidInput(
            f"The reason is shown to the user: one line of at most {MAX_REASON} printable characters.",
            field="reason",
        )
    return f"The provider did not accept the verification of this voice: {reason.rstrip('.')}. {WHAT_TO_DO}"
