"""Its owner retries a failed attempt within a budget, and no earlier worker can write."""

import pytest

from tests.database.situations import events, fail, fail_step, ids, lose, meanwhile, refused, retry, revoke
from tests.fixture import Fixture


def test_what_is_tried_again_by_itself_is_no_error_in_the_mirror(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.requeue_attempt(%s, %s, 0, 'throttled', 'Later.', null)", attempt, epoch
    )
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["error"]) == ("queued", None)
    fail(given, attempt)
    error = given.mirror(reflection)["error"]
    assert (error["code"], error["final"]) == ("sample_rejected", True)


def test_a_failed_attempt_is_queued_again_with_a_budget_of_its_own(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    assert given.mirror(reflection)["error"]["code"] == "sample_rejected"
    lose(given)
    answer = retry(given, reflection, user)
    assert (answer["id"], answer["status"], answer["process_count"]) == (attempt, "queued", 0)
    assert (answer["user_retry_count"], answer["error_code"]) == (1, None)
    assert ids(given, "voice_clone_process") == [str(attempt)]
    assert events(given, attempt)[-1] == "retried"
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["error"]) == ("queued", None)
    given.enroll(attempt)
    assert given.attempt(attempt)["status"] == "ready"
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)


@pytest.mark.parametrize(
    ("step", "queue", "status", "event"),
    [
        ("runtime", "voice_runtime_sync", "pending", "runtime_retried"),
        ("preview", "voice_preview", "required", "preview_requested"),
    ],
)
def test_a_failed_step_starts_again_and_the_voice_is_kept(
    given: Fixture, step: str, queue: str, status: str, event: str
) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    fail_step(given, attempt, step)
    voice = given.attempt(attempt)["provider_voice_id"]
    lose(given)
    answer = retry(given, reflection, user)
    assert answer[f"{step}_status"] == status
    assert (answer["status"], answer["provider_voice_id"], answer["error_code"]) == ("ready", voice, None)
    assert answer["sync_count" if step == "runtime" else "preview_count"] == 0
    assert ids(given, queue) == [str(attempt)]
    assert events(given, attempt)[-1] == event


def test_the_owner_retries_as_often_as_is_allowed_and_no_more(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    for count in range(1, 6):
        fail(given, attempt)
        assert retry(given, reflection, user)["user_retry_count"] == count
    fail(given, attempt)
    before = given.attempt(attempt)
    with refused("VC007", "retry_budget_used"):
        retry(given, reflection, user)
    assert given.attempt(attempt) == before


def test_where_nothing_failed_there_is_nothing_to_retry(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    attempt = given.open(user, reflection)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    given.queue(attempt, user)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    given.claim(attempt)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)


def test_a_launchable_voice_is_not_retried(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    before = given.attempt(given.launchable(user, reflection))
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    assert given.attempt(before["id"]) == before


def test_a_worker_from_before_the_retry_writes_nothing(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    late = given.claim(attempt, lease=0)["lease_epoch"]
    enrollment = given.intend(attempt, late)
    given.superuser.execute(
        "update public.voice_clone_attempts set process_budget = process_count where id = %s", (attempt,)
    )
    assert given.claim(attempt)["outcome"] == "exhausted"
    retry(given, reflection, user)
    claimed = given.claim(attempt)
    assert claimed["lease_epoch"] > late
    before = given.attempt(attempt)
    for write in (
        lambda: given.attach(attempt, late, enrollment),
        lambda: given.intend(attempt, late),
        lambda: given.one(
            "select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', 'r', null)", attempt, late
        ),
    ):
        with refused("VC002"):
            write()
    assert given.attempt(attempt) == before
    work = given.one("select * from voice_clone.claimed_work(%s)", attempt)
    assert work["enrollment_id"] == enrollment, "what the lost create made is looked up before another"


def test_a_voice_whose_consent_was_revoked_is_not_retried(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    revoke(given, attempt, user)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    assert given.attempt(attempt)["cancel_reason"] == "consent_revoked"


def test_two_retries_at_once_are_one(given: Fixture) -> None:
    """The second waits for the first, and then finds no failed attempt."""
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    with meanwhile(given, lambda: retry(given, reflection, user)) as second:
        given.superuser.execute("select voice_clone.retry_attempt(%s, %s)", (reflection, user))
    with refused("VC007", "nothing_to_retry"):
        second[0].result(10)
    assert given.attempt(attempt)["user_retry_count"] == 1
