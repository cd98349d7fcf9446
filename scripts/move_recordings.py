"""Moving the recordings of an older layout: each under a lease, so that a run may be stopped and repeated.

Newest first, because an employee has one object: the newest is moved, and an older one stays where it is.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.domains.samples.preparation import temporary_file
from backend.lifecycle.leases import WORKER_ID
from backend.storage.buckets import RECORDING_BUCKET
from backend.storage.client import Storage
from scripts.operations import Operations, Row

OLDER = re.compile(r"(?P<call>[^/]{1,64})/(?P<sid>RE[0-9a-fA-F]{32})\.wav")
PAGE = 500  # objects that one call looks up


class OlderObject(Struct, frozen=True, kw_only=True):
    path: str
    call: str
    recording_sid: str
    recorded_at: datetime
    bytes: int

    @property
    def parameters(self) -> dict[str, Any]:
        moment = self.recorded_at.isoformat()
        return {"call": self.call, "recording_sid": self.recording_sid, "recorded_at": moment}


class MovedRecording(Struct, frozen=True, kw_only=True):
    path: str
    outcome: str
    employee_id: UUID | None


async def move_recordings(
    project: Operations, storage: Storage, *, apply: bool, limit: int, most_bytes: int
) -> AsyncIterator[MovedRecording]:
    """After `limit` moved ones, the others wait for the next run."""
    moved = 0
    objects = await older_objects(storage)
    for start in range(0, len(objects), PAGE):
        page = objects[start : start + PAGE]
        for each, found in zip(page, look(project, page), strict=True):
            move = found
            if apply and found["outcome"] == "movable":
                move = {**found, "outcome": "later"}
                if moved < limit:
                    move = await copy(project, storage, each, most_bytes)
                    moved += move["outcome"] == "moved"
            if apply and move["outcome"] == "moved":
                await storage.remove(RECORDING_BUCKET, [each.path])
            yield MovedRecording(path=each.path, outcome=move["outcome"], employee_id=move["employee_id"])


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


def look(project: Operations, objects: Sequence[OlderObject]) -> list[Row]:
    """What is to be done with each."""
    return project.rows(
        "recording_moves",
        calls=[each.call for each in objects],
        recording_sids=[each.recording_sid for each in objects],
        recorded_at=[each.recorded_at.isoformat() for each in objects],
    )


async def copy(project: Operations, storage: Storage, each: OlderObject, most_bytes: int) -> Row:
    """A crash before the end leaves a copy, which the next run makes again; one after it, the object."""
    if each.bytes > most_bytes:
        return {"outcome": "too_large", "employee_id": None}
    async with temporary_file() as file:
        size = await storage.download_to(RECORDING_BUCKET, each.path, file, most_bytes)
        file.seek(0)
        (claim,) = project.rows("claim_recording_move", **each.parameters, lease_owner=WORKER_ID)
        if claim["outcome"] != "movable":
            return claim
        # Where this fails or is stopped, the lease runs out by itself: the upload may still arrive.
        employee = claim["employee_id"]
        await storage.upload(RECORDING_BUCKET, f"{employee}/{employee}.wav", file, "audio/wav", upsert=True)
    is_moved = project.value(
        "complete_recording_move",
        recording=claim["recording_id"],
        epoch=claim["lease_epoch"],
        employee=employee,
        bytes=size,
    )
    return {**claim, "outcome": "moved" if is_moved else "later"}
