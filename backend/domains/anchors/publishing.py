"""The step of an anchor: it is signed, and published as an object, a line of a file and a webhook.

Each place is tried by itself. What failed is recorded, and the sweep sends the anchor again, each time after
twice the wait. A worker that dies may publish to a place twice, which harms none: both copies say the same.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.domains.anchors.anchors import Anchor, anchor_path, read_anchor, sign_anchor
from backend.domains.webhooks.signing import signed_headers
from backend.errors import AppError
from backend.lifecycle.leases import Claim, finish, unclaimed
from backend.provenance.jws import NotSigned
from backend.provenance.signing import SigningFailed
from backend.queues.outcomes import Outcome
from backend.storage.buckets import ANCHOR_BUCKET
from backend.storage.client import Storage, StorageProfiles, StorageRefused
from backend.web.addresses import AddressRefused
from backend.web.http_client import FAILURES
from backend.web.logs import log

queries = load_queries(__file__)

CONTENT_TYPE = "application/jose"
EVENT_TYPE = "consent_anchor.published"
TAKEN = 409
SUCCESSES = range(200, 300)
MODE = 0o640  # of the file


class AnchorWork(Struct, frozen=True, kw_only=True):
    """`places` have it already."""

    anchor: Anchor
    signed: str | None
    places: list[str]


class NotPublished(Exception):  # noqa: N818 - the message is a code, for the log and the operator
    """A place did not take the anchor."""


Publish = Callable[[Anchor, str], Awaitable[None]]


async def publish_anchor(
    context: AppContext, publication_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """From the queue. Safe to run twice, and late."""
    about: dict[str, Any] = {"publication": publication_id}
    claim = await context.database.fetch_one(queries.claim_anchor, about, row=Claim[AnchorWork])
    if claim is None or claim.work is None:
        return unclaimed(claim)
    signed, places, code = await try_places(context, claim.work)
    values = {
        **about, "epoch": claim.lease_epoch, "signed": signed, "places": places, "code": code,
        "message": message_id,
    }  # fmt: skip
    return await finish(
        lambda: context.database.execute(queries.record_publication, values), code or "published", message_id
    )


async def try_places(context: AppContext, work: AnchorWork) -> tuple[str | None, list[str], str | None]:
    """The signature, the places that have it by now, and why the first that has not."""
    anchor, places, code = work.anchor, list(work.places), None
    try:
        signed = work.signed or await sign_anchor(context.marker.key, anchor)
    except SigningFailed as error:
        log.warning("anchor_not_signed", position=anchor.position, internal=str(error))
        return None, places, "signing_failed"
    for place, publish in places_of(context).items():
        try:
            if place not in places:
                await publish(anchor, signed)
                places.append(place)
        except NotPublished as error:
            code = code or str(error)
            log.warning("anchor_not_published", position=anchor.position, place=place, code=str(error))
    return signed, places, code


def places_of(context: AppContext) -> dict[str, Publish]:
    """The bucket, and what the settings name."""
    settings = context.settings.anchors
    places: dict[str, Publish] = {"bucket": partial(put_object, context.storage)}
    if settings.file:
        places["file"] = partial(append_line, settings.file)
    if settings.webhook_url:
        places["webhook"] = partial(call_webhook, context)
    return places


async def put_object(storage: Storage, anchor: Anchor, signed: str) -> None:
    """An object is never replaced: one that says something else is what an operator must see."""
    path = anchor_path(anchor.position)
    try:
        await storage.upload(ANCHOR_BUCKET, path, signed.encode(), CONTENT_TYPE)
    except StorageRefused as error:
        if error.storage_status != TAKEN:
            raise NotPublished(error.code) from error
        await require_same(storage, path, anchor)
    except AppError as error:
        raise NotPublished(error.code) from error


async def require_same(storage: Storage, path: str, anchor: Anchor) -> None:
    try:
        found = await StorageProfiles(storage, ANCHOR_BUCKET).get(path)
        same = found is not None and read_anchor(found.decode()).anchor == anchor
    except (NotSigned, UnicodeDecodeError):
        same = False
    except AppError as error:
        raise NotPublished(error.code) from error
    if not same:
        raise NotPublished("anchor_differs")


async def append_line(path: str, _: Anchor, signed: str) -> None:
    try:
        await asyncio.to_thread(append_durably, path, f"{signed}\n".encode())
    except OSError as error:
        raise NotPublished("anchor_file_not_written") from error


def append_durably(path: str, line: bytes) -> None:
    """In one write, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError("the line was written in part")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def call_webhook(context: AppContext, anchor: Anchor, signed: str) -> None:
    settings = context.settings.anchors
    data = msgspec.to_builtins(anchor) | {"signed": signed}
    body = msgspec.json.encode({"type": EVENT_TYPE, "timestamp": anchor.anchored_at, "data": data})
    headers = {
        "content-type": "application/json",
        "user-agent": "likeness",
        **signed_headers([settings.webhook_secret], f"anc_{anchor.hash[:32]}", int(time.time()), body),
    }
    try:
        async with context.webhooks.request(
            "POST", settings.webhook_url, headers=headers, content=body
        ) as response:
            status = response.status
    except AddressRefused as error:
        raise NotPublished(error.code) from error
    except TimeoutError as error:
        raise NotPublished("webhook_timed_out") from error
    except FAILURES as error:
        raise NotPublished("webhook_unreachable") from error
    if status not in SUCCESSES:
        raise NotPublished("webhook_refused")
