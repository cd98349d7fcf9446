"""Leases: a step has one worker at a time, over all processes, as long as that worker renews its lease."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from msgspec import Struct

from backend.database.backoff import full_jitter
from backend.errors import AppError, DatabaseUnavailable, StaleLease
from backend.queues.outcomes import SNOOZE_SECONDS, Done, Outcome, Snooze
from backend.telemetry.measures import LEASES_LOST
from backend.web.logs import log

T = TypeVar("T")
W = TypeVar("W")
WORKER_ID = f"{socket.gethostname()}:{os.getpid()}"
# The message is read again later. For any other outcome there is nothing to do: another message is sent when
# the step is due, or has a slot.
CLAIMED_LATER = frozenset({"busy"})
PERSIST_TRIES = 6
PERSIST_BASE_SECONDS, PERSIST_CAP_SECONDS = 0.5, 8.0


class Claim(Struct, Generic[W], frozen=True, kw_only=True):
    """What the database answers to a claim; epoch and work are null where the step was not claimed."""

    outcome: str
    retry_after_seconds: int | None
    lease_epoch: int | None
    work: W | None


def unclaimed(claim: Claim[W] | None, later: frozenset[str] = CLAIMED_LATER) -> Outcome:
    """Another worker has the step, it is not due, or there is nothing left to do."""
    if claim is None:
        return Done("gone")
    if claim.outcome in later:
        return Snooze(claim.retry_after_seconds or SNOOZE_SECONDS, claim.outcome)
    return Done(claim.outcome)


@asynccontextmanager
async def renewed(
    renew: Callable[[], Awaitable[bool | None]], lease_seconds: float, **about: str
) -> AsyncIterator[None]:
    """Renews the lease every third of it until the block ends. `about` is what the log names.

    Where `renew` says that it is lost, renewing ends, and the step's final write raises StaleLease.
    """
    renewal = asyncio.create_task(keep_renewing(renew, lease_seconds / 3, about))
    try:
        yield
    finally:
        renewal.cancel()


async def keep_renewing(
    renew: Callable[[], Awaitable[bool | None]], seconds: float, about: Mapping[str, str]
) -> None:
    held: bool | None = True
    while held:
        await asyncio.sleep(seconds)
        try:
            held = await renew()
        except AppError as error:  # the database may be back before the lease ends
            log.warning("lease_not_renewed", code=error.code, internal=error.internal, **about)


async def persist(write: Callable[[], Awaitable[T]]) -> T:
    """The write, tried again for about ten seconds while the database is away."""
    for tries in range(1, PERSIST_TRIES):
        try:
            return await write()
        except DatabaseUnavailable:
            await asyncio.sleep(full_jitter(tries, PERSIST_BASE_SECONDS, PERSIST_CAP_SECONDS))
    return await write()


async def finish(
    write: Callable[[], Awaitable[object]], result: str | None, message_id: int | None
) -> Outcome:
    """The end of a step: its last write, which acknowledges the message too.

    Tried again while the database is away. Without the lease, the worker that has it decides instead.
    """
    try:
        await persist(write)
    except StaleLease:
        LEASES_LOST.inc()
        return Done("stale_lease")
    return Done(result, acknowledged=message_id is not None)
