"""Legacy events: outbox events and webhooks of an older application become attempts, each event once.

An event is stored first. Then its recording is inspected like any sample; why it cannot be cloned is stored
as the reason. After an interruption the same event continues from what is stored.
"""

from typing import Annotated, BinaryIO, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, to_builtins
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import AppError, InvalidFormat, InvalidInput, SampleTooLarge, StorageUnavailable
from backend.samples.preparation import (
    PreparedSample,
    plain_content_type,
    prepare,
    prepared_path,
    read_whole,
    require_size,
    sample_path,
    temporary_file,
)
from backend.samples.voice_details import Language, clean_name, clean_transcript
from backend.storage.buckets import SAMPLE_BUCKET

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
        return await clone_recording(context, decision, msgspec.convert(payload, RecordingRequest))
    except msgspec.ValidationError as error:
        return await refuse(context, decision, InvalidInput(str(error)))
    except (InvalidInput, InvalidFormat, SampleTooLarge) as error:
        return await refuse(context, decision, error)


async def refuse(context: AppContext, decision: Decision, error: AppError) -> Decision:
    parameters = {"id": decision.id, "code": error.code, "message": error.message}
    return required(await context.database.fetch_one(queries.refuse, parameters, row=Decision))


async def clone_recording(context: AppContext, decision: Decision, wanted: RecordingRequest) -> Decision:
    """Raises InvalidInput, InvalidFormat or SampleTooLarge where the recording, or its name, is unfit."""
    provider = context.choose_provider(wanted.provider)
    name = clean_name(wanted.name or decision.reflection_name or "")
    transcript = clean_transcript(wanted.transcript)
    provider.limits.require_language(wanted.language)
    async with temporary_file() as original, temporary_file() as wav:
        await fetch(context, decision, wanted.recording, original)
        prepared = await prepare(context, original, wav, provider.limits, decision.user_id)
        paths = await store(context, decision, original, prepared)
    parameters = {
        **paths,
        "id": decision.id,
        "provider": provider.name,
        "region": provider.region or "",
        "name": name,
        "language": wanted.language,
        "transcript": transcript,
        "content_type": prepared.content_type,
        "bytes": prepared.bytes,
        "prepared_bytes": len(prepared.wav),
        "measures": Jsonb(to_builtins(prepared.inspection)),
        "preview_required": context.settings.attempts.preview_required,
    }
    return required(await context.database.fetch_one(queries.accept, parameters, row=Decision))


async def fetch(context: AppContext, decision: Decision, recording: Recording, target: BinaryIO) -> None:
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


async def store(
    context: AppContext, decision: Decision, original: BinaryIO, prepared: PreparedSample
) -> dict[str, str]:
    """Store the recording and its prepared WAV in the sample bucket. The attempt has the event's id."""
    assert decision.user_id is not None  # noqa: S101 - a received event has an owner
    content_type = plain_content_type(prepared.content_type)
    paths = {
        "path": sample_path(decision.user_id, decision.id, content_type),
        "prepared_path": prepared_path(decision.user_id, decision.id),
    }
    objects = [
        (paths["path"], await read_whole(original), content_type),
        (paths["prepared_path"], prepared.wav, "audio/wav"),
    ]
    for path, content, content_type in objects:
        await context.storage.upload(SAMPLE_BUCKET, path, content, content_type, upsert=True)
    return paths
