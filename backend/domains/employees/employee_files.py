"""The file of an employee in Storage: which voice speaks for them. It is written or removed under a lease.

docs/decisions/0053-the-file-of-an-employee.md
"""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError
from backend.lifecycle.leases import Claim, persist, unclaimed
from backend.queues.outcomes import Done, Outcome
from backend.storage.buckets import EMPLOYEE_FILE_BUCKET
from backend.storage.client import Storage, StorageRefused
from backend.web.logs import log

queries = load_queries(__file__)
CONTENT_TYPE = "application/json"


class FileWork(Struct, frozen=True, kw_only=True):
    """`content` is null where no voice is ready: then there is no file."""

    employee_id: UUID
    version: int
    content: dict[str, Any] | None


def file_path(employee_id: UUID) -> str:
    return f"{employee_id}/{employee_id}.json"


async def write_file(context: AppContext, employee_id: UUID, /, *, message_id: int | None = None) -> Outcome:
    """From the queue. Safe to run twice, and late: a version that is confirmed too late is written again."""
    about: dict[str, Any] = {"employee": employee_id}
    claim = await context.database.fetch_one(queries.claim_file, about, row=Claim[FileWork])
    if claim is None or claim.work is None:
        return unclaimed(claim)
    about["epoch"] = claim.lease_epoch
    try:
        await put(context.storage, claim.work)
    except StorageRefused as error:
        await release(context, about, error, is_unknown=False)
        raise
    except AppError as error:  # Storage may have done it, or may do it later
        await release(context, about, error, is_unknown=True)
        raise
    except asyncio.CancelledError:
        await asyncio.shield(release(context, about, AppError(), is_unknown=True))
        raise
    written = {**about, "version": claim.work.version, "message": message_id}
    result = await persist(lambda: context.database.fetch_value(queries.confirm_file, written, of=str))
    log.info(
        "employee_file_written",
        employee_id=str(employee_id),
        version=claim.work.version,
        is_there=claim.work.content is not None,
        is_late=result == "late",
    )
    return Done(result, acknowledged=message_id is not None)


async def put(storage: Storage, work: FileWork) -> None:
    path = file_path(work.employee_id)
    if work.content is None:
        await storage.remove(EMPLOYEE_FILE_BUCKET, [path])
        return
    content = msgspec.json.format(msgspec.json.encode(work.content), indent=2)
    await storage.upload(EMPLOYEE_FILE_BUCKET, path, content, CONTENT_TYPE, upsert=True)


async def release(context: AppContext, about: dict[str, Any], error: AppError, *, is_unknown: bool) -> None:
    """Where the database is away too, the lease runs out, and the sweep sends the file again."""
    log.warning("employee_file_failed", employee_id=str(about["employee"]), code=error.code)
    values = {**about, "code": error.code, "is_unknown": is_unknown}
    await context.database.execute(queries.release_file, values)
