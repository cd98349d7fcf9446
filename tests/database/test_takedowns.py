"""Takedowns: everything made from a voice is frozen in one transaction, and lifted again."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import custom_voice, events, fail, refused, reset, restore, retry
from tests.database.test_employee_files import Files
from tests.database.test_employee_voices import VOICE, Staffed
from tests.database.test_lost_voices import gate, speech
from tests.fixture import Fixture, Row

FAMILY = "select * from operations.take_down(%s, 'Notice 17', %s)"
LIFT = "select * from operations.lift_takedown(%s, 'Withdrawn', true)"

USE = (
    "select * from voice_clone.use_custom_voice"
    "(gen_random_uuid(), %s, %s, 'local', '', %s, null, 'm', 'Ada', 'en', true)"
)


def take_down(given: Fixture, subject: UUID, *, apply: bool = True) -> list[Row]:
    return given.superuser.execute(FAMILY.encode(), (subject, apply)).fetchall()


def lift(given: Fixture, subject: UUID) -> list[Row]:
    return given.superuser.execute(LIFT.encode(), (subject,)).fetchall()


def launchable(given: Fixture) -> tuple[UUID, UUID, UUID]:
    user = given.user()
    reflection = given.reflection(user)
    return user, reflection, given.launchable(user, reflection)


def clone_again(given: Fixture, user: UUID, attempt: UUID) -> Row:
    return given.one(
        "select * from voice_clone.clone_sample(gen_random_uuid(), %s, %s, null, 'local', '', true, 'Ada')",
        user, given.attempt(attempt)["sample_id"],
    )  # fmt: skip


def provider_voice(given: Fixture, attempt: UUID) -> str:
    return given.attempt(attempt)["provider_voice_id"]


def test_a_takedown_closes_gate_and_mirror_and_is_in_the_event_log(given: Fixture) -> None:
    user, reflection, attempt = launchable(given)
    assert [row["taken_down_at"] for row in take_down(given, attempt, apply=False)] == [None]
    assert gate(given, reflection, user) == []
    voice = given.attempt(attempt)["voice_id"]
    assert [row["attempt_id"] for row in take_down(given, voice)] == [attempt]
    assert gate(given, reflection, user) == ["voice_taken_down"]
    with refused("VC005"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["voiceId"], mirror["error"]["code"]) == (
        "failed", None, "voice_taken_down",
    )  # fmt: skip
    assert events(given, attempt)[-1] == "taken_down"
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)
    seen = given.one("select preview_path from voice_clone.reflection_voice(%s, %s)", reflection, user)
    assert seen["preview_path"] is None


def test_a_lifted_takedown_leaves_all_as_it_was_but_the_evidence(given: Fixture) -> None:
    user, reflection, attempt = launchable(given)
    take_down(given, attempt)
    take_down(given, attempt)
    lift(given, attempt)
    assert gate(given, reflection, user) == []
    assert given.mirror(reflection)["cloneStatus"] == "ready"
    assert events(given, attempt)[-2:] == ["taken_down", "takedown_lifted"]
    notice = given.truth("select * from voice_clone.takedowns")
    assert (notice["attempts"], notice["reason"], notice["lift_reason"]) == (
        [attempt], "Notice 17", "Withdrawn",
    )  # fmt: skip
    given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)


def test_open_speech_fails_and_no_more_is_requested_until_it_is_lifted(given: Fixture) -> None:
    user, _, attempt = launchable(given)
    sample = given.attempt(attempt)["sample_id"]
    job = speech(given, user, sample)["id"]
    claimed = given.one("select * from voice_clone.claim_speech_job(%s, 'w', 60, 4)", job)
    take_down(given, attempt)
    row = given.truth("select * from public.speech_jobs where id = %s", job)
    assert (row["status"], row["error_code"]) == ("failed", "voice_taken_down")
    held = "select voice_clone.renew_speech_lease(%s, %s, 60) as held"
    assert not given.one(held, job, claimed["lease_epoch"])["held"], "what it says is not stored"
    with refused("VC007", "voice_taken_down"):
        speech(given, user, sample)
    again = "select * from voice_clone.retry_speech(%s, %s, 'Ada')"
    with refused("VC007", "voice_taken_down"):
        given.one(again, job, user)
    lift(given, attempt)
    assert given.one(again, job, user)["status"] == "queued"


def test_what_was_made_of_the_sample_and_what_uses_the_voice_is_frozen_too(given: Fixture) -> None:
    user, _, attempt = launchable(given)
    used = custom_voice(given, user, given.reflection(user), provider_voice(given, attempt))
    other = clone_again(given, user, attempt)["id"]
    given.enroll(other)
    stranger = launchable(given)[2]
    assert {row["attempt_id"] for row in take_down(given, used)} == {attempt, used, other}
    assert given.attempt(stranger)["taken_down_at"] is None


def test_the_voice_of_an_employee_is_frozen_everywhere_and_comes_back(given: Fixture) -> None:
    """Their row, its mirror, their gate, and the file that other systems read."""
    acme = Staffed(given)
    files = Files(given, acme.employee)
    attempt = acme.launchable()
    assert files.write()
    before = acme.row()
    take_down(given, given.attempt(attempt)["voice_id"])
    shown = given.one(VOICE, acme.employee, acme.admin)
    assert shown["gate"] == {"launchable": False, "blockers": ["voice_taken_down"]}
    frozen = acme.row()
    assert (frozen["voice_id"], frozen["voice"]["cloneStatus"]) == (None, "failed")
    assert frozen["voice"]["error"]["code"] == "voice_taken_down"
    assert files.write() is None
    lift(given, attempt)
    after = acme.row()
    assert (after["voice_id"], after["voice"]["cloneStatus"]) == (before["voice_id"], "ready")
    content = files.write()
    assert content is not None
    assert content["voice_id"] == before["voice_id"]


def test_every_use_of_a_stock_voice_is_frozen_by_whatever_user(given: Fixture) -> None:
    users = [given.user() for _ in range(2)]
    uses = [custom_voice(given, user, given.reflection(user)) for user in users]
    assert {row["attempt_id"] for row in take_down(given, uses[0])} == set(uses)


def test_the_owner_cannot_go_around_it(given: Fixture) -> None:
    user, reflection, attempt = launchable(given)
    failed = given.queued(user, reflection)
    fail(given, failed)
    for each in (attempt, failed):
        take_down(given, each)
    for way in (
        lambda: retry(given, reflection, user),
        lambda: restore(given, reflection, user),
        lambda: clone_again(given, user, attempt),
        lambda: custom_voice(given, user, given.reflection(user), provider_voice(given, attempt)),
    ):
        with refused("VC007", "voice_taken_down"):
            way()
    reset(given, reflection, user)
    with refused("VC007", "voice_taken_down"):
        clone_again(given, user, failed)


def test_a_queued_attempt_is_not_processed_until_it_is_lifted(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    take_down(given, attempt)
    assert given.claim(attempt)["outcome"] == "nothing_to_do"
    assert given.truth("select count(*) from voice_clone.deadlines")["count"] == 0, "nothing is sent"
    lift(given, attempt)
    assert given.deadline(attempt)["sweep_at"] is not None
    assert given.claim(attempt)["outcome"] == "claimed"


def test_a_lifted_takedown_sends_what_waited(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    take_down(given, attempt)
    given.superuser.execute("select pgmq.purge_queue('voice_clone_process')")
    lift(given, attempt)
    (message,) = given.messages("voice_clone_process")
    assert message["message"]["id"] == str(attempt)


def test_a_frozen_attempt_keeps_no_slot_from_others(given: Fixture) -> None:
    """It waited for the only one, or got it when its turn came."""
    first, waits, other = (given.queued(given.user(), None) for _ in range(3))
    claim = "select outcome from voice_clone.claim_attempt(%s, 'w', 60, 1, true, 1)"
    assert [given.one(claim, each)["outcome"] for each in (first, waits, other)] == [
        "claimed", "all_busy", "all_busy",
    ]  # fmt: skip
    take_down(given, waits)
    taken = "select job_id from voice_clone.job_slots where job_id is not null"
    given.one("select * from voice_clone.fail_attempt(%s, 1, 'c', 'm', null, null)", first)
    assert given.truth(taken)["job_id"] == other
    take_down(given, other)
    assert given.superuser.execute(taken).fetchall() == []
    lift(given, waits)
    assert given.one(claim, waits)["outcome"] == "claimed"


def test_a_stock_voice_is_frozen_while_its_use_is_still_made(given: Fixture) -> None:
    """There is no row of the voice yet; the use that works is frozen by a notice about the other."""
    user, other = given.user(), given.user()
    ready = custom_voice(given, user, given.reflection(user))
    queued = given.one(USE, other, given.reflection(other), provider_voice(given, ready))["id"]
    assert {row["attempt_id"] for row in take_down(given, ready, apply=False)} == {ready, queued}
    assert {row["attempt_id"] for row in take_down(given, queued)} == {ready, queued}
    third = given.user()
    first = given.one(USE, third, given.reflection(third), "stock-of-nobody")["id"]
    take_down(given, first)
    with refused("VC007", "voice_taken_down"):
        given.one(USE, third, given.reflection(third), "stock-of-nobody")


def test_what_one_notice_froze_is_lifted_together(given: Fixture) -> None:
    """Also what has left the family since: a use that was reset before its voice was made."""
    user, other = given.user(), given.user()
    ready = custom_voice(given, user, given.reflection(user))
    reflection = given.reflection(other)
    queued = given.one(USE, other, reflection, provider_voice(given, ready))["id"]
    take_down(given, ready)
    reset(given, reflection, other)
    lift(given, ready)
    assert given.attempt(queued)["taken_down_at"] is None


def test_its_objects_are_not_read_by_their_owner(given: Fixture) -> None:
    user, _, attempt = launchable(given)
    job = speech(given, user, given.attempt(attempt)["sample_id"])["id"]
    names = {"voice-previews": f"{user}/{attempt}/1.wav", "speeches": f"{user}/{job}/1.wav"}

    def frozen() -> list[bool]:
        sql = "select voice_clone.is_taken_down(%s, %s) as frozen"
        return [given.truth(sql, *each)["frozen"] for each in names.items()]

    assert frozen() == [False, False]
    take_down(given, attempt)
    assert frozen() == [True, True]
    assert not given.truth("select voice_clone.is_taken_down('speeches', 'x') as frozen")["frozen"]


def test_a_frozen_voice_is_deleted_and_erased(given: Fixture) -> None:
    user, _, attempt = launchable(given)
    take_down(given, attempt)
    voice = given.attempt(attempt)["voice_id"]
    assert given.one("select voice_clone.delete_voice(%s, %s) as deleted", voice, user)["deleted"]
    given.one("select voice_clone.request_erasure(%s)", user)
    assert given.attempt(attempt)["user_id"] is None


def test_a_session_that_starts_at_the_same_time_is_before_it_or_refused(given: Fixture) -> None:
    user, reflection, attempt = launchable(given)
    with psycopg.connect(given.database.superuser) as operator:
        operator.execute("set lock_timeout = '200ms'")
        with given.service.transaction():
            given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                operator.execute(FAMILY.encode(), (attempt, True))
        operator.rollback()
        operator.execute(FAMILY.encode(), (attempt, True))
        job = uuid4()
        with pytest.raises(psycopg.errors.LockNotAvailable):  # told to try again, and not spoken
            given.one(
                "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')",
                job, user, given.attempt(attempt)["sample_id"],
            )  # fmt: skip
        operator.commit()
    with refused("VC005"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)


MUTANTS = {
    "a gate that stays open": (
        "launch_blockers", "p_taken_down_at is not null", "false",
        test_a_takedown_closes_gate_and_mirror_and_is_in_the_event_log,
    ),
    "a mirror that shows it ready": (
        "attempt_mirror", "case when a.taken_down_at is null then a.status else 'failed' end", "a.status",
        test_a_takedown_closes_gate_and_mirror_and_is_in_the_event_log,
    ),
    "a takedown without an event": (
        "append_event", "'takedown_lifted' else 'taken_down'", "'updated' else 'updated'",
        test_a_takedown_closes_gate_and_mirror_and_is_in_the_event_log,
    ),
    "a preview that is still shown": (
        "reflection_voice", "case when a.taken_down_at is null then a.preview_path end", "a.preview_path",
        test_a_takedown_closes_gate_and_mirror_and_is_in_the_event_log,
    ),
    "speech that goes on": (
        "refuse_taken_down_speech", "a.taken_down_at is not null", "false",
        test_open_speech_fails_and_no_more_is_requested_until_it_is_lifted,
    ),
    "a family without its uses": (
        "taken_down_family", "w.provider_voice_id = a.provider_voice_id", "false",
        test_every_use_of_a_stock_voice_is_frozen_by_whatever_user,
    ),
    "the same sample again": (
        "refuse_taken_down_origin", "a.sample_id = new.sample_id and a.taken_down_at is not null", "false",
        test_the_owner_cannot_go_around_it,
    ),
    "a frozen attempt that is claimed": (
        "claim_attempt", "or a.taken_down_at is not null", "",
        test_a_queued_attempt_is_not_processed_until_it_is_lifted,
    ),
    "a lifted attempt that nobody is told of": (
        "append_event", "v_follows := v_queue is not null", "null",
        test_a_lifted_takedown_sends_what_waited,
    ),
    "a frozen attempt with a slot": (
        "operations.take_down", "perform voice_clone.release_job_slot(q.id, q.owner)", "perform q.id",
        test_a_frozen_attempt_keeps_no_slot_from_others,
    ),
    "a use that is not made yet": (
        "taken_down_family", "b.provider_voice_id = a.provider_voice_id", "false",
        test_a_stock_voice_is_frozen_while_its_use_is_still_made,
    ),
    "another use of what is not made yet": (
        "refuse_taken_down_origin", "a.provider_voice_id = new.provider_voice_id", "false",
        test_a_stock_voice_is_frozen_while_its_use_is_still_made,
    ),
    "a notice that is lifted in part": (
        "taken_down_family", "t.lifted_at is null and a.id = any (t.attempts)", "false",
        test_what_one_notice_froze_is_lifted_together,
    ),
    "a request that does not see it": (
        "share_takedowns", "not pg_try_advisory_xact_lock_shared(hashtextextended('takedowns', 0))", "false",
        test_a_session_that_starts_at_the_same_time_is_before_it_or_refused,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(given: Fixture, mutant: str) -> None:
    function, old, new, test = MUTANTS[mutant]
    given.replace(function if "." in function else f"voice_clone.{function}", old, new)
    with pytest.raises((Exception, pytest.fail.Exception)):  # a statement fails, or the test
        test(given)
