"""Speech: text spoken with one of the caller's voices."""

from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.errors import InferenceFailed, InvalidInput
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest
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
        """A WAV file (16-bit PCM, mono), spoken with the model that the voice was made for."""
        voice = await find_voice(context, caller, data.voice_id)
        provider = context.choose_provider(voice.provider)
        request = SpeechRequest(
            provider_voice_id=voice.provider_voice_id,
            target_model=voice.target_model,
            text=data.text,
            language=voice.language,
        )
        try:
            speech = await provider.synthesize(request)
        except ProviderError as error:
            if error.kind is ErrorKind.REJECTED and error.code.startswith("text_"):
                raise InvalidInput(error.message, code=error.code, field="text") from error
            if error.kind is ErrorKind.REJECTED:
                extra = {"provider": error.provider, "providerRequestId": error.request_id}
                raise InferenceFailed(error.message, extra=extra) from error
            raise
        return Response(
            speech, media_type="audio/wav", headers={"content-disposition": 'inline; filename="speech.wav"'}
        )
