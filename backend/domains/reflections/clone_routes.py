"""Routes that clone for a reflection in one request: a sample as multipart, or the id of an inspected one."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.reflections import clone
from backend.domains.reflections.reflections import require_reflection
from backend.domains.samples.forms import sent_content_type, spool
from backend.domains.samples.preparation import temporary_file
from backend.domains.samples.uploads import NewAttempt
from backend.domains.samples.voice_details import Language, VoiceDetails, clean_name, clean_transcript
from backend.errors import InvalidInput, MalformedBody
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.values import Provider
from backend.web.answers import Answer
from backend.web.authentication import require_user
from backend.web.contract import BODY, CODES, EXAMPLE, form_body
from backend.web.error_codes import CLONING, INSPECTION, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.rate_limits import POLICY
from backend.web.request_bounds import TAKES_SAMPLE
from backend.web.requests import read_json
from backend.web.strict_input import require_valid


class CloneSample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sample of the caller's that was inspected before."""

    sample_id: UUID
    name: str
    provider: Provider | None = None


class CloneForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields beside the file `sample`."""

    consent_id: UUID
    name: str
    language: Language
    transcript: str | None = None
    provider: Provider | None = None


class VoiceCloneController(Controller):
    path = "/v1/reflections/{reflection_id:uuid}/voice"
    guards = (require_user,)
    tags = ("reflections",)

    @post(
        "/clone",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            TAKES_SAMPLE: True,
            POLICY: "uploads",
            BODY: form_body(CloneForm, "sample", "The recording.", or_json=CloneSample),
            EXAMPLE: {"sample_id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11", "name": "My voice"},
            CODES: [*CLONING, *INSPECTION, *STORAGE, E.SAMPLE_MISSING, E.SAMPLE_NOT_READY],
        },
    )
    async def clone_reflection_voice(
        self,
        reflection_id: FromPath[UUID],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Response[Attempt]:
        """202 with the attempt, queued. Multipart (`sample` and the fields) or JSON (`sample_id`)."""
        await require_reflection(context, caller, reflection_id)
        kind = request.content_type[0]
        if kind == "application/json":
            data = read_json(await request.body(), CloneSample)
            name = clean_name(data.name)
            attempt = await clone.clone_sample(
                context, caller, reflection_id, data.sample_id, data.provider, name
            )
        elif kind == "multipart/form-data":
            attempt = await self._clone_file(context, caller, reflection_id, request)
        else:
            raise MalformedBody("Send multipart/form-data with a sample, or JSON with a sample_id.")
        return Answer(Attempt.of(attempt), status_code=202)

    async def _clone_file(
        self, context: AppContext, caller: Caller, reflection_id: UUID, request: Request[Any, Any, Any]
    ) -> Any:
        form = dict((await request.form()).items())
        sample = form.pop("sample", None)
        if not isinstance(sample, UploadFile):
            raise InvalidInput("The form has no file named sample.", code="sample_missing", field="sample")
        fields: CloneForm = require_valid(form, CloneForm, is_form=True)
        details = VoiceDetails(
            name=clean_name(fields.name),
            language=fields.language,
            transcript=clean_transcript(fields.transcript),
        )
        async with temporary_file() as original:
            size = await spool(sample, original, context.settings.attempts.max_sample_bytes)
            new = NewAttempt(
                consent_id=fields.consent_id,
                reflection_id=reflection_id,
                content_type=sent_content_type(original, sample.content_type),
                bytes=size,
                provider=fields.provider,
            )
            return await clone.clone_file(context, caller, original, new, details)
