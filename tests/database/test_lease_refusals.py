"""Workers whose lease has ended are refused, and one that has it may do what it must."""

import pytest

from tests.database import test_consent_anchors as anchors
from tests.database import test_voice_checks as checks
from tests.database.situations import refused
from tests.fixture import Fixture

RESOLVE = "select voice_clone.resolve_enrollment(%s, %s, %s, 'timeout', null, 60)"
MARK = "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)"
FAIL = "select * from voice_clone.fail_attempt(%s, %s, 'sample_rejected', 'No.', null, null)"
PUBLISH = "select voice_clone.record_publication(%s, %s, 'a.b.c', '{bucket}', null, null)"


def test_a_voice_check_is_recorded_once(given: Fixture) -> None:
    checks.ready(given)
    checks.become_due(given)
    epoch = checks.claim(given)["lease_epoch"]
    checks.record(given, epoch, None)
    with refused("VC002"):
        checks.record(given, epoch, None)


def test_a_publication_is_recorded_once(given: Fixture) -> None:
    given.consent(given.user())
    anchors.anchor(given)
    publication = anchors.publication(given)["id"]
    epoch = given.one("select * from voice_clone.claim_anchor(%s)", publication)["lease_epoch"]
    given.one(PUBLISH, publication, epoch)
    with refused("VC002"):
        given.one(PUBLISH, publication, epoch)


def test_a_step_is_marked_once(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    given.enroll(attempt)
    epoch = given.step(attempt, "runtime")
    given.one(MARK, attempt, epoch)
    with refused("VC002"):
        given.one(MARK, attempt, epoch)


def test_a_sample_whose_worker_is_gone_takes_no_place_of_its_user(given: Fixture) -> None:
    user = given.user()
    first, second, third = (given.pending_sample(user) for _ in range(3))
    for sample in (first, second):
        assert given.claim_sample(sample)["outcome"] == "claimed"
    assert given.claim_sample(third)["outcome"] == "user_busy"
    given.superuser.execute(
        "update public.voice_samples set lease_expires_at = now() where status = 'processing'"
    )
    assert given.claim_sample(third)["outcome"] == "claimed"


def test_a_worker_closes_its_own_enrollment_before_it_settles(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    given.one(RESOLVE, enrollment, epoch, "closed")
    row = given.truth("select status from voice_clone.enrollments where id = %s", enrollment)
    assert row["status"] == "closed"


def test_another_worker_says_that_it_does_not_know_before_the_enrollment_settles(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    enrollment = given.intend(attempt, given.claim(attempt, lease=0)["lease_epoch"])
    epoch = given.claim(attempt)["lease_epoch"]
    with refused("VC007", "enrollment_not_settled"):
        given.one(RESOLVE, enrollment, epoch, "closed")
    given.one(RESOLVE, enrollment, epoch, "unknown")
    row = given.truth("select status from voice_clone.enrollments where id = %s", enrollment)
    assert row["status"] == "unknown"


@pytest.mark.parametrize(
    ("status", "sqlstate", "code"), [("closed", "VC007", "enrollment_has_voice"), ("unknown", "VC001", None)]
)
def test_an_enrollment_with_a_voice_is_not_resolved(
    given: Fixture, status: str, sqlstate: str, code: str | None
) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch, settle=0)
    given.superuser.execute(
        "update voice_clone.enrollments set status = 'orphaned', provider_voice_id = 'v' where id = %s",
        (enrollment,),
    )
    with refused(sqlstate, code):
        given.one(RESOLVE, enrollment, epoch, status)


def test_a_worker_that_lost_its_lease_fails_no_attempt(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    late = given.claim(attempt, lease=0)["lease_epoch"]
    given.claim(attempt)
    with refused("VC002"):
        given.one(FAIL, attempt, late)
    assert given.attempt(attempt)["status"] == "processing"


def test_an_enrollment_takes_only_the_edges(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    given.enroll(attempt)
    with refused("VC001"):
        given.superuser.execute(
            "update voice_clone.enrollments set status = 'removing' where attempt_id = %s", (attempt,)
        )
