"""Taking an upload: what finalize does with its object, by a call or because the object arrived."""

from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.domains.samples.sample_leases import claimed_upload
from backend.domains.samples.sample_step import UPLOAD_AGAIN, run
from backend.domains.samples.voice_details import VoiceDetails

queries = load_queries(__file__)


class Upload(Struct, frozen=True, kw_only=True):
    """An upload as it was opened."""

    id: UUID
    user_id: UUID
    status: str
    provider: str


async def take_upload(context: AppContext, upload: Upload, details: VoiceDetails, delay: int) -> None:
    """Run the step of the uploaded sample inline, then queue its attempt; a refused object is deleted."""
    provider = context.choose_provider(upload.provider)
    provider.limits.require_language(details.language)
    async with (
        context.inspector.turns.of(upload.id),
        claimed_upload(context, upload.id, upload.user_id, details) as step,
    ):
        if step is not None:
            await run(step, provider.limits, UPLOAD_AGAIN)
        parameters = {
            "attempt": upload.id,
            "user": upload.user_id,
            "name": details.name,
            "language": details.language,
            "transcript": details.transcript,
            "delay": delay,
        }
        await context.database.execute(queries.queue, parameters)
