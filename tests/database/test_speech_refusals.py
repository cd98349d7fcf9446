"""Retries of speech jobs that are refused, each with its own reason, and jobs that have no file to remove."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import meanwhile, refused
from tests.database.test_lost_voices import speech
from tests.fixture import Fixture, Row

CLAIM = "select * from voice_clone.claim_speech_job(%s, 'worker', 60, 4)"
FAIL = "select voice_clone.fail_speech(%s, 1, 'inference_failed', 'No.', null, null)"


def retry(given: Fixture, job: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.retry_speech(%s, %s, 'Ada')", job, user)


def refusal(given: Fixture, job: UUID, user: UUID) -> tuple[str | None, str | None]:
    with pytest.raises(psycopg.Error) as caught:
        retry(given, job, user)
    return caught.value.sqlstate, caught.value.diag.message_detail


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


@pytest.fixture
def job(given: Fixture, user: UUID) -> UUID:
    attempt = given.queued(user, None)
    given.enroll(attempt)
    return speech(given, user, given.attempt(attempt)["sample_id"])["id"]


def test_a_job_that_is_not_there_is_named(given: Fixture, user: UUID) -> None:
    assert refusal(given, uuid4(), user) == ("VC004", '{"field": "jobId"}')


def test_a_job_that_waits_is_told_its_status(given: Fixture, user: UUID, job: UUID) -> None:
    assert refusal(given, job, user) == ("VC007", '{"code": "nothing_to_retry", "status": "queued"}')


def test_a_job_that_is_deleted_meanwhile_is_not_retried(given: Fixture, user: UUID, job: UUID) -> None:
    given.one(CLAIM, job)
    given.one(FAIL, job)
    with meanwhile(given, lambda: retry(given, job, user)) as retried:
        given.superuser.execute("delete from public.speech_jobs where id = %s", (job,))
    with refused("VC007", "nothing_to_retry"):
        retried[0].result(10)


@pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "queued"])
def test_a_job_that_no_worker_had_leaves_no_file_to_remove(
    given: Fixture, user: UUID, job: UUID, is_claimed: bool
) -> None:
    if is_claimed:
        given.one(CLAIM, job)
    assert given.one("select voice_clone.delete_speech_job(%s, %s) as deleted", job, user)["deleted"]
    removals = "select count(*) from voice_clone.object_removals where bucket = 'speeches'"
    assert given.truth(removals)["count"] == int(is_claimed)
