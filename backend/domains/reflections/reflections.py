"""Operations on a reflection that several routes share."""

from uuid import UUID

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import NotFound
from backend.lifecycle.attempts import AttemptRow
from backend.web.idempotency import once

queries = load_queries(__file__)


async def owner_step(context: AppContext, caller: Caller, reflection_id: UUID, statement: str) -> AttemptRow:
    """One transition that the owner requests. `statement` takes the reflection and the user."""
    parameters = {"reflection": reflection_id, "user": caller.user_id}
    return required(await once(context.database, statement, parameters, row=AttemptRow))


async def require_reflection(context: AppContext, caller: Caller, reflection_id: UUID) -> None:
    parameters = {"reflection": reflection_id, "user": caller.user_id}
    if not await context.database.reads.fetch_value(queries.exists, parameters, of=bool):
        raise no_reflection()


def no_reflection() -> NotFound:
    return NotFound("There is no such reflection.")
