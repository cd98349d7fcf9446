"""Erasure of all that is held about the caller, its receipt, and how long what is kept."""

from uuid import UUID

from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.erasures.erasures import Receipt, erase, queries, read_receipt
from backend.web.authentication import require_user
from backend.web.contract import CODES
from backend.web.error_codes import ErrorCode as E


class Retention(Struct, frozen=True, kw_only=True):
    """`seconds` is null where it is kept until its user deletes it, or the space is needed."""

    name: str
    seconds: float | None
    purpose: str


class ErasuresController(Controller):
    path = "/v1"
    tags = ("erasure",)

    @delete("/me", status_code=202, guards=[require_user], opt={CODES: [E.NOT_ERASED]})
    async def erase_me(
        self, caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> Receipt:
        """Erase everything of yours: voices, samples, previews, speeches, webhooks. There is no way back.

        Nothing speaks with your voices from the answer on. Removal at providers and in Storage follows, and
        the receipt says where it is confirmed. Your account stays; consents and events stay without your
        person. A repeated call answers with the same receipt. 503 `not_erased`: nothing was erased yet.
        """
        return await erase(context, caller.user_id)

    @get("/me/erasures/{erasure_id:uuid}", guards=[require_user], opt={CODES: [E.NOT_FOUND]})
    async def get_erasure(
        self,
        erasure_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Receipt:
        """The receipt as of now: what is not confirmed yet is looked at again."""
        return await read_receipt(context, erasure_id, caller.user_id)

    @get("/retention")
    async def list_retention(self, context: NamedDependency[AppContext]) -> list[Retention]:
        """How long what is kept, by the live settings. Public."""
        return await context.database.reads.fetch_all(queries.retention, row=Retention)
