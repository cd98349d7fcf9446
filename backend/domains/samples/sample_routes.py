"""Samples by themselves: /api/v1/voice-samples. Names are camelCase, because their specification is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.samples.added import NewSample, add_kept, check_sample, delete_sample
from backend.domains.samples.formats import wav_or_mp3_of
from backend.domains.samples.forms import spool
from backend.domains.samples.preflight import Report
from backend.domains.samples.preparation import require_wav_or_mp3, temporary_file
from backend.domains.samples.stored import ListedSample, SampleStatus, find_sample, list_samples, report
from backend.domains.samples.voice_details import Language, clean_name, clean_transcript
from backend.errors import AppError, InvalidInput, MalformedBody, NotFound
from backend.web.answers import Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import BODY, CODES, form_body
from backend.web.error_codes import DETAILS, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, new_id
from backend.web.pages import PAGE, Page, by_time
from backend.web.rate_limits import POLICY
from backend.web.request_bounds import TAKES_SAMPLE
from backend.web.strict_input import require_valid


class SampleForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The fields beside the file `file`. A `userId` must be the caller's."""

    consent_id: UUID
    language: Language
    transcript: str | None = None
    name: str | None = None
    user_id: UUID | None = None


class SentSample(Struct, frozen=True, kw_only=True, rename="camel"):
    sample_id: UUID


class VoiceSamplesController(Controller):
    path = "/api/v1/voice-samples"
    guards = (require_user,)
    tags = ("voice-samples",)

    @post(
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            TAKES_SAMPLE: True,
            POLICY: "uploads",
            BODY: form_body(SampleForm, "file", "WAV or MP3."),
            CODES: [
                *DETAILS,
                *STORAGE,
                E.CONSENT_REQUIRED,
                E.CONSENT_NOT_SPOKEN,
                E.INVALID_FORMAT,
                E.SAMPLE_TOO_LARGE,
                E.SAMPLE_MISSING,
                E.USER_ID_NOT_OWN,
                E.TOO_MANY_OPEN_SAMPLES,
                E.TOO_MANY_NEW_SAMPLES,
                E.INSPECTION_UNAVAILABLE,
            ],
        },
    )
    async def send_sample(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Response[SentSample]:
        """202: the sample is stored, and inspected soon. Multipart: `file` (WAV or MP3) and the fields."""
        if request.content_type[0] != "multipart/form-data":
            raise MalformedBody("Send multipart/form-data with a file.")
        form = dict((await request.form()).items())
        file = form.pop("file", None)
        if not isinstance(file, UploadFile):
            raise InvalidInput("The form has no file named file.", code="sample_missing", field="file")
        fields: SampleForm = require_valid(form, SampleForm, is_form=True)
        if fields.user_id not in {None, caller.user_id}:
            raise InvalidInput(
                "A sample is sent for its own user.",
                code="user_id_not_own",
                field="userId",
                help="Leave it out, or send the id of the user of the token.",
            )
        name = clean_name(fields.name) if fields.name else None
        transcript = clean_transcript(fields.transcript)
        sample_id = new_id()
        with named_as_sent():
            await check_sample(context, sample_id, caller.user_id, fields.consent_id)
        async with temporary_file() as original:
            size = await spool(file, original, context.settings.attempts.max_sample_bytes, "file")
            new = NewSample(
                id=sample_id,
                user_id=caller.user_id,
                consent_id=fields.consent_id,
                reflection_id=None,
                is_kept=True,
                content_type=require_wav_or_mp3(wav_or_mp3_of(original)),
                bytes=size,
                name=name,
                language=fields.language,
                transcript=transcript,
            )
            with named_as_sent():
                await add_kept(context, new, original)
        return Response(SentSample(sample_id=sample_id), status_code=202)

    @get()
    async def list_samples(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[ListedSample]]:
        """Newest first, by pages."""
        page = Page.of(cursor, limit)
        rows, following = page.cut(await list_samples(context, caller, page), by_time)
        project = context.settings.supabase.url
        return listed([ListedSample.of(row, project) for row in rows], following)

    @get("/{sample_id:uuid}/status", opt={CODES: [E.NOT_FOUND]})
    async def get_sample_status(
        self, sample_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> SampleStatus:
        """`pending`, `processing`, `ready` or `failed`, with what was measured."""
        return SampleStatus.of(await find_sample(context, caller, sample_id))

    @get("/{sample_id:uuid}/report", opt={CODES: [E.NOT_FOUND, E.SAMPLE_NOT_INSPECTED]})
    async def get_sample_report(
        self, sample_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> Report:
        """Each measure against the limit of each configured provider."""
        return await report(context, caller, sample_id)

    @delete("/{sample_id:uuid}", opt={CODES: [E.NOT_FOUND, E.SAMPLE_IN_USE]})
    async def delete_sample(
        self, sample_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> None:
        """With its files. Refused while a voice that was made of it is not deleted."""
        if not await delete_sample(context, caller.user_id, sample_id):
            raise NotFound("There is no such sample.")


class UnversionedVoiceSamplesController(VoiceSamplesController):
    """The addresses without a version, for the clients of the specification."""

    path = "/api/voice-samples"
    include_in_schema = False


@contextmanager
def named_as_sent() -> Iterator[None]:
    """The database names its own columns, this contract is camelCase."""
    try:
        yield
    except AppError as error:
        error.field = {"consent_id": "consentId"}.get(error.field or "", error.field)
        raise
