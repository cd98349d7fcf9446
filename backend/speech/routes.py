"""Speech: text spoken with one of the caller's voices."""

from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.providers.base import ProviderError, SpeechRequest
from backend.providers.problems import as_speech_error
from backend.voices.voices import find_voice
from backend.web.authentication import require_user


class NewSpeech(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    voice_id: UUID
    text: Annotated[str, Meta(min_length=1)]
    format: Literal["wav"] = "wav"


class SpeechController(Controller):
    path = "/api/generate"
    guards = (require_user,)
    tags = ("speech",)

    @post(status_code=200)
    async def generate(
        self, data: JSONBody[NewSpeech], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> Response[bytes]:
        """A WAV file (16-bit PCM, mono), spoken with the model that the voice was made for.

        502 `inference_failed` where the provider cannot speak it, 503 with `Retry-After` while it is down.
        """
        voice = await find_voice(context, caller, data.voice_id)
        provider = context.choose_provider(voice.tts_provider)
        request = SpeechRequest(
            provider_voice_id=voice.provider_voice_id,
            target_model=voice.provider_target_model,
            text=data.text,
            language=voice.language,
        )
        try:
            speech = await provider.synthesize(request)
        except ProviderError as error:
            raise as_speech_error(error) from error
        # Deleted or revoked while it spoke: nothing that it said is sent.
        await find_voice(context, caller, data.voice_id)
        return Response(
            speech, media_type="audio/wav", headers={"content-disposition": 'inline; filename="speech.wav"'}
        )
