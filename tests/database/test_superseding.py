"""A new attempt supersedes the previous voice when it is queued, and not before."""

from uuid import UUID

from tests.database.situations import events, fail, lose, meanwhile, refused
from tests.fixture import Fixture, Row


def seen(given: Fixture, reflection: UUID, user: UUID) -> tuple[Row, Row]:
    """What a client sees: the mirror and the gate."""
    gate = given.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    return given.mirror(reflection), gate


def test_an_upload_that_is_merely_opened_changes_nothing(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    working = given.launchable(user, reflection)
    before = (given.attempt(working), seen(given, reflection, user))
    assert before[1][1] == {"launchable": True, "blockers": []}
    lose(given)
    opened = given.open(user, reflection)
    given.open(user, reflection)
    assert (given.attempt(working), seen(given, reflection, user)) == before
    assert given.messages("voice_mirror") == [], "there is nothing to copy"
    given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (opened,)
    )
    assert given.service.execute("select * from voice_clone.sweep(10)").fetchall() != []
    assert given.attempt(opened)["status"] == "expired"
    assert (given.attempt(working), seen(given, reflection, user)) == before


def test_an_upload_that_is_opened_leaves_the_worker_alone(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    given.open(user, reflection)
    assert given.attach(attempt, epoch, enrollment)["status"] == "ready"


def test_a_sample_queued_while_one_is_processing_supersedes_it(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    older = given.queued(user, reflection)
    epoch = given.claim(older)["lease_epoch"]
    enrollment = given.intend(older, epoch)
    newer = given.queued(user, reflection)
    cancelled = given.attempt(older)
    assert (cancelled["status"], cancelled["cancel_reason"], cancelled["is_active"]) == (
        "cancelled", "superseded", False,
    )  # fmt: skip
    assert (cancelled["lease_owner"], cancelled["lease_epoch"]) == (None, epoch + 1)
    shown = seen(given, reflection, user)
    assert shown[0]["attemptId"] == str(newer)
    for write in (
        lambda: given.attach(older, epoch, enrollment),
        lambda: given.one(
            "select * from voice_clone.requeue_attempt(%s, %s, 0, 'x', 'x', null)", older, epoch
        ),
        lambda: given.one(
            "select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', 'r', null)", older, epoch
        ),
    ):
        with refused("VC002"):
            write()
    assert given.claim(older)["outcome"] == "inactive"
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert given.one(report, enrollment)["status"] == "orphaned"
    assert given.one(report, enrollment)["status"] == "orphaned", "saying so twice is saying it once"
    assert (given.attempt(older), seen(given, reflection, user)) == (cancelled, shown)
    orphans = given.superuser.execute("select provider_voice_id from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == ["late-voice"]
    assert given.enroll(newer)["status"] == "ready"
    assert given.truth("select count(*) from public.voices where attempt_id = %s", newer)["count"] == 1


def test_two_samples_queued_at_once_leave_one(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    first, second = given.open(user, reflection), given.open(user, reflection)
    given.prepare(first, user)
    with meanwhile(given, lambda: given.queue(second, user)) as queueing:
        given.superuser.execute(
            "select voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)",
            (first, user),
        )
    assert queueing[0].result(10)["is_active"]
    assert events(given, first) == ["opened", "queued", "cancelled"]
    assert given.mirror(reflection)["attemptId"] == str(second)


def test_a_sample_supersedes_the_result_that_it_meets(given: Fixture) -> None:
    """The older attempt gets its voice after the newer one is queued: kept, but not in the mirror."""
    user = given.user()
    reflection = given.reflection(user)
    older, newer = given.queued(user, reflection), given.open(user, reflection)
    epoch = given.claim(older)["lease_epoch"]
    enrollment = given.intend(older, epoch)
    with meanwhile(given, lambda: given.queue(newer, user)):
        given.superuser.execute(
            "select voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null, null, false)",
            (older, epoch, enrollment),
        )
    assert (given.attempt(older)["cancel_reason"], given.attempt(newer)["is_active"]) == ("superseded", True)
    assert given.superuser.execute("select from operations.orphans()").fetchall() == [], "a row owns it"
    fail(given, newer)
    restored = given.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)
    assert (restored["id"], restored["runtime_status"]) == (older, "pending")
