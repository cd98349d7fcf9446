"""Each guard of the speech jobs, removed: a test of test_speech_jobs.py fails without it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.database import test_speech_jobs as jobs
from tests.database.invariants import Mutant, patch, run
from tests.database.test_speech_jobs import sample, user
from tests.fixture import Fixture

__all__ = ["sample", "user"]
pytestmark = pytest.mark.one_postgres

REQUEUE = "voice_clone.requeue_or_fail_speech"
MUTANTS: dict[str, tuple[Mutant, Callable[..., Any]]] = {
    "requests that do not wait for each other": (
        patch("voice_clone.check_open_speech_jobs", "perform pg_advisory_xact_lock(", "perform abs("),
        jobs.test_two_jobs_at_once_share_one_attempt,
    ),
    "an attempt of each job": (
        patch("voice_clone.speech_attempt", "limit 1 for share", "limit 0 for share"),
        jobs.test_further_jobs_share_the_attempt_and_then_the_voice,
    ),
    "a deleted voice that speaks": (
        patch("voice_clone.speech_attempt", "and v.user_id = p_user and v.deleted_at is null", ""),
        jobs.test_a_deleted_voice_is_not_used_again,
    ),
    "a sample that was not inspected": (
        patch("voice_clone.request_speech", "s.status <> 'ready'", "false"),
        jobs.test_a_sample_that_is_missing_or_not_ready_is_refused,
    ),
    "any number of open jobs": (
        patch("voice_clone.check_open_speech_jobs", ">= c_limit", ">= 1000"),
        jobs.test_a_user_has_twenty_open_jobs,
    ),
    "a message before the voice": (
        patch("voice_clone.send_speech_job", "or not voice_clone.has_outcome(j.attempt_id)", ""),
        jobs.test_a_job_opens_an_attempt_and_waits_for_it_without_a_message,
    ),
    "an end of the attempt that sends nothing": (
        run("drop trigger voice_clone_attempts_send_speech_jobs on public.voice_clone_attempts"),
        jobs.test_a_job_opens_an_attempt_and_waits_for_it_without_a_message,
    ),
    "a stale worker that writes": (
        patch("voice_clone.require_speech_lease", "and x.lease_epoch = p_epoch", ""),
        jobs.test_a_worker_with_an_older_lease_writes_nothing,
    ),
    "a stale worker that renews": (
        patch("voice_clone.renew_speech_lease", "and j.lease_epoch = p_epoch", ""),
        jobs.test_a_worker_with_an_older_lease_writes_nothing,
    ),
    "an epoch that does not grow": (
        patch(
            "voice_clone.claim_speech_job", "lease_epoch = x.lease_epoch + 1", "lease_epoch = x.lease_epoch"
        ),
        jobs.test_a_worker_with_an_older_lease_writes_nothing,
    ),
    "a lease that another takes": (
        patch("voice_clone.claim_speech_job", "j.lease_expires_at > now()", "false"),
        jobs.test_a_worker_with_an_older_lease_writes_nothing,
    ),
    "a message that stays": (
        patch("voice_clone.require_speech_lease", "where p_message_id is not null", "where false"),
        jobs.test_a_message_goes_with_its_effect,
    ),
    "an outage that uses up tries": (
        patch(REQUEUE, "(p_is_outage and v_again)::int", "0"),
        jobs.test_an_outage_uses_up_no_try_and_has_a_limit,
    ),
    "an outage without a limit": (
        patch(REQUEUE, "coalesce(j.waiting_since + voice_clone.timeout('outage') > now(), true)", "true"),
        jobs.test_an_outage_uses_up_no_try_and_has_a_limit,
    ),
    "a budget without a limit": (
        patch(REQUEUE, "j.try_count < j.try_budget", "true"),
        jobs.test_a_fault_of_its_own_uses_up_the_budget,
    ),
    "a lost lease without a budget": (
        patch("voice_clone.claim_speech_job", "j.try_count >= j.try_budget", "false"),
        jobs.test_a_claim_of_a_lost_lease_keeps_the_budget,
    ),
    "a job before its time": (
        patch("voice_clone.claim_speech_job", "j.not_before > now()", "false"),
        jobs.test_a_long_wait_is_sent_by_the_sweep,
    ),
    "a step without a deadline": (
        patch("voice_clone.sweep_speech_job", "j.leased_at + voice_clone.timeout('step') > now()", "true"),
        jobs.test_a_renewed_lease_is_postponed_until_its_deadline,
    ),
    "no sweep": (
        patch(
            "voice_clone.sweep", "voice_clone.sweep_speech_jobs(v_limit)", "voice_clone.sweep_speech_jobs(0)"
        ),
        jobs.test_a_worker_that_died_leaves_its_job_to_the_sweep,
    ),
    "a job without a slot": (
        patch("voice_clone.claim_speech_job", "v_slot <> 'taken'", "false"),
        jobs.test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows,
    ),
    "a slot that is not released": (
        run("drop trigger speech_jobs_release_slot on public.speech_jobs"),
        jobs.test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows,
    ),
    "a slot that goes with a deleted job": (
        run("drop trigger speech_jobs_release_deleted_slot on public.speech_jobs"),
        jobs.test_a_user_speaks_so_many_jobs_at_once_and_the_next_follows,
    ),
    "any number of retries": (
        patch("voice_clone.retry_speech", "j.retry_count >= j.retry_budget", "false"),
        jobs.test_a_job_is_retried_so_often_and_not_once_its_text_is_gone,
    ),
    "a retry without a text": (
        patch("voice_clone.retry_speech", "j.removed_at is not null", "false"),
        jobs.test_a_job_is_retried_so_often_and_not_once_its_text_is_gone,
    ),
    "a speech that outlives its job": (
        patch("voice_clone.delete_speech_job", "perform voice_clone.remove_speech", "perform concat"),
        jobs.test_a_deleted_job_is_gone_with_its_speech,
    ),
    "a speech that outlives its retention": (
        patch("voice_clone.sweep_speech_job", "perform voice_clone.remove_speech", "perform concat"),
        jobs.test_a_speech_expires,
    ),
    "a job of another user's sample": (
        run("drop trigger speech_jobs_require_own_attempt on public.speech_jobs"),
        jobs.test_a_job_has_its_own_users_sample_and_attempt,
    ),
    "a text that outlives its user": (
        patch("voice_clone.silence", "perform voice_clone.end_speech_jobs", "perform concat"),
        jobs.test_a_deleted_user_leaves_a_record_without_a_text,
    ),
}
ENDS: dict[str, Mutant] = {
    "a voice that ends without its jobs": patch(
        "voice_clone.silence", "perform voice_clone.end_speech_jobs", "perform concat"
    ),
    "a speech that outlives its voice": patch(
        "voice_clone.end_speech_jobs", "perform voice_clone.remove_speech", "perform concat"
    ),
}
FOUND = (AssertionError, psycopg.Error, pytest.fail.Exception)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_guard_is_found(given: Fixture, user: UUID, sample: UUID, name: str) -> None:
    mutate, test = MUTANTS[name]
    mutate(given)
    with pytest.raises(FOUND):
        test(given, user, sample)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("ends", ["consent_revoked", "voice_deleted"])
def test_a_lost_end_is_found(given: Fixture, user: UUID, sample: UUID, ends: str, name: str) -> None:
    ENDS[name](given)
    with pytest.raises(FOUND):
        jobs.test_the_end_of_a_voice_ends_its_jobs_and_removes_what_they_spoke(given, user, sample, ends)
