"""A new sample takes the place of the voice before it when it is queued, and not a moment earlier."""

from uuid import UUID

from tests.database.moves import events, fail, lose, meanwhile, refused
from tests.world import Row, World


def seen(world: World, reflection: UUID, user: UUID) -> tuple[Row, Row]:
    """What a client sees: the mirror and the gate."""
    gate = world.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    return world.mirror(reflection), gate


def test_an_upload_that_is_merely_opened_changes_nothing(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    working = world.launchable(user, reflection)
    before = (world.attempt(working), seen(world, reflection, user))
    assert before[1][1] == {"launchable": True, "blockers": []}
    lose(world)
    opened = world.open(user, reflection)
    world.open(user, reflection)
    assert (world.attempt(working), seen(world, reflection, user)) == before
    assert world.messages("voice_mirror") == [], "there is nothing to copy"
    world.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    world.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
    world.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (opened,)
    )
    assert world.service.execute("select * from voice_clone.sweep(10)").fetchall() != []
    assert world.attempt(opened)["status"] == "expired"
    assert (world.attempt(working), seen(world, reflection, user)) == before


def test_an_upload_that_is_opened_leaves_the_worker_alone(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    world.open(user, reflection)
    assert world.attach(attempt, epoch, enrollment)["status"] == "ready"


def test_a_sample_queued_while_one_is_processing_supersedes_it(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    older = world.queued(user, reflection)
    epoch = world.claim(older)["lease_epoch"]
    enrollment = world.intend(older, epoch)
    newer = world.queued(user, reflection)
    cancelled = world.attempt(older)
    assert (cancelled["status"], cancelled["cancel_reason"], cancelled["is_active"]) == (
        "cancelled", "superseded", False,
    )  # fmt: skip
    assert (cancelled["lease_owner"], cancelled["lease_epoch"]) == (None, epoch + 1)
    shown = seen(world, reflection, user)
    assert shown[0]["attemptId"] == str(newer)
    for write in (
        lambda: world.attach(older, epoch, enrollment),
        lambda: world.one(
            "select * from voice_clone.requeue_attempt(%s, %s, 0, 'x', 'x', null)", older, epoch
        ),
        lambda: world.one(
            "select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', 'r', null)", older, epoch
        ),
    ):
        with refused("VC002"):
            write()
    assert world.claim(older)["outcome"] == "inactive"
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert world.one(report, enrollment)["status"] == "orphaned"
    assert world.one(report, enrollment)["status"] == "orphaned", "saying so twice is saying it once"
    assert (world.attempt(older), seen(world, reflection, user)) == (cancelled, shown)
    orphans = world.superuser.execute("select provider_voice_id from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == ["late-voice"]
    assert world.enroll(newer)["status"] == "ready"
    assert world.truth("select count(*) from public.voices where attempt_id = %s", newer)["count"] == 1


def test_two_samples_queued_at_once_leave_one(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    first, second = world.open(user, reflection), world.open(user, reflection)
    with meanwhile(world, lambda: world.queue(second, user)) as queueing:
        world.superuser.execute(
            "select voice_clone.queue_attempt"
            "(%s, %s, 'Ada', 'en', 'hello', 'audio/wav', 1000, '{}'::jsonb, 'p.wav', 2000, 0)",
            (first, user),
        )
    assert queueing[0].result(10)["is_active"]
    assert events(world, first) == ["opened", "queued", "cancelled"]
    assert world.mirror(reflection)["attemptId"] == str(second)


def test_a_sample_supersedes_the_result_that_it_meets(world: World) -> None:
    """The older one is attached while the newer one is queued: the voice is kept, and not what is shown."""
    user = world.user()
    reflection = world.reflection(user)
    older, newer = world.queued(user, reflection), world.open(user, reflection)
    epoch = world.claim(older)["lease_epoch"]
    enrollment = world.intend(older, epoch)
    with meanwhile(world, lambda: world.queue(newer, user)):
        world.superuser.execute(
            "select voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null, null, false)",
            (older, epoch, enrollment),
        )
    assert (world.attempt(older)["cancel_reason"], world.attempt(newer)["is_active"]) == ("superseded", True)
    assert world.superuser.execute("select from operations.orphans()").fetchall() == [], "a row owns it"
    fail(world, newer)
    restored = world.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)
    assert (restored["id"], restored["runtime_status"]) == (older, "pending")
