"""Cloning an employee by an admin: their recorded call is prepared, then an attempt is queued.

docs/decisions/0049-an-attempt-for-an-employee.md
"""

from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.employees.prepared_recordings import (
    Cloning,
    choose_provider,
    drop,
    parameters_of,
    prepare_recording,
    request_of,
)
from backend.domains.samples.voice_details import Language
from backend.errors import Conflict, ConsentRequired
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives
from backend.lifecycle.values import Provider
from backend.web.idempotency import has_key, has_result, new_id, once

queries = load_queries(__file__)


class NewEmployeeClone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    language: Language = "en"
    provider: Provider | None = None


async def clone_employee(
    context: AppContext, caller: Caller, employee_id: UUID, new: NewEmployeeClone
) -> AttemptRow:
    """The queued attempt. Authorised before the recording is read; a refused one leaves no copy."""
    provider = choose_provider(context, new.provider, new.language)
    cloning = Cloning(id=new_id(), employee_id=employee_id, user_id=caller.user_id, is_repeatable=has_key())
    if not has_result():  # else an earlier request with this idempotency key has cloned it
        await prepare_recording(context, cloning, new.language, provider)
    parameters = {
        **parameters_of(context, cloning),
        **request_of(context, provider),
        "attempt": cloning.id,
        "sample": cloning.id,
    }
    try:
        return required(await once(context.database, queries.clone_recording, parameters, row=AttemptRow))
    except ConsentRequired:  # it was revoked meanwhile
        await drop(context, cloning)
        raise
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error
