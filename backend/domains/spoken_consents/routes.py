"""Spoken consents: a sentence to read, and a signature with its recording.

Where the project asks for them, no sample is taken without one: docs/decisions/0080-spoken-consents.md
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Controller, Request, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct
from psycopg.types.json import Jsonb

from backend.audio.spoken import SpokenExaminer
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.domains.consents.routes import Consent, StatementVersion
from backend.domains.samples.forms import spool
from backend.domains.samples.preparation import temporary_file
from backend.domains.spoken_consents.examining import prove, queries, require_locale
from backend.domains.spoken_consents.sentences import random_sentence
from backend.errors import InvalidInput, MalformedBody
from backend.web.authentication import require_user
from backend.web.contract import BODY, CODES, EXAMPLE, form_body
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, has_result, once
from backend.web.rate_limits import POLICY
from backend.web.request_bounds import MORE_BYTES, TAKES_SAMPLE
from backend.web.strict_input import require_valid

RECORDING_BYTES = 4 * 1024 * 1024  # twenty seconds of any common format


class NewChallenge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`version`: of the text that was shown."""

    locale: str = "en"
    version: StatementVersion


class Challenge(Struct, frozen=True, kw_only=True):
    """The sentence to read. It is used once, and no longer than until `expires_at`."""

    challenge_id: UUID
    sentence: str
    expires_at: datetime


class SpokenForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields beside the files. `reflection_id`: where the consent is for the voice of one reflection."""

    challenge_id: UUID
    reflection_id: UUID | None = None


class SpokenConsentsController(Controller):
    path = "/v1"
    guards = (require_user,)
    tags = ("consents",)

    @post(
        "/consent-challenges",
        opt={
            POLICY: "spoken_consents",
            EXAMPLE: {"locale": "en", "version": 1},
            CODES: [
                E.STATEMENT_NOT_FOUND,
                E.STATEMENT_OUTDATED,
                E.SPOKEN_LOCALE_UNSUPPORTED,
                E.SPOKEN_CONSENT_UNAVAILABLE,
            ],
        },
    )
    async def open_challenge(
        self,
        data: JSONBody[NewChallenge],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Challenge:
        """A random sentence of the language of the statement. The one before is void."""
        require_locale(data.locale)
        parameters = {
            "user": caller.user_id,
            "locale": data.locale,
            "version": data.version,
            "sentence": random_sentence(data.locale),
        }
        return required(await context.database.fetch_one(queries.open, parameters, row=Challenge))

    @post(
        "/consents/spoken",
        middleware=IDEMPOTENT,
        opt={
            TAKES_SAMPLE: True,
            MORE_BYTES: RECORDING_BYTES,
            POLICY: "spoken_consents",
            BODY: form_body(
                SpokenForm, "recording", "The sentence, read aloud. `sample`, a second file: the sample."
            ),
            CODES: [
                E.NOT_FOUND,
                E.CHALLENGE_INVALID,
                E.STATEMENT_OUTDATED,
                E.SAMPLE_MISSING,
                E.SAMPLE_TOO_LARGE,
                E.SAMPLE_TOO_LONG,
                E.SAMPLE_DAMAGED,
                E.SAMPLE_TRUNCATED,
                E.TOO_MANY_SAMPLES,
                E.INVALID_FORMAT,
                E.SPOKEN_WORDS_DIFFER,
                E.SPOKEN_BY_ANOTHER,
                E.SPOKEN_TOO_SHORT,
                E.TOO_MANY_INSPECTIONS,
                E.INSPECTION_UNAVAILABLE,
                E.SPOKEN_CONSENT_UNAVAILABLE,
            ],
        },
    )
    async def sign_spoken_consent(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        spoken_examiner: NamedDependency[SpokenExaminer],
    ) -> Consent:
        """Signs the statement of the sentence, for this sample alone. Neither file is kept."""
        require_locale("en")
        if request.content_type[0] != "multipart/form-data":
            raise MalformedBody("Send multipart/form-data with a recording and a sample.")
        async with spoken_examiner.place(caller.user_id):
            form = dict((await request.form()).items())
            files = [form.pop(name, None) for name in ("recording", "sample")]
            fields: SpokenForm = require_valid(form, SpokenForm, is_form=True)
            proof = {} if has_result() else await self._proof(context, spoken_examiner, caller, fields, files)
        parameters = {
            "user": caller.user_id,
            "challenge": fields.challenge_id,
            "subject_kind": "self" if fields.reflection_id is None else "reflection",
            "subject_id": fields.reflection_id,
            "proof": Jsonb(proof),
        }
        return required(await once(context.database, queries.sign, parameters, row=Consent))

    async def _proof(
        self,
        context: AppContext,
        examiner: SpokenExaminer,
        caller: Caller,
        fields: SpokenForm,
        files: list[Any],
    ) -> dict[str, Any]:
        recording, sample = (require_file(*each) for each in zip(("recording", "sample"), files, strict=True))
        async with temporary_file() as spoken, temporary_file() as sampled:
            await spool(recording, spoken, RECORDING_BYTES, "recording")
            await spool(sample, sampled, context.settings.attempts.max_sample_bytes, "sample")
            return await prove(context, examiner, caller.user_id, fields.challenge_id, spoken, sampled)


def require_file(name: str, file: object) -> UploadFile:
    if not isinstance(file, UploadFile):
        raise InvalidInput(f"The form has no file named {name}.", code="sample_missing", field=name)
    return file
