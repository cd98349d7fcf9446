"""Speech: text spoken with one of the caller's voices."""

from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.speech.jobs import LONGEST_TEXT
from backend.domains.voices.voices import find_speaking_voice, note_speech
from backend.lifecycle.synthesis.speaking import speak_marked
from backend.provenance.formats import FORMATS
from backend.provenance.kept_manifests import keep_manifest
from backend.providers.base import ProviderError, SpeechRequest
from backend.providers.places import find_provider
from backend.providers.problems import as_speech_error
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE, MEDIA
from backend.web.error_codes import SPEAKING, SPEECH_TEXT
from backend.web.error_codes import ErrorCode as E
from backend.web.rate_limits import POLICY, RateLimits

KEPT_CHARACTERS = (
    100  # what a kept manifest of 13 kB counts at least, so that a user has at most a thousand a day
)


class NewSpeech(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    voice_id: UUID
    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
    format: Literal["wav", "mp3", "flac", "m4a", "opus", "pcm"] = "wav"


class SpeechController(Controller):
    path = "/api/generate"
    guards = (require_user,)
    tags = ("speech",)

    @post(
        status_code=200,
        opt={
            POLICY: "speech",
            MEDIA: [each.content_type for each in FORMATS.values()],
            EXAMPLE: {"voice_id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11", "text": "Hello."},
            CODES: [*SPEECH_TEXT, *SPEAKING, E.NOT_FOUND],
        },
    )
    async def generate_speech(
        self,
        data: JSONBody[NewSpeech],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limits: NamedDependency[RateLimits],
    ) -> Response[bytes]:
        """An audio file (WAV: 16-bit PCM, mono), spoken with the model that the voice was made for.

        `opus` is Ogg of 48 kHz; `pcm` is 16-bit little-endian of one channel, with its rate in the content
        type. Neither holds a mark: the answer's header `Link` (`rel="c2pa-manifest"`) has the address of
        the manifest that is kept for it.

        A text longer than the provider takes is spoken in parts, split at sentences, and joined.
        502 `inference_failed` where the provider cannot speak it, 503 with `Retry-After` while it is down,
        or while another account or region of the provider is set up than the voice's.
        """
        voice = await find_speaking_voice(context, caller, data.voice_id)
        request = SpeechRequest(
            provider_voice_id=voice.provider_voice_id,
            target_model=voice.provider_target_model,
            text=data.text,
            language=voice.language,
        )
        wanted = FORMATS[data.format]
        cost = len(data.text) if wanted.holds_mark else max(len(data.text), KEPT_CHARACTERS)
        await limits.use("characters", caller.user_id, cost)
        place = (voice.tts_provider, voice.provider_region, voice.provider_account)
        try:
            provider = find_provider(context.providers, *place)
            speech = await speak_marked(context.marker, provider, request, wanted)
        except ProviderError as error:
            # Where it was removed meanwhile, that is why it failed.
            await find_speaking_voice(context, caller, data.voice_id)
            raise as_speech_error(error) from error
        # Deleted or revoked while it spoke: nothing that it said is sent.
        voice = await find_speaking_voice(context, caller, data.voice_id)
        await note_speech(context, caller, data.voice_id, voice)
        headers = {"content-disposition": f'inline; filename="speech.{wanted.name}"'}
        if speech.manifest is not None:
            digest = await keep_manifest(context.database, speech.audio, speech.manifest)
            headers["link"] = f'</v1/provenance/{digest}>; rel="c2pa-manifest"'
        rate = f";rate={speech.sample_rate}" if wanted.name == "pcm" else ""
        return Response(speech.audio, media_type=f"{wanted.content_type}{rate}", headers=headers)
