"""Cloning by signed upload: /api/clone/upload-url, then /api/clone/finalize."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct
from msgspec.structs import asdict

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.samples import uploads
from backend.domains.samples.alternatives import with_alternatives
from backend.domains.samples.uploads import NewAttempt, OpenUpload
from backend.domains.samples.voice_details import Language, VoiceDetails, clean_name, clean_transcript
from backend.domains.voices.voices import Voice, find_voice
from backend.errors import Conflict, InvalidInput, ProviderRejected
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.values import Provider
from backend.web.answers import Answer
from backend.web.authentication import UserRequest, require_user
from backend.web.background import Background
from backend.web.contract import CODES, EXAMPLE, OF_ATTEMPT
from backend.web.error_codes import CLONING, INSPECTION, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.rate_limits import POLICY


class NewUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What will be uploaded. For a reflection, or for the owner's library without one.

    `bytes`: of the file; an object of another size is refused. After a refusal for what is in the file,
    another recording of any size may follow to the same URL.

    With `name` and `language` the upload is finalized when its file arrives, without a call.
    """

    consent_id: UUID
    content_type: str
    bytes: Annotated[int, Meta(gt=0)]
    reflection_id: UUID | None = None
    provider: Provider | None = None
    name: str | None = None
    language: Language | None = None
    transcript: str | None = None

    @property
    def details(self) -> VoiceDetails | None:
        if self.name is None and self.language is None and self.transcript is None:
            return None
        if self.name is None or self.language is None:
            raise InvalidInput(
                "An upload that is finalized by itself has a name and a language.",
                field="language" if self.language is None else "name",
            )
        transcript = clean_transcript(self.transcript)
        return VoiceDetails(name=clean_name(self.name), language=self.language, transcript=transcript)


class FinalizedUpload(Attempt, frozen=True, kw_only=True):
    """The attempt, and its voice once it is ready."""

    voice: Voice | None


class FinalizeUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    voice_id: UUID
    name: str
    language: Language
    transcript: str | None = None


NOT_READY = ResponseSpec(
    FinalizedUpload, description="The attempt is not ready yet: follow it.", generate_examples=False
)
ENDED = [
    E.UPLOAD_MISSING,
    E.INSPECTION_IN_PROGRESS,
    E.ATTEMPT_EXPIRED,
    E.ATTEMPT_CANCELLED,
    E.ILLEGAL_TRANSITION,
]


class CloneController(Controller):
    path = "/api/clone"
    guards = (require_user,)
    tags = ("clone",)

    @post(
        "/upload-url",
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            EXAMPLE: {
                "consent_id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11",
                "content_type": "audio/wav",
                "bytes": 480044,
            },
            CODES: [*CLONING, *STORAGE, E.INVALID_FORMAT, E.SAMPLE_TOO_LARGE],
        },
    )
    async def open_upload(
        self, data: JSONBody[NewUpload], request: UserRequest, context: NamedDependency[AppContext]
    ) -> OpenUpload:
        """Opens an attempt and signs its upload. Activates nothing: the current voice keeps working."""
        new = NewAttempt(
            consent_id=data.consent_id,
            reflection_id=data.reflection_id,
            content_type=data.content_type,
            bytes=data.bytes,
            provider=data.provider,
            details=data.details,
        )
        return await uploads.open_upload(context, request.user, new)

    @post(
        "/finalize",
        middleware=IDEMPOTENT,
        responses={202: NOT_READY},
        opt={
            POLICY: "finalizations",
            EXAMPLE: {
                "voice_id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11",
                "name": "My voice",
                "language": "en",
            },
            CODES: [*CLONING, *INSPECTION, *STORAGE, *ENDED],
            OF_ATTEMPT: True,
        },
    )
    async def finalize_upload(
        self,
        data: JSONBody[FinalizeUpload],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        background: NamedDependency[Background],
    ) -> Response[FinalizedUpload]:
        """201 with the voice if it is ready within the wait, else 202 without it. The same shape for both.

        502 with the code of the attempt's error where it failed.
        """
        details = VoiceDetails(
            name=clean_name(data.name),
            language=data.language,
            transcript=clean_transcript(data.transcript),
        )
        attempt = await uploads.finalize(context, background, caller, data.voice_id, details)
        (shown,) = await with_alternatives(context, caller, [attempt])
        refuse_ended(shown)
        is_ready = attempt.status == "ready"
        voice = await find_voice(context, caller, attempt.voice_id) if is_ready else None
        return Answer(FinalizedUpload(**asdict(shown), voice=voice), status_code=201 if is_ready else 202)


def refuse_ended(attempt: Attempt) -> None:
    """Raises the reason where the attempt failed, expired or was cancelled."""
    if attempt.status == "failed" and attempt.error is not None:
        raise ProviderRejected(
            attempt.error.message,
            code=attempt.error.code,
            extra={
                "attempt_id": attempt.attempt_id,
                "provider": attempt.provider,
                "provider_request_id": attempt.error.provider_request_id,
                "alternatives": attempt.error.alternatives,
            },
        )
    if attempt.status in {"expired", "cancelled"}:
        raise Conflict(
            f"This attempt is {attempt.status}.",
            code=f"attempt_{attempt.status}",
            help="Open a new upload with POST /api/clone/upload-url.",
            extra={"attempt_id": attempt.attempt_id, "reason": attempt.cancel_reason},
        )
