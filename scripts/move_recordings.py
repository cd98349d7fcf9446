"""Moving the recordings of an older layout: one in a transaction, so that a run may be repeated.

Newest first, because an employee has one object: the newest is moved, and an older one stays where it is.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from backend.database.queries import load_queries
from backend.samples.preparation import temporary_file
from backend.storage.buckets import RECORDING_BUCKET
from backend.storage.client import Storage

queries = load_queries(__file__)
OLDER = re.compile(r"(?P<call>[^/]{1,64})/(?P<sid>RE[0-9a-fA-F]{32})\.wav")

Connection = AsyncConnection[TupleRow]


class OlderObject(Struct, frozen=True, kw_only=True):
    path: str
    call: str
    recording_sid: str
    recorded_at: datetime
    bytes: int

    @property
    def parameters(self) -> dict[str, Any]:
        return {"call": self.call, "recording_sid": self.recording_sid, "recorded_at": self.recorded_at}


class Move(Struct, frozen=True, kw_only=True):
    outcome: str
    employee_id: UUID | None = None


class MovedRecording(Struct, frozen=True, kw_only=True):
    path: str
    outcome: str
    employee_id: UUID | None


async def move_recordings(
    storage: Storage, connection: Connection, *, apply: bool, limit: int, most_bytes: int
) -> AsyncIterator[MovedRecording]:
    """After `limit` moved ones, the others wait for the next run."""
    moved = 0
    for each in await older_objects(storage):
        found = await look(connection, each)
        if apply and found.outcome == "movable" and moved >= limit:
            found = Move(outcome="later", employee_id=found.employee_id)
        elif apply and found.outcome == "movable":
            found = await copy(storage, connection, each, most_bytes)
            moved += 1
        if apply and found.outcome == "moved":
            await storage.remove(RECORDING_BUCKET, [each.path])
        yield MovedRecording(path=each.path, outcome=found.outcome, employee_id=found.employee_id)


async def older_objects(storage: Storage) -> list[OlderObject]:
    """Newest first, by the time at which they were stored."""
    found: list[OlderObject] = []
    async for path in storage.walk(RECORDING_BUCKET, ""):
        parts = OLDER.fullmatch(path)
        info = await storage.info(RECORDING_BUCKET, path) if parts else None
        if parts and info:
            moment = datetime.fromisoformat(info.last_modified or "1970-01-01T00:00:00+00:00")
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found.append(
                OlderObject(
                    path=path,
                    call=parts["call"],
                    recording_sid=parts["sid"],
                    recorded_at=moment,
                    bytes=info.size,
                )
            )
    return sorted(found, key=lambda each: (each.recorded_at, each.recording_sid), reverse=True)


async def look(connection: Connection, each: OlderObject) -> Move:
    async with connection.transaction(force_rollback=True):
        return await begin(connection, each)


async def begin(connection: Connection, each: OlderObject) -> Move:
    async with connection.cursor(row_factory=class_row(Move)) as cursor:
        await cursor.execute(queries.begin, each.parameters)
        found = await cursor.fetchone()
    assert found is not None  # noqa: S101 - the function always answers
    return found


async def copy(storage: Storage, connection: Connection, each: OlderObject, most_bytes: int) -> Move:
    """A crash before the commit leaves a copy, which the next run makes again; one after it, the object."""
    if each.bytes > most_bytes:
        return Move(outcome="too_large")
    async with temporary_file() as file:
        size = await storage.download_to(RECORDING_BUCKET, each.path, file, most_bytes)
        file.seek(0)
        async with connection.transaction():
            await connection.execute(queries.patience)
            found = await begin(connection, each)
            if found.outcome != "movable":
                return found
            path = f"{found.employee_id}/{found.employee_id}.wav"
            await storage.upload(RECORDING_BUCKET, path, file, "audio/wav", upsert=True)
            await connection.execute(queries.end, {**each.parameters, "bytes": size})
    return Move(outcome="moved", employee_id=found.employee_id)
