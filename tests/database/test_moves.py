"""The owner's moves on a voice: tried again, taken away, brought back; and whose late write they refuse."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.conftest import Row, World


def retry(world: World, reflection: UUID, user: UUID) -> Row:
    return world.one("select * from voice_clone.retry_attempt(%s, %s)", reflection, user)


def reset(world: World, reflection: UUID, user: UUID) -> Row:
    return world.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)


@contextmanager
def refused(sqlstate: str, code: str | None = None) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert caught.value.sqlstate == sqlstate, caught.value
    if code is not None:
        assert f'"code": "{code}"' in (caught.value.diag.message_detail or "")


def fail(world: World, attempt: UUID, code: str = "sample_rejected") -> int:
    """Claimed and failed; the epoch of the worker that did it."""
    epoch = world.claim(attempt)["lease_epoch"]
    world.one(
        "select * from voice_clone.fail_attempt(%s, %s, %s, 'Not this one.', 'request-1', null)",
        attempt, epoch, code,
    )  # fmt: skip
    return epoch


def fail_step(world: World, attempt: UUID, step: str) -> None:
    """The runtime, or (behind a runtime that is synced) the preview, fails for good."""
    mark_runtime = "select * from voice_clone.mark_runtime(%s, %s, %s, %s, %s, 0, null)"
    epoch = world.step(attempt, "runtime")
    if step == "runtime":
        world.one(mark_runtime, attempt, epoch, "failed", "voice_missing", "It is gone.")
        return
    world.one(mark_runtime, attempt, epoch, "synced", None, None)
    world.one(
        "select * from voice_clone.mark_preview(%s, %s, 'failed', null, 'unspeakable', 'No.', 0, null)",
        attempt, world.step(attempt, "preview"),
    )  # fmt: skip


def ids(world: World, queue: str) -> list[str]:
    return [each["message"]["id"] for each in world.messages(queue)]


def lose(world: World) -> None:
    """Whatever was sent so far."""
    for queue in ("voice_clone_process", "voice_runtime_sync", "voice_preview", "voice_mirror"):
        world.superuser.execute("select pgmq.purge_queue(%s)", (queue,))


def events(world: World, attempt: UUID) -> list[str]:
    rows = world.superuser.execute(
        "select events from voice_clone.events where attempt_id = %s order by id", (attempt,)
    )
    return [name for row in rows for name in row["events"]]


def revoke(world: World, attempt: UUID, user: UUID) -> None:
    consent = world.truth(
        "select s.consent_id as id from public.attempts a join public.samples s on s.id = a.sample_id"
        " where a.id = %s", attempt,
    )["id"]  # fmt: skip
    world.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)


@contextmanager
def meanwhile(world: World, move: Callable[[], Row]) -> Iterator[list[Future[Row]]]:
    """What the superuser does in the block is uncommitted until the move waits for it."""
    moving: list[Future[Row]] = []
    with ThreadPoolExecutor(1) as pool, world.superuser.transaction():
        yield moving
        moving.append(pool.submit(move))
        while world.superuser.execute("select from pg_locks where not granted").fetchone() is None:
            assert not moving[0].done(), "it waits for nobody"


def test_a_failed_attempt_is_queued_again_with_a_budget_of_its_own(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    assert world.mirror(reflection)["error"]["code"] == "sample_rejected"
    lose(world)
    answer = retry(world, reflection, user)
    assert (answer["id"], answer["status"], answer["process_count"]) == (attempt, "queued", 0)
    assert (answer["user_retry_count"], answer["error_code"]) == (1, None)
    assert ids(world, "voice_clone_process") == [str(attempt)]
    assert events(world, attempt)[-1] == "retried"
    mirror = world.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["error"]) == ("queued", None)
    world.enroll(attempt)
    assert world.attempt(attempt)["status"] == "ready"
    assert world.truth("select * from voice_clone.replay(%s)", attempt) == world.attempt(attempt)


@pytest.mark.parametrize(
    ("step", "queue", "status", "event"),
    [
        ("runtime", "voice_runtime_sync", "pending", "runtime_retried"),
        ("preview", "voice_preview", "required", "preview_requested"),
    ],
)
def test_a_failed_step_starts_again_and_the_voice_is_kept(
    world: World, step: str, queue: str, status: str, event: str
) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    world.enroll(attempt)
    fail_step(world, attempt, step)
    voice = world.attempt(attempt)["provider_voice_id"]
    lose(world)
    answer = retry(world, reflection, user)
    assert answer[f"{step}_status"] == status
    assert (answer["status"], answer["provider_voice_id"], answer["error_code"]) == ("ready", voice, None)
    assert answer["sync_count" if step == "runtime" else "preview_count"] == 0
    assert ids(world, queue) == [str(attempt)]
    assert events(world, attempt)[-1] == event


def test_the_owner_retries_as_often_as_is_allowed_and_no_more(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    for count in range(1, 6):
        fail(world, attempt)
        assert retry(world, reflection, user)["user_retry_count"] == count
    fail(world, attempt)
    before = world.attempt(attempt)
    with refused("VC007", "retry_budget_used"):
        retry(world, reflection, user)
    assert world.attempt(attempt) == before


def test_where_nothing_failed_there_is_nothing_to_retry(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)
    attempt = world.open(user, reflection)
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)
    world.queue(attempt, user)
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)
    world.claim(attempt)
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)


def test_a_launchable_voice_is_not_retried(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    before = world.attempt(world.launchable(user, reflection))
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)
    assert world.attempt(before["id"]) == before


def test_a_worker_from_before_the_retry_writes_nothing(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    late = world.claim(attempt, lease=0)["lease_epoch"]
    enrollment = world.intend(attempt, late)
    world.superuser.execute(
        "update public.attempts set process_budget = process_count where id = %s", (attempt,)
    )
    assert world.claim(attempt)["outcome"] == "exhausted"
    retry(world, reflection, user)
    claimed = world.claim(attempt)
    assert claimed["lease_epoch"] > late
    before = world.attempt(attempt)
    for write in (
        lambda: world.attach(attempt, late, enrollment),
        lambda: world.intend(attempt, late),
        lambda: world.one(
            "select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', 'r', null)", attempt, late
        ),
    ):
        with refused("VC002"):
            write()
    assert world.attempt(attempt) == before
    work = world.one("select * from voice_clone.claimed_work(%s)", attempt)
    assert work["enrollment_id"] == enrollment, "what the lost create made is looked up before another"


def test_a_voice_whose_consent_was_withdrawn_is_not_retried(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    revoke(world, attempt, user)
    with refused("VC007", "nothing_to_retry"):
        retry(world, reflection, user)
    assert world.attempt(attempt)["cancel_reason"] == "consent_revoked"


def test_two_retries_at_once_are_one(world: World) -> None:
    """The second waits for the first, and finds nothing failed."""
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    with meanwhile(world, lambda: retry(world, reflection, user)) as second:
        world.superuser.execute("select voice_clone.retry_attempt(%s, %s)", (reflection, user))
    with refused("VC007", "nothing_to_retry"):
        second[0].result(10)
    assert world.attempt(attempt)["user_retry_count"] == 1


def test_the_moves_of_a_stranger_find_nothing(world: World) -> None:
    user, stranger = world.user(), world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    before = world.attempt(attempt)
    for move in (retry, reset):
        for someone, something in ((stranger, reflection), (user, uuid4())):
            with refused("VC004"):
                move(world, something, someone)
    assert world.attempt(attempt) == before


def test_a_reset_takes_the_voice_away_and_keeps_what_happened(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.launchable(user, reflection)
    shown = world.mirror(reflection)
    answer = reset(world, reflection, user)
    assert (answer["id"], answer["status"], answer["cancel_reason"]) == (attempt, "cancelled", "reset")
    mirror = world.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["attemptId"], mirror["error"]) == ("none", None, None)
    assert mirror["version"] > shown["version"]
    gate = world.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate == {"launchable": False, "blockers": ["no_voice"]}
    assert events(world, attempt)[-1] == "cancelled"
    kept = world.truth("select deleted_at from public.voices where attempt_id = %s", attempt)
    assert kept["deleted_at"] is None, "the owner's library still has it"
    assert reset(world, reflection, user) == answer, "saying so twice is saying it once"
    newer = world.launchable(user, reflection)
    assert world.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("status", ["queued", "processing", "failed"])
def test_a_reset_ends_whatever_is_in_the_making(world: World, status: str) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    if status == "processing":
        world.claim(attempt)
    if status == "failed":
        fail(world, attempt)
    assert world.mirror(reflection)["cloneStatus"] == status
    assert reset(world, reflection, user)["status"] == "cancelled"
    assert world.mirror(reflection)["cloneStatus"] == "none"
    assert world.claim(attempt)["outcome"] == "inactive"


def test_where_there_never_was_a_voice_there_is_nothing_to_reset(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    opened = world.open(user, reflection)
    with refused("VC007", "nothing_to_reset"):
        reset(world, reflection, user)
    assert world.attempt(opened)["status"] == "awaiting_upload"


def test_what_a_worker_made_before_the_reset_becomes_an_orphan(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    reset(world, reflection, user)
    before, shown = world.attempt(attempt), world.mirror(reflection)
    with refused("VC002"):
        world.attach(attempt, epoch, enrollment)
    assert not world.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, epoch)["held"]
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r') as status"
    assert world.one(report, enrollment)["status"] == "orphaned"
    assert (world.attempt(attempt), world.mirror(reflection)) == (before, shown)


def test_a_runtime_that_was_being_synced_at_a_reset_stays_away(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    world.enroll(attempt)
    epoch = world.step(attempt, "runtime")
    reset(world, reflection, user)
    with refused("VC002"):
        world.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", attempt, epoch
        )
    assert world.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_waits_for_the_write_it_meets_and_wins(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    with meanwhile(world, lambda: reset(world, reflection, user)) as second:
        world.superuser.execute(
            "select voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null)", (attempt, epoch, enrollment)
        )
    assert second[0].result(10)["cancel_reason"] == "reset"
    assert world.attempt(attempt)["ready_at"] is not None
    assert world.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_after_a_withdrawn_consent_changes_nothing(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.launchable(user, reflection)
    revoke(world, attempt, user)
    assert reset(world, reflection, user)["cancel_reason"] == "consent_revoked"
