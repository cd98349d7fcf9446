"""The owner's operations on a voice, and the situations in which they are called."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.fixture import Fixture, Row


def retry(given: Fixture, reflection: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.retry_attempt(%s, %s)", reflection, user)


def reset(given: Fixture, reflection: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)


def restore(given: Fixture, reflection: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)


def sweep(given: Fixture, limit: int = 100) -> dict[str, int]:
    """How often it did what."""
    rows = given.service.execute("select what, count from voice_clone.sweep(%s)", (limit,))
    return {row["what"]: row["count"] for row in rows}


@contextmanager
def refused(sqlstate: str, code: str | None = None) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert caught.value.sqlstate == sqlstate, caught.value
    if code is not None:
        assert f'"code": "{code}"' in (caught.value.diag.message_detail or "")


def fail(given: Fixture, attempt: UUID, code: str = "sample_rejected") -> int:
    """Claim and fail the attempt; returns the worker's epoch."""
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.fail_attempt(%s, %s, %s, 'Not this one.', 'request-1', null)",
        attempt, epoch, code,
    )  # fmt: skip
    return epoch


def fail_step(given: Fixture, attempt: UUID, step: str) -> None:
    """The runtime sync fails finally; or the preview does, after a successful sync."""
    mark_runtime = "select * from voice_clone.mark_runtime(%s, %s, %s, %s, %s, 0, null)"
    epoch = given.step(attempt, "runtime")
    if step == "runtime":
        given.one(mark_runtime, attempt, epoch, "failed", "voice_missing", "It is gone.")
        return
    given.one(mark_runtime, attempt, epoch, "synced", None, None)
    given.one(
        "select * from voice_clone.mark_preview(%s, %s, 'failed', null, 'unspeakable', 'No.', 0, null)",
        attempt, given.step(attempt, "preview"),
    )  # fmt: skip


def custom_voice(given: Fixture, user: UUID, reflection: UUID, provider_voice: str = "stock-1") -> UUID:
    """An attempt that is ready with a voice that was at its provider before."""
    attempt = uuid4()
    given.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', %s, null, 'model-1', 'Ada', 'en', true)",
        attempt, user, reflection, provider_voice,
    )  # fmt: skip
    given.one(
        "select * from voice_clone.attach_custom_voice(%s, %s, null, null, false)",
        attempt, given.claim(attempt)["lease_epoch"],
    )  # fmt: skip
    return attempt


def ids(given: Fixture, queue: str) -> list[str]:
    return [each["message"]["id"] for each in given.messages(queue)]


def lose(given: Fixture) -> None:
    """Delete the messages sent so far."""
    for queue in ("voice_clone_process", "voice_runtime_sync", "voice_preview", "voice_mirror"):
        given.superuser.execute("select pgmq.purge_queue(%s)", (queue,))


def events(given: Fixture, attempt: UUID) -> list[str]:
    rows = given.superuser.execute(
        "select events from voice_clone.events where attempt_id = %s order by id", (attempt,)
    )
    return [name for row in rows for name in row["events"]]


def revoke(given: Fixture, attempt: UUID, user: UUID) -> None:
    consent = given.truth(
        "select s.consent_id as id from public.voice_clone_attempts a join public.voice_samples"
        " s on s.id = a.sample_id"
        " where a.id = %s", attempt,
    )["id"]  # fmt: skip
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)


@contextmanager
def meanwhile(given: Fixture, move: Callable[[], Row]) -> Iterator[list[Future[Row]]]:
    """The superuser's writes in the block stay uncommitted until the operation waits for them."""
    moving: list[Future[Row]] = []
    with ThreadPoolExecutor(1) as pool, given.superuser.transaction():
        yield moving
        moving.append(pool.submit(move))
        while given.superuser.execute("select from pg_locks where not granted").fetchone() is None:
            assert not moving[0].done(), "it waits for nobody"


def superseded(given: Fixture) -> tuple[UUID, UUID, UUID, UUID]:
    """A launched voice, and the attempt after it that failed: (user, reflection, kept, newer)."""
    user = given.user()
    reflection = given.reflection(user)
    kept = given.launchable(user, reflection)
    newer = given.queued(user, reflection)
    fail(given, newer)
    return user, reflection, kept, newer


COPY = """
    insert into {table} select (jsonb_populate_record(null::{table}, to_jsonb(r) || %s::jsonb)).*
    from {table} r where r.id = %s"""


def copy(given: Fixture, table: str, id_: UUID, **changes: object) -> None:
    """The superuser inserts this row once more, changed, with another id."""
    made = {"id": str(uuid4())} | {
        name: str(value) if isinstance(value, UUID) else value for name, value in changes.items()
    }
    given.superuser.execute(COPY.format(table=table).encode(), (Jsonb(made), id_))
