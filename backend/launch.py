"""What makes a ready voice launchable: the runtime knows it, and its owner has heard a preview."""

from uuid import UUID

from backend.errors import StaleLease, StorageUnavailable
from backend.leases import Step, StepAnswer, claimed, queries, retry_delay
from backend.parts import Parts
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest, VoiceProvider
from backend.telemetry import log

MISSING = ("voice_missing", "The provider does not have this voice any more. Record a new sample.")
UNLISTED = ("voice_unlisted", "The provider does not list this new voice yet.")
PREVIEW_BUCKET = "voice-previews"
PREVIEW_TEXTS = {
    "de": "Hallo. So klingt diese Stimme, wenn sie für dich spricht.",
    "en": "Hello. This is how this voice sounds when it speaks for you.",
    "es": "Hola. Así suena esta voz cuando habla por ti.",
    "fr": "Bonjour. Voici comment cette voix parle pour vous.",
    "it": "Ciao. Ecco come suona questa voce quando parla per te.",
    "ja": "こんにちは。この声はこのように話します。",
    "ko": "안녕하세요. 이 목소리는 이렇게 들립니다.",
    "pt": "Olá. É assim que esta voz soa quando fala por si.",
    "ru": "Здравствуйте. Так звучит этот голос, когда он говорит за вас.",
    "zh": "你好。这就是这个声音为你说话时的样子。",
}


async def sync_runtime(parts: Parts, attempt_id: UUID, *, message_id: int | None = None) -> StepAnswer:
    """Ask the provider, which speaks live, whether it serves this voice with this target model."""
    async with claimed(parts, queries.claim_step, attempt_id, message_id, step="runtime") as step:
        return step if isinstance(step, StepAnswer) else await sync(step)


async def sync(step: Step) -> StepAnswer:
    """The same, for whoever has the lease already."""
    provider = step.parts.providers.get(step.work.provider)
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


async def render_preview(parts: Parts, attempt_id: UUID, *, message_id: int | None = None) -> StepAnswer:
    """Speak the preview text with the voice and store the clip for its owner."""
    async with claimed(parts, queries.claim_step, attempt_id, message_id, step="preview") as step:
        if isinstance(step, StepAnswer):
            return step
        work = step.work
        provider = parts.providers.get(work.provider)
        if provider is None:
            return await mark_preview(
                step, "failed", "provider_not_configured", "This voice provider is not set up here."
            )
        try:
            clip = await provider.synthesize(
                SpeechRequest(
                    provider_voice_id=work.provider_voice_id or "",
                    target_model=work.target_model or "",
                    text=PREVIEW_TEXTS.get(work.language, PREVIEW_TEXTS["en"]),
                    language=work.language,
                )
            )
            path = f"{work.user_id}/{work.attempt_id}/preview-{step.epoch}.wav"
            await parts.storage.upload(PREVIEW_BUCKET, path, clip, "audio/wav", upsert=True)
        except ProviderError as error:
            status = "required" if may_pass(error) else "failed"
            delay = retry_delay(work.preview_count, error)
            return await mark_preview(step, status, error.code, error.message, delay)
        except StorageUnavailable as error:
            return await mark_preview(
                step, "required", error.code, error.message, retry_delay(work.preview_count)
            )
        return await mark_preview(step, "rendered", path=path)


def may_pass(error: ProviderError) -> bool:
    """Reading and speaking change nothing at the provider, so an unknown outcome may be tried again too."""
    log.warning("provider_failed", error=str(error))
    return error.kind in {ErrorKind.THROTTLED, ErrorKind.UNAVAILABLE, ErrorKind.UNKNOWN}


async def mark_runtime(
    step: Step, status: str, code: str | None = None, message: str | None = None, delay: float = 0
) -> StepAnswer:
    return await mark(step, queries.mark_runtime, status=status, code=code, error=message, delay=delay)


async def mark_preview(
    step: Step,
    status: str,
    code: str | None = None,
    message: str | None = None,
    delay: float = 0,
    path: str | None = None,
) -> StepAnswer:
    return await mark(
        step, queries.mark_preview, status=status, code=code, error=message, delay=delay, path=path
    )


async def mark(step: Step, statement: str, **values: object) -> StepAnswer:
    try:
        await step.parts.database.execute(statement, step.write(**values))
    except StaleLease:
        return StepAnswer(outcome="done", reason="stale_lease")
    return StepAnswer(
        outcome="done", archived=step.message_id is not None, reason=str(values["code"] or values["status"])
    )
