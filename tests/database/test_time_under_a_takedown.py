"""The time that an attempt is frozen counts against nothing that it waits for."""

from uuid import UUID

from tests.database.situations import sweep
from tests.database.test_takedowns import lift, take_down
from tests.database.test_verification import complete, postpone, verifying, work
from tests.fixture import Fixture

# By more days than a verification or an outage may take.
MOVE = """
update public.voice_clone_attempts
set processing_at = processing_at - interval '4 days', verifying_at = verifying_at - interval '4 days',
    taken_down_at = taken_down_at - interval '4 days', waiting_since = waiting_since - interval '4 days'
where id = %s
"""


def pass_days(given: Fixture, attempt: UUID) -> None:
    """Every time of the attempt moves back, as if that long had gone by, and a sweep looks at it."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(MOVE, (attempt,))
        given.superuser.execute(
            "insert into voice_clone.deadlines (attempt_id, sweep_at) values (%s, now())"
            " on conflict (attempt_id) do update set sweep_at = now()",
            (attempt,),
        )


def test_a_frozen_verification_does_not_run_out(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    take_down(given, attempt)
    pass_days(given, attempt)
    assert "failed" not in sweep(given)
    assert given.attempt(attempt)["status"] == "verifying"


def test_a_lifted_verification_has_the_time_that_it_had(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    take_down(given, attempt)
    pass_days(given, attempt)
    lift(given, attempt)
    assert given.truth("select now() - verifying_at < '1 minute' as new from public.voice_clone_attempts")[
        "new"
    ]
    replayed = given.truth("select * from voice_clone.replay(%s)", attempt)
    assert replayed["verifying_at"] == given.attempt(attempt)["verifying_at"]
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    assert "failed" not in sweep(given)
    complete(given, attempt, work(given, attempt))
    assert given.attempt(attempt)["status"] == "ready"


def test_a_frozen_verification_is_not_polled(given: Fixture) -> None:
    """A poll that began before ends; its next message is the last."""
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    poll = work(given, attempt)
    take_down(given, attempt)
    assert work(given, attempt)["outcome"] == "nothing_to_do"
    given.superuser.execute("select pgmq.purge_queue('voice_clone_verify')")
    postpone(given, attempt, poll)
    kept = "select count(*) from pgmq.q_voice_clone_verify"  # those that become visible later too
    assert given.truth(kept)["count"] == 0
    lift(given, attempt)
    assert (given.truth(kept)["count"], given.attempt(attempt)["verify_count"]) == (1, 1)


def test_a_lifted_attempt_waits_for_an_outage_as_long_as_before(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    outage = "select * from voice_clone.requeue_attempt(%s, %s, 0, 'provider_unavailable', 'm', null, true)"
    given.one(outage, attempt, epoch)
    take_down(given, attempt)
    pass_days(given, attempt)
    lift(given, attempt)
    given.superuser.execute("update public.voice_clone_attempts set not_before = null")
    given.one(outage, attempt, given.claim(attempt)["lease_epoch"])
    assert given.attempt(attempt)["status"] == "queued"
