"""The step of an upload that is finalized without a call: its object is there, its name was said before.

Safe to run twice: a call of finalize may come as well, and whichever is first queues the attempt.
"""

from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.domains.samples.taking_uploads import Upload, queries, take_upload
from backend.domains.samples.voice_details import VoiceDetails
from backend.errors import AppError, IllegalTransition, Throttled
from backend.queues.outcomes import Done, Outcome, Snooze
from backend.web.logs import log

BUSY_SECONDS = 5.0
LATER = frozenset({"inspection_in_progress"})
NOTHING_LEFT = frozenset({"upload_missing", "not_found"})


class DetailedUpload(Struct, frozen=True, kw_only=True):
    """An upload, and what finalize would be called with."""

    id: UUID
    user_id: UUID
    status: str
    provider: str
    name: str
    language: str
    transcript: str | None


async def finalize_upload(
    context: AppContext, attempt_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """From the queue. Why an upload is refused is kept with its attempt, for its owner to read."""
    parameters = {"attempt": attempt_id}
    found = await context.database.fetch_one(queries.upload_to_finalize, parameters, row=DetailedUpload)
    if found is None:
        return Done("nothing_to_do")
    upload = Upload(id=found.id, user_id=found.user_id, status=found.status, provider=found.provider)
    details = VoiceDetails(name=found.name, language=found.language, transcript=found.transcript)
    try:
        await take_upload(context, upload, details, delay=0)
    except IllegalTransition:  # a call of finalize was first, or the attempt has ended
        return Done("moved_on")
    except AppError as error:
        if error.status >= 500 or isinstance(error, Throttled):
            raise
        if error.code in LATER:
            return Snooze(error.retry_after or BUSY_SECONDS, error.code)
        if error.code in NOTHING_LEFT:
            return Done(error.code)
        values = {"code": error.code, "error": error.message, "message": message_id}
        await context.database.execute(queries.refuse_upload, {**parameters, **values})
        log.info("upload_refused", attempt_id=str(attempt_id), code=error.code)
        return Done(error.code, acknowledged=message_id is not None)
    return Done("queued")
