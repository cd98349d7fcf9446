"""Consents: the statements that people sign, their signatures, and revocations."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.audio.spoken import can_hear
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.consents.revocation import Revocation, revoke
from backend.errors import InvalidInput
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, once

queries = load_queries(__file__)


StatementVersion = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ConsentStatement(Struct, frozen=True, kw_only=True):
    """What is signed, word for word.

    `spoken`: whether a sample needs that it is signed by reading a sentence aloud, with
    `POST /v1/consents/spoken`, and whether this service can hear that language.
    """

    statement: str
    version: int
    locale: str
    body: str
    spoken: Literal["no", "required", "unavailable"]


class StoredStatement(Struct, frozen=True, kw_only=True):
    statement: str
    version: int
    locale: str
    body: str
    spoken: bool

    def shown(self) -> ConsentStatement:
        spoken = "no" if not self.spoken else "required" if can_hear(self.locale) else "unavailable"
        return ConsentStatement(
            statement=self.statement,
            version=self.version,
            locale=self.locale,
            body=self.body,
            spoken=spoken,
        )


class Subject(Struct, frozen=True, kw_only=True):
    """Whose voice: the signer's own, for all their reflections, or that of one reflection."""

    kind: Literal["self", "reflection"] = "self"
    id: UUID | None = None


class NewConsent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`version`: of the text that was shown. One that is not the current one is refused."""

    statement: str = "voice_clone"
    locale: str = "en"
    version: StatementVersion
    subject: Subject = Subject()


class Consent(Struct, frozen=True, kw_only=True):
    """A signature: an entry of the signer's hash chain. The hash is hexadecimal SHA-256."""

    consent_id: UUID
    statement: str
    version: int
    locale: str
    subject: Subject
    signed_at: datetime
    hash: str


class ConsentsController(Controller):
    path = "/v1"
    tags = ("consents",)

    @get("/consent-statements")
    async def list_statements(self, context: NamedDependency[AppContext]) -> list[ConsentStatement]:
        """The latest version of each, in every locale."""
        stored = await context.database.reads.fetch_all(queries.statements, row=StoredStatement)
        return [each.shown() for each in stored]

    @post(
        "/consents",
        guards=[require_user],
        middleware=IDEMPOTENT,
        opt={
            EXAMPLE: {"statement": "voice_clone", "locale": "en", "version": 1, "subject": {"kind": "self"}},
            CODES: [E.NOT_FOUND, E.STATEMENT_NOT_FOUND, E.STATEMENT_OUTDATED],
        },
    )
    async def sign_consent(
        self,
        data: JSONBody[NewConsent],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Consent:
        """Signs the statement that was shown, for the caller's own voice, or for that of one reflection."""
        if (data.subject.kind == "self") != (data.subject.id is None):
            raise InvalidInput(
                "A subject of kind reflection has the reflection's id, one of kind self has none.",
                field="subject",
            )
        parameters = {
            "user": caller.user_id,
            "statement": data.statement,
            "locale": data.locale,
            "version": data.version,
            "subject_kind": data.subject.kind,
            "subject_id": data.subject.id,
        }
        return required(await once(context.database, queries.sign, parameters, row=Consent))

    @delete(
        "/consents/{consent_id:uuid}",
        status_code=200,
        guards=[require_user],
        opt={CODES: [E.NOT_FOUND, E.CONSENT_NOT_REVOKED]},
    )
    async def revoke_consent(
        self,
        consent_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Revocation:
        """Cancels the attempts under this consent; voices made under it can no longer speak.

        A 503 `consent_not_revoked` says that the consent is still in force. The same call again is safe.
        """
        return await revoke(context, consent_id, caller.user_id)
