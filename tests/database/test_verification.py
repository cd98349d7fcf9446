"""A voice that its provider wants verified is ready once it is, and only once, whoever says so first."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.world import Row, World

QUEUE = "voice_clone_verify"


def verifying(world: World, user: UUID, reflection: UUID | None) -> UUID:
    attempt = world.queued(user, reflection)
    await_verification(world, attempt, f"voice-of-{attempt}")
    return attempt


def await_verification(world: World, attempt: UUID, voice: str) -> None:
    epoch = world.claim(attempt)["lease_epoch"]
    world.one(
        "select * from voice_clone.await_verification(%s, %s, %s, %s, 'model-1', 'request-1', null, null)",
        attempt, epoch, world.intend(attempt, epoch), voice,
    )  # fmt: skip


def work(world: World, attempt: UUID) -> Row:
    return world.one("select * from voice_clone.verification_work(%s)", attempt)


def complete(world: World, attempt: UUID, look: Row, message: int | None = None) -> None:
    world.one(
        "select voice_clone.complete_verification(%s, %s, %s, %s)",
        attempt, look["lease_epoch"], look["verify_count"], message,
    )  # fmt: skip


def reject(world: World, attempt: UUID, look: Row) -> None:
    world.one(
        "select voice_clone.reject_verification(%s, %s, %s, 'verification_refused', 'No. Try again.', null)",
        attempt, look["lease_epoch"], look["verify_count"],
    )  # fmt: skip


def postpone(world: World, attempt: UUID, look: Row, at_least: float = 0) -> None:
    world.one(
        "select voice_clone.postpone_verification(%s, %s, %s, %s, null)",
        attempt, look["lease_epoch"], look["verify_count"], at_least,
    )  # fmt: skip


def settle(world: World, attempt: UUID, verified: bool, voice: str | None = None) -> Row:
    return world.one(
        "select * from voice_clone.record_verification(%s, %s, %s, 'verification_refused', 'No. Try again.')",
        attempt, verified, voice,
    )  # fmt: skip


def refused_with(call: Any, *arguments: Any) -> str | None:
    with pytest.raises(psycopg.Error) as caught:
        call(*arguments)
    return caught.value.sqlstate


def wait_seconds(world: World, attempt: UUID) -> float:
    row = world.truth(
        "select extract(epoch from a.not_before - e.recorded_at)::float8 as seconds"
        " from public.voice_clone_attempts a join voice_clone.events e on e.attempt_id = a.id"
        " where a.id = %s order by e.id desc limit 1",
        attempt,
    )
    return row["seconds"]


def make_due(world: World, attempt: UUID) -> None:
    """The wait is over, and nobody was told."""
    with world.superuser.transaction():
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute(
            "update public.voice_clone_attempts set not_before = now() where id = %s", (attempt,)
        )
        world.superuser.execute(
            "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (attempt,)
        )


def test_a_voice_to_be_verified_is_looked_at_and_may_not_speak(world: World) -> None:
    user = world.user()
    attempt = verifying(world, user, world.reflection(user))
    assert [message["message"]["id"] for message in world.messages(QUEUE)] == [str(attempt)]
    assert work(world, attempt)["outcome"] == "due"
    assert world.truth("select count(*) from public.voices")["count"] == 0


def test_a_verified_voice_is_ready_and_goes_on_to_the_runtime(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = verifying(world, user, reflection)
    [message] = world.messages(QUEUE)
    complete(world, attempt, work(world, attempt), message["msg_id"])
    after = world.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("ready", None)
    assert world.messages(QUEUE) == [], "archived in the transaction of its effect"
    assert [each["message"]["event"] for each in world.messages("voice_runtime_sync")] == [
        "VOICE_RUNTIME_SYNC"
    ]
    voice = world.truth("select * from public.voices where attempt_id = %s", attempt)
    assert (voice["id"], voice["provider_voice_id"]) == (after["voice_id"], f"voice-of-{attempt}")
    assert voice["enrollment_id"] is not None
    assert world.mirror(reflection)["cloneStatus"] == "ready"
    assert world.truth("select * from voice_clone.replay(%s)", attempt) == after
    assert work(world, attempt)["outcome"] == "nothing_to_do"


def test_the_wait_between_looks_doubles_up_to_its_cap(world: World) -> None:
    user = world.user()
    attempt = verifying(world, user, world.reflection(user))
    version = world.attempt(attempt)["version"]
    waits = []
    for _ in range(9):
        postpone(world, attempt, work(world, attempt))
        waits.append(round(wait_seconds(world, attempt)))
        assert work(world, attempt)["outcome"] == "not_due"
        make_due(world, attempt)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    after = world.attempt(attempt)
    assert (after["verify_count"], after["version"]) == (9, version)


def test_a_look_that_found_nothing_new_is_an_event_and_no_transition(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    before = world.attempt(attempt)
    postpone(world, attempt, work(world, attempt))
    after = world.attempt(attempt)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"verify_count", "not_before"}
    last = world.truth(
        "select events from voice_clone.events where attempt_id = %s order by id desc limit 1", attempt
    )
    assert last["events"] == ["verification_pending"]
    assert world.truth("select * from voice_clone.replay(%s)", attempt) == after


def test_a_short_wait_is_the_queues_and_a_long_one_the_sweeps(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    world.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    postpone(world, attempt, work(world, attempt))
    held = "select count(*) from pgmq.q_voice_clone_verify where vt > now() + interval '4 s'"
    assert world.truth(held)["count"] == 1
    world.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    make_due(world, attempt)
    postpone(world, attempt, work(world, attempt))
    assert world.truth("select count(*) from pgmq.q_voice_clone_verify")["count"] == 0
    assert world.deadline(attempt)["sweep_at"] == world.attempt(attempt)["not_before"]
    make_due(world, attempt)
    assert world.one("select * from voice_clone.sweep(10)") == {"what": "sent", "count": 1}
    assert [each["message"]["id"] for each in world.messages(QUEUE)] == [str(attempt)]


def test_two_looks_at_once_that_found_nothing_are_one(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    look = work(world, attempt)
    world.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    postpone(world, attempt, look)
    assert refused_with(postpone, world, attempt, look) == "VC002"
    assert world.attempt(attempt)["verify_count"] == 1
    assert world.truth("select count(*) from pgmq.q_voice_clone_verify")["count"] == 1


def test_a_provider_that_asks_for_a_longer_wait_gets_it(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    postpone(world, attempt, work(world, attempt), at_least=90)
    assert round(wait_seconds(world, attempt)) == 90


def test_the_deadline_comes_before_the_next_look(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    postpone(world, attempt, work(world, attempt), at_least=30 * 86_400)
    assert (world.deadline(attempt)["sweep_at"] - world.attempt(attempt)["verifying_at"]).days == 3


def test_a_refused_voice_is_an_orphan_and_another_may_be_made(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = verifying(world, user, reflection)
    reject(world, attempt, work(world, attempt))
    after = world.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "verification_refused")
    assert (after["provider_voice_id"], world.deadline(attempt)["sweep_at"]) == (None, None)
    orphans = world.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == [f"voice-of-{attempt}"]
    assert world.mirror(reflection)["error"] == {"code": "verification_refused", "message": "No. Try again."}
    world.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued' where id = %s", (attempt,)
    )
    await_verification(world, attempt, "another-voice")
    look = work(world, attempt)
    assert (look["provider_voice_id"], look["verify_count"]) == ("another-voice", 0)
    complete(world, attempt, look)
    assert world.attempt(attempt)["status"] == "ready"


@pytest.mark.parametrize("write", [complete, reject, postpone])
def test_a_look_at_an_earlier_voice_says_nothing_of_the_next(world: World, write: Any) -> None:
    attempt = verifying(world, world.user(), None)
    earlier = work(world, attempt)
    reject(world, attempt, earlier)
    world.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued' where id = %s", (attempt,)
    )
    await_verification(world, attempt, "another-voice")
    before = world.attempt(attempt)
    assert refused_with(write, world, attempt, earlier) == "VC002"
    assert world.attempt(attempt) == before


@pytest.mark.parametrize("write", [complete, reject, postpone])
def test_a_superseded_attempt_is_not_verified_any_more(world: World, write: Any) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = verifying(world, user, reflection)
    look = work(world, attempt)
    newer = world.queued(user, reflection)
    before = world.attempt(attempt)
    assert refused_with(write, world, attempt, look) == "VC002"
    assert refused_with(settle, world, attempt, True) == "VC001"
    assert world.attempt(attempt) == before
    assert work(world, attempt)["outcome"] == "inactive"
    assert world.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("verified", [True, False])
def test_what_is_said_from_outside_counts_once(world: World, verified: bool) -> None:
    user = world.user()
    attempt = verifying(world, user, world.reflection(user))
    look = work(world, attempt)
    first = settle(world, attempt, verified)
    assert first["status"] == ("ready" if verified else "failed")
    assert settle(world, attempt, verified) == first
    assert refused_with(settle, world, attempt, not verified) == "VC001"
    for write in (complete, reject, postpone):
        assert refused_with(write, world, attempt, look) == "VC002"
    assert world.attempt(attempt) == first
    assert world.truth("select count(*) from public.voices")["count"] == int(verified)


def test_what_is_said_of_another_voice_does_not_count(world: World) -> None:
    attempt = verifying(world, world.user(), None)
    assert refused_with(settle, world, attempt, True, "an-earlier-voice") == "VC001"
    assert world.attempt(attempt)["status"] == "verifying"
    assert settle(world, attempt, True, f"voice-of-{attempt}")["status"] == "ready"
    assert refused_with(settle, world, attempt, True, "an-earlier-voice") == "VC001"


def test_an_attempt_that_awaits_no_verification_cannot_be_verified(world: World) -> None:
    attempt = world.queued(world.user(), None)
    assert refused_with(settle, world, attempt, True) == "VC001"
    world.enroll(attempt)
    assert refused_with(settle, world, attempt, True) == "VC001", "it is ready, and was never to be verified"
    assert refused_with(settle, world, world.user(), True) == "VC004"


def test_looks_and_answers_at_once_make_one_voice(world: World) -> None:
    user = world.user()
    attempt = verifying(world, user, world.reflection(user))
    look = work(world, attempt)
    calls = {
        "look": ("complete_verification(%s, %s, %s, null)", attempt, look["lease_epoch"], 0),
        "outside": ("record_verification(%s, true, null, 'c', 'm')", attempt),
        "not yet": ("postpone_verification(%s, %s, %s, 0, null)", attempt, look["lease_epoch"], 0),
    }

    def run(name: str) -> str:
        call, *parameters = calls[name]
        with psycopg.connect(world.database.service, autocommit=True) as connection:
            try:
                connection.execute(f"select from voice_clone.{call}".encode(), parameters)
            except psycopg.Error as error:
                return str(error.sqlstate)
            return "done"

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(run, ["look", "outside", "not yet"] * 4))
    assert set(done) <= {"done", "VC002"}
    assert world.truth("select count(*) from public.voices")["count"] == 1
    assert world.attempt(attempt)["status"] == "ready"
    assert len(world.messages("voice_runtime_sync")) == 1
