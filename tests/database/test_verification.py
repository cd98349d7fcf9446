"""A voice that needs verification becomes ready once, whichever report comes first."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.fixture import Fixture, Row

QUEUE = "voice_clone_verify"


def verifying(given: Fixture, user: UUID, reflection: UUID | None) -> UUID:
    attempt = given.queued(user, reflection)
    await_verification(given, attempt, f"voice-of-{attempt}")
    return attempt


def await_verification(given: Fixture, attempt: UUID, voice: str) -> None:
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.await_verification(%s, %s, %s, %s, 'model-1', 'request-1', null, null)",
        attempt, epoch, given.intend(attempt, epoch), voice,
    )  # fmt: skip


def work(given: Fixture, attempt: UUID) -> Row:
    return given.one("select * from voice_clone.verification_work(%s)", attempt)


def complete(given: Fixture, attempt: UUID, look: Row, message: int | None = None) -> None:
    given.one(
        "select voice_clone.complete_verification(%s, %s, %s, %s)",
        attempt, look["lease_epoch"], look["verify_count"], message,
    )  # fmt: skip


def reject(given: Fixture, attempt: UUID, look: Row) -> None:
    given.one(
        "select voice_clone.reject_verification(%s, %s, %s, 'verification_refused', 'No. Try again.', null)",
        attempt, look["lease_epoch"], look["verify_count"],
    )  # fmt: skip


def postpone(given: Fixture, attempt: UUID, look: Row, at_least: float = 0) -> None:
    given.one(
        "select voice_clone.postpone_verification(%s, %s, %s, %s, null)",
        attempt, look["lease_epoch"], look["verify_count"], at_least,
    )  # fmt: skip


def settle(given: Fixture, attempt: UUID, verified: bool, voice: str | None = None) -> Row:
    return given.one(
        "select * from voice_clone.record_verification(%s, %s, %s, 'verification_refused', 'No. Try again.')",
        attempt, verified, voice,
    )  # fmt: skip


def refused_with(call: Any, *arguments: Any) -> str | None:
    with pytest.raises(psycopg.Error) as caught:
        call(*arguments)
    return caught.value.sqlstate


def wait_seconds(given: Fixture, attempt: UUID) -> float:
    row = given.truth(
        "select extract(epoch from a.not_before - e.recorded_at)::float8 as seconds"
        " from public.voice_clone_attempts a join voice_clone.events e on e.attempt_id = a.id"
        " where a.id = %s order by e.id desc limit 1",
        attempt,
    )
    return row["seconds"]


def make_due(given: Fixture, attempt: UUID) -> None:
    """The wait ends, and no message is sent."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set not_before = now() where id = %s", (attempt,)
        )
        given.superuser.execute(
            "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (attempt,)
        )


def test_a_voice_to_be_verified_is_looked_at_and_may_not_speak(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    assert [message["message"]["id"] for message in given.messages(QUEUE)] == [str(attempt)]
    assert work(given, attempt)["outcome"] == "due"
    assert given.truth("select count(*) from public.voices")["count"] == 0


def test_a_verified_voice_is_ready_and_its_runtime_sync_is_queued(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = verifying(given, user, reflection)
    [message] = given.messages(QUEUE)
    complete(given, attempt, work(given, attempt), message["msg_id"])
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("ready", None)
    assert given.messages(QUEUE) == [], "archived in the transaction of its effect"
    assert [each["message"]["event"] for each in given.messages("voice_runtime_sync")] == [
        "VOICE_RUNTIME_SYNC"
    ]
    voice = given.truth("select * from public.voices where attempt_id = %s", attempt)
    assert (voice["id"], voice["provider_voice_id"]) == (after["voice_id"], f"voice-of-{attempt}")
    assert voice["enrollment_id"] is not None
    assert given.mirror(reflection)["cloneStatus"] == "ready"
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == after
    assert work(given, attempt)["outcome"] == "nothing_to_do"


def test_the_wait_between_polls_doubles_up_to_its_cap(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    version = given.attempt(attempt)["version"]
    waits = []
    for _ in range(9):
        postpone(given, attempt, work(given, attempt))
        waits.append(round(wait_seconds(given, attempt)))
        assert work(given, attempt)["outcome"] == "not_due"
        make_due(given, attempt)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    after = given.attempt(attempt)
    assert (after["verify_count"], after["version"]) == (9, version)


def test_a_poll_that_finds_nothing_new_is_an_event_and_no_transition(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    before = given.attempt(attempt)
    postpone(given, attempt, work(given, attempt))
    after = given.attempt(attempt)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"verify_count", "not_before"}
    last = given.truth(
        "select events from voice_clone.events where attempt_id = %s order by id desc limit 1", attempt
    )
    assert last["events"] == ["verification_pending"]
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == after


def test_a_short_wait_is_the_queues_and_a_long_one_the_sweeps(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    postpone(given, attempt, work(given, attempt))
    held = "select count(*) from pgmq.q_voice_clone_verify where vt > now() + interval '4 s'"
    assert given.truth(held)["count"] == 1
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    make_due(given, attempt)
    postpone(given, attempt, work(given, attempt))
    assert given.truth("select count(*) from pgmq.q_voice_clone_verify")["count"] == 0
    assert given.deadline(attempt)["sweep_at"] == given.attempt(attempt)["not_before"]
    make_due(given, attempt)
    assert given.one("select * from voice_clone.sweep(10)") == {"what": "sent", "count": 1}
    assert [each["message"]["id"] for each in given.messages(QUEUE)] == [str(attempt)]


def test_two_concurrent_polls_that_find_nothing_count_once(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    look = work(given, attempt)
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    postpone(given, attempt, look)
    assert refused_with(postpone, given, attempt, look) == "VC002"
    assert given.attempt(attempt)["verify_count"] == 1
    assert given.truth("select count(*) from pgmq.q_voice_clone_verify")["count"] == 1


def test_a_provider_that_asks_for_a_longer_wait_gets_it(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    postpone(given, attempt, work(given, attempt), at_least=90)
    assert round(wait_seconds(given, attempt)) == 90


def test_the_deadline_comes_before_the_next_look(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    postpone(given, attempt, work(given, attempt), at_least=30 * 86_400)
    assert (given.deadline(attempt)["sweep_at"] - given.attempt(attempt)["verifying_at"]).days == 3


def test_a_refused_voice_is_an_orphan_and_another_may_be_made(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = verifying(given, user, reflection)
    reject(given, attempt, work(given, attempt))
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "verification_refused")
    assert (after["provider_voice_id"], given.deadline(attempt)["lease_epoch"]) == (None, None)
    orphans = given.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == [f"voice-of-{attempt}"]
    assert given.mirror(reflection)["error"] == {
        "code": "verification_refused", "message": "No. Try again.", "final": True,
    }  # fmt: skip
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued' where id = %s", (attempt,)
    )
    await_verification(given, attempt, "another-voice")
    look = work(given, attempt)
    assert (look["provider_voice_id"], look["verify_count"]) == ("another-voice", 0)
    complete(given, attempt, look)
    assert given.attempt(attempt)["status"] == "ready"


@pytest.mark.parametrize("write", [complete, reject, postpone])
def test_a_poll_of_an_earlier_voice_does_not_count_for_the_next(given: Fixture, write: Any) -> None:
    attempt = verifying(given, given.user(), None)
    earlier = work(given, attempt)
    reject(given, attempt, earlier)
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued' where id = %s", (attempt,)
    )
    await_verification(given, attempt, "another-voice")
    before = given.attempt(attempt)
    assert refused_with(write, given, attempt, earlier) == "VC002"
    assert given.attempt(attempt) == before


@pytest.mark.parametrize("write", [complete, reject, postpone])
def test_a_superseded_attempt_is_not_verified_any_more(given: Fixture, write: Any) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = verifying(given, user, reflection)
    look = work(given, attempt)
    newer = given.queued(user, reflection)
    before = given.attempt(attempt)
    assert refused_with(write, given, attempt, look) == "VC002"
    assert refused_with(settle, given, attempt, True) == "VC001"
    assert given.attempt(attempt) == before
    assert work(given, attempt)["outcome"] == "inactive"
    assert given.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("verified", [True, False])
def test_what_is_said_from_outside_counts_once(given: Fixture, verified: bool) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    look = work(given, attempt)
    first = settle(given, attempt, verified)
    assert first["status"] == ("ready" if verified else "failed")
    assert settle(given, attempt, verified) == first
    assert refused_with(settle, given, attempt, not verified) == "VC001"
    for write in (complete, reject, postpone):
        assert refused_with(write, given, attempt, look) == "VC002"
    assert given.attempt(attempt) == first
    assert given.truth("select count(*) from public.voices")["count"] == int(verified)


def test_what_is_said_of_another_voice_does_not_count(given: Fixture) -> None:
    attempt = verifying(given, given.user(), None)
    assert refused_with(settle, given, attempt, True, "an-earlier-voice") == "VC001"
    assert given.attempt(attempt)["status"] == "verifying"
    assert settle(given, attempt, True, f"voice-of-{attempt}")["status"] == "ready"
    assert refused_with(settle, given, attempt, True, "an-earlier-voice") == "VC001"


def test_an_attempt_that_awaits_no_verification_cannot_be_verified(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    assert refused_with(settle, given, attempt, True) == "VC001"
    given.enroll(attempt)
    assert refused_with(settle, given, attempt, True) == "VC001", "it is ready, and was never to be verified"
    assert refused_with(settle, given, given.user(), True) == "VC004"


def test_concurrent_polls_and_reports_make_one_voice(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    look = work(given, attempt)
    calls = {
        "look": ("complete_verification(%s, %s, %s, null)", attempt, look["lease_epoch"], 0),
        "outside": ("record_verification(%s, true, null, 'c', 'm')", attempt),
        "not yet": ("postpone_verification(%s, %s, %s, 0, null)", attempt, look["lease_epoch"], 0),
    }

    def run(name: str) -> str:
        call, *parameters = calls[name]
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            try:
                connection.execute(f"select from voice_clone.{call}".encode(), parameters)
            except psycopg.Error as error:
                return str(error.sqlstate)
            return "done"

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(run, ["look", "outside", "not yet"] * 4))
    assert set(done) <= {"done", "VC002"}
    assert given.truth("select count(*) from public.voices")["count"] == 1
    assert given.attempt(attempt)["status"] == "ready"
    assert len(given.messages("voice_runtime_sync")) == 1
