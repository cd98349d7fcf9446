"""Legacy events: outbox events and webhooks of an older application become attempts, each event once.

An event is stored first. Then its recording is inspected like any sample; why it cannot be cloned is stored
as the reason. After an interruption the same event continues from what is stored.
"""

from typing import Annotated, BinaryIO, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta, Struct
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.added import NewSample, add_inline
from backend.domains.samples.preparation import plain_content_type, require_size, temporary_file
from backend.domains.samples.voice_details import Language, clean_name, clean_transcript
from backend.errors import AppError, InvalidFormat, InvalidInput, SampleTooLarge, StorageUnavailable
from backend.storage.buckets import SAMPLE_BUCKET
from backend.storage.client import ObjectInfo

queries = load_queries(__file__)
Source = Literal["voice_clone_outbox", "conversation_ended"]


class LegacyEvent(Struct, frozen=True, kw_only=True):
    """The id is unique for its source. The rest is kept as it is and read as `RecordingRequest`."""

    event_id: Annotated[str, Meta(min_length=1, max_length=255)]
    reflection_id: UUID


class Recording(Struct, frozen=True, kw_only=True):
    """An object in Storage, in a folder of the reflection's owner: `<user id>/…`."""

    path: str
    bucket: str = SAMPLE_BUCKET


class RecordingRequest(Struct, frozen=True, kw_only=True):
    """The voice that an event requests. Without a name it gets the reflection's."""

    recording: Recording
    name: str | None = None
    language: Language = "en"
    transcript: str | None = None
    provider: str | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """`received`: not decided yet, the recording must be inspected."""

    id: UUID
    outcome: Literal["received", "accepted", "refused", "skipped"]
    code: str | None
    message: str | None
    attempt_id: UUID | None
    user_id: UUID | None
    consent_id: UUID | None
    reflection_name: str | None


async def take_event(
    context: AppContext, source: Source, event: LegacyEvent, payload: dict[str, object]
) -> Decision:
    """Decide the event, or return the earlier decision. Raises in an outage: send the event again."""
    parameters = {
        "source": source,
        "event": event.event_id,
        "reflection": event.reflection_id,
        "payload": Jsonb(payload),
    }
    decision = required(await context.database.fetch_one(queries.receive, parameters, row=Decision))
    if decision.outcome != "received":
        return decision
    try:
        wanted = msgspec.convert(payload, RecordingRequest)
        return await clone_recording(context, decision, event.reflection_id, wanted)
    except msgspec.ValidationError as error:
        return await refuse(context, decision, InvalidInput(str(error)))
    except (InvalidInput, InvalidFormat, SampleTooLarge) as error:
        return await refuse(context, decision, error)


async def refuse(context: AppContext, decision: Decision, error: AppError) -> Decision:
    parameters = {"id": decision.id, "code": error.code, "message": error.message}
    return required(await context.database.fetch_one(queries.refuse, parameters, row=Decision))


async def clone_recording(
    context: AppContext, decision: Decision, reflection_id: UUID, wanted: RecordingRequest
) -> Decision:
    """Raises InvalidInput, InvalidFormat or SampleTooLarge where the recording, or its name, is unfit."""
    provider = context.choose_provider(wanted.provider)
    name = clean_name(wanted.name or decision.reflection_name or "")
    transcript = clean_transcript(wanted.transcript)
    provider.limits.require_language(wanted.language)
    # A received event has an owner and a consent.
    assert decision.user_id is not None and decision.consent_id is not None  # noqa: S101, PT018
    async with temporary_file() as original:
        found = await fetch(context, decision, wanted.recording, original)
        new = NewSample(
            id=uuid4(),
            user_id=decision.user_id,
            consent_id=decision.consent_id,
            reflection_id=reflection_id,
            is_kept=False,
            content_type=known_content_type(found.content_type),
            bytes=found.size,
            name=name,
            language=wanted.language,
            transcript=transcript,
        )
        await add_inline(context, new, original, provider)
    parameters = {
        "id": decision.id,
        "sample": new.id,
        "provider": provider.name,
        "region": provider.region or "",
        "name": name,
        "preview_required": context.settings.attempts.preview_required,
    }
    return required(await context.database.fetch_one(queries.accept, parameters, row=Decision))


async def fetch(
    context: AppContext, decision: Decision, recording: Recording, target: BinaryIO
) -> ObjectInfo:
    """Copy the recording into a file. Refuses a recording of another user."""
    owner, *rest = recording.path.split("/")
    if owner != str(decision.user_id) or not rest or {"", ".", ".."} & set(rest):
        raise InvalidInput(
            "The recording does not lie in a folder of the reflection's owner.", code="recording_not_owned"
        )
    info = await context.storage.info(recording.bucket, recording.path)
    if info is None:
        raise InvalidInput("The recording is not in Storage.", code="recording_missing")
    most = context.settings.attempts.max_sample_bytes
    require_size(info.size, most, "recording")
    size = await context.storage.download_to(recording.bucket, recording.path, target, most)
    if size != info.size:
        raise StorageUnavailable(internal=f"{size} bytes came of {info.size}")
    return info


def known_content_type(content_type: str | None) -> str:
    """What the copy is stored as; the inspection goes by the content."""
    try:
        return plain_content_type(content_type or "")
    except InvalidFormat:
        return "audio/wav"
