"""The preview: a clip in the new voice, which its owner hears before launch."""

from uuid import UUID

from backend.context import AppContext
from backend.errors import MarkingUnavailable, StorageUnavailable
from backend.lifecycle.claim import Step, claimed, is_outage, mark, queries, waiting_delay
from backend.lifecycle.provider_errors import note_provider_error
from backend.lifecycle.synthesis.speaking import speak_marked
from backend.providers.base import ProviderError, SpeechRequest
from backend.queues.outcomes import Outcome
from backend.storage.buckets import PREVIEW_BUCKET

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


async def render_preview(context: AppContext, attempt_id: UUID, *, message_id: int | None = None) -> Outcome:
    """Speak the preview text with the voice and store the clip for its owner."""
    async with claimed(context, queries.claim_step, attempt_id, message_id, step="preview") as step:
        if not isinstance(step, Step):
            return step
        work = step.work
        try:
            request = SpeechRequest(
                provider_voice_id=work.provider_voice_id or "",
                target_model=work.target_model or "",
                text=PREVIEW_TEXTS.get(work.language, PREVIEW_TEXTS["en"]),
                language=work.language,
            )
            clip = await speak_marked(context.marker, step.provider(), request)
            path = f"{work.owner_id}/{work.attempt_id}/preview-{step.epoch}.wav"
            await context.storage.upload(PREVIEW_BUCKET, path, clip.audio, "audio/wav", upsert=True)
        except ProviderError as error:
            await note_provider_error(context, attempt_id, "preview", error)
            if is_outage(step, error):
                return await wait_for_preview(step, error.code, error.message, waiting_delay(step, error))
            return await mark_preview(step, "failed", error.code, error.message)
        except (StorageUnavailable, MarkingUnavailable) as error:
            return await wait_for_preview(step, error.code, error.message, waiting_delay(step, error))
        return await mark_preview(step, "rendered", path=path)


async def wait_for_preview(step: Step, code: str, message: str, delay: float) -> Outcome:
    """Later, without a try that counts: the provider, Storage or the key of marks is away."""
    wait = {"status": "required", "path": None, "delay": delay, "is_outage": True}
    return await mark(step, queries.mark_preview, code=code, error=message, **wait)


async def mark_preview(
    step: Step, status: str, code: str | None = None, message: str | None = None, path: str | None = None
) -> Outcome:
    result = {"status": status, "path": path, "delay": 0, "is_outage": False}
    return await mark(step, queries.mark_preview, code=code, error=message, **result)
