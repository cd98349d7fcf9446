"""What failed is tried again by its owner, within a budget, and no worker from before writes any more."""

import pytest

from tests.database.moves import events, fail, fail_step, ids, lose, meanwhile, refused, retry, revoke
from tests.world import World


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
        "update public.voice_clone_attempts set process_budget = process_count where id = %s", (attempt,)
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
