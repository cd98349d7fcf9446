"""Runtime sync: does the provider, which speaks live, serve a ready voice?"""

from uuid import UUID

from backend.context import AppContext
from backend.lifecycle.claim import Step, claimed, is_outage, mark, queries, waiting_delay
from backend.lifecycle.provider_errors import note_provider_error
from backend.providers.base import ProviderError, VoiceProvider
from backend.queues.outcomes import Outcome

MISSING = ("voice_missing", "The provider does not have this voice any more. Record a new sample.")
UNLISTED = ("voice_unlisted", "The provider does not list this new voice yet.")


async def sync_runtime(context: AppContext, attempt_id: UUID, *, message_id: int | None = None) -> Outcome:
    """Ask the provider, which speaks live, whether it serves this voice with this target model."""
    async with claimed(context, queries.claim_step, attempt_id, message_id, step="runtime") as step:
        return await sync(step) if isinstance(step, Step) else step


async def sync(step: Step) -> Outcome:
    """The same, for a step that has the lease already."""
    try:
        provider = step.provider()
        problem = await runtime_problem(step, provider)
    except ProviderError as error:
        await note_provider_error(step.context, step.work.attempt_id, "runtime_sync", error)
        if is_outage(step, error):
            return await wait_for_runtime(step, error.code, error.message, waiting_delay(step, error))
        return await mark_runtime(step, "failed", error.code, error.message)
    if problem is not None:
        young = provider.limits.listing_lag_seconds - (step.work.ready_seconds or 0)
        if problem == MISSING and young > 0:
            return await wait_for_runtime(step, *UNLISTED, delay=young)
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


async def wait_for_runtime(step: Step, code: str, message: str, delay: float) -> Outcome:
    """Later, without a try that counts: the provider is away, or does not list the voice yet."""
    return await mark(
        step, queries.mark_runtime, status="pending", code=code, error=message, delay=delay, is_outage=True
    )


async def mark_runtime(
    step: Step, status: str, code: str | None = None, message: str | None = None
) -> Outcome:
    return await mark(
        step, queries.mark_runtime, status=status, code=code, error=message, delay=0, is_outage=False
    )
