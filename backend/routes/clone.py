"""Cloning by signed upload: /api/clone/upload-url, then /api/clone/finalize."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from backend import cloning
from backend.alternatives import with_alternatives
from backend.attempts import Attempt
from backend.auth import Caller, UserRequest, require_user
from backend.background import Background
from backend.cloning import Naming, NewAttempt, OpenUpload
from backend.errors import Conflict, ProviderRejected
from backend.idempotency import IDEMPOTENT
from backend.parts import Parts
from backend.routes.voices import Voice, find_voice
from backend.texts import Language, clean_name, clean_transcript


class NewUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What will be uploaded. For a reflection, or for the owner's library without one."""

    consent_id: UUID
    content_type: str
    bytes: Annotated[int, Meta(gt=0)]
    reflection_id: UUID | None = None
    provider: str | None = None


class FinalizeUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    voice_id: UUID
    name: str
    language: Language
    transcript: str | None = None


class CloneController(Controller):
    path = "/api/clone"
    guards = (require_user,)
    tags = ("clone",)

    @post("/upload-url", middleware=IDEMPOTENT)
    async def open_upload(
        self, data: JSONBody[NewUpload], request: UserRequest, parts: NamedDependency[Parts]
    ) -> OpenUpload:
        """Opens an attempt and signs its upload. Activates nothing: a voice that works goes on working."""
        new = NewAttempt(
            consent_id=data.consent_id,
            reflection_id=data.reflection_id,
            content_type=data.content_type,
            bytes=data.bytes,
            provider=data.provider,
        )
        return await cloning.open_upload(parts, request.user, new)

    @post("/finalize", middleware=IDEMPOTENT)
    async def finalize(
        self,
        data: JSONBody[FinalizeUpload],
        caller: NamedDependency[Caller],
        parts: NamedDependency[Parts],
        background: NamedDependency[Background],
    ) -> Response[Voice | Attempt]:
        """201 with the voice when it is made within the wait, else 202 with the attempt."""
        naming = Naming(
            name=clean_name(data.name),
            language=data.language,
            transcript=clean_transcript(data.transcript),
        )
        attempt = await cloning.finalize(parts, background, caller, data.voice_id, naming)
        (shown,) = await with_alternatives(parts, caller, [attempt])
        refuse_ended(shown)
        if attempt.status == "ready":
            return Response(await find_voice(parts, caller, attempt.voice_id), status_code=201)
        return Response(shown, status_code=202)


def refuse_ended(attempt: Attempt) -> None:
    """An attempt that came to nothing says why, each time it is asked."""
    if attempt.status == "failed" and attempt.error is not None:
        raise ProviderRejected(
            attempt.error.message,
            code=attempt.error.code,
            extra={
                "attemptId": attempt.attempt_id,
                "provider": attempt.provider,
                "providerRequestId": attempt.error.provider_request_id,
                "alternatives": attempt.error.alternatives,
            },
        )
    if attempt.status in {"expired", "cancelled"}:
        raise Conflict(
            f"This attempt is {attempt.status}.",
            code=f"attempt_{attempt.status}",
            help="Open a new upload with POST /api/clone/upload-url.",
            extra={"attemptId": attempt.attempt_id, "reason": attempt.cancel_reason},
        )
