"""What a provider answered where a step failed, kept for operators: `likeness attempts show`."""

from uuid import UUID

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError
from backend.providers.base import ProviderError
from backend.web.logs import log

queries = load_queries(__file__)


async def note_provider_error(context: AppContext, subject: UUID, step: str, error: ProviderError) -> None:
    """Of an attempt or an enrollment. Nothing is kept where nothing was answered.

    Nothing depends on it, so a database that refuses it does not end the step: the log has it.
    """
    if error.status is None:
        return
    values = {
        "subject": subject,
        "step": step,
        "provider": error.provider,
        "code": error.code,
        "status": error.status,
        "provider_code": error.provider_code,
        "message": error.provider_message,
        "request_id": error.request_id,
    }
    try:
        await context.database.execute(queries.note_provider_error, values)
    except AppError as failure:
        log.warning("provider_error_not_kept", subject=str(subject), step=step, code=failure.code)
