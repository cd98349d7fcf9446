"""Runtime sync: does the provider, which speaks live, serve a ready voice?"""

from uuid import UUID

from backend.context import AppContext
from backend.lifecycle.claim import Step, claimed, mark, queries, retry_delay
from backend.providers.base import ErrorKind, ProviderError, VoiceProvider
from backend.queues.outcomes import Outcome
from backend.web.logs import log

MISSING = ("voice_missing", "The provider does not have this voice any more. Record a new sample.")
UNLISTED = ("voice_unlisted", "The provider does not list this new voice yet.")


async def sync_runtime(context: AppContext, attempt_id: UUID, *, message_id: int | None = None) -> Outcome:
    """Ask the provider, which speaks live, whether it serves this voice with this target model."""
    async with claimed(context, queries.claim_step, attempt_id, message_id, step="runtime") as step:
        return await sync(step) if isinstance(step, Step) else step


async def sync(step: Step) -> Outcome:
    """The same, for a step that has the lease already."""
    provider = step.context.providers.get(step.work.provider)
    if provider is None:
        return await mark_runtime(
            step, "failed", "provider_not_configured", "This voice provider is not set up here."
        )
    try:
        problem = await runtime_problem(step, provider)
    except ProviderError as error:
        status = "pending" if may_pass(error) else "failed"
        delay = retry_delay(step.work.sync_count, error)
        return await mark_runtime(step, status, error.code, error.message, delay)
    if problem is not None:
        young = provider.limits.listing_lag_seconds - (step.work.ready_seconds or 0)
        if problem == MISSING and young > 0:
            return await mark_runtime(step, "pending", *UNLISTED, delay=young)
        return await mark_runtime(step, "failed", *problem)
    return await mark_runtime(step, "synced")


async def runtime_problem(step: Step, provider: VoiceProvider) -> tuple[str, str] | None:
    """A code and a message where the runtime cannot speak with this voice."""
    found = await provider.describe(step.work.provider_voice_id or "")
    if found is None:
        return MISSING
    if found.target_model not in {None, step.work.target_model}:
        return (
            "target_model_mismatch",
            "The provider serves this voice with another model. Record a new sample.",
        )
    return None


def may_pass(error: ProviderError) -> bool:
    """Reading and speaking change nothing at the provider, so an unknown outcome may be retried as well."""
    log.warning("provider_failed", error=str(error))
    return error.kind in {ErrorKind.THROTTLED, ErrorKind.UNAVAILABLE, ErrorKind.UNKNOWN}


async def mark_runtime(
    step: Step, status: str, code: str | None = None, message: str | None = None, delay: float = 0
) -> Outcome:
    return await mark(step, queries.mark_runtime, status=status, code=code, error=message, delay=delay)
