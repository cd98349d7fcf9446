"""Job slots: a job over the cap of its user or of all waits without a message until it is handed a slot."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from tests.database.situations import ids, lose, sweep
from tests.database.test_speech_jobs import request as request_speech
from tests.fixture import Fixture, Row

HOLDERS = "select job_id from voice_clone.job_slots where job_id is not null"


def queued(given: Fixture, user: UUID, count: int) -> list[UUID]:
    given.consents.setdefault(user, given.consent(user))
    return [given.queued(user, given.reflection(user)) for _ in range(count)]


def claim(given: Fixture, attempt: UUID, cap: int, most: int = 50) -> Row:
    return given.one(
        "select * from voice_clone.claim_attempt(%s, 'worker', 60, %s, false, %s)", attempt, cap, most
    )


def outcome(given: Fixture, attempt: UUID, cap: int, most: int = 50) -> str:
    return claim(given, attempt, cap, most)["outcome"]


def end(given: Fixture, attempt: UUID, epoch: int) -> None:
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'No.', null, null)", attempt, epoch)


def cancel(given: Fixture, attempt: UUID, user: UUID) -> None:
    given.one(
        "select * from voice_clone.reset_attempt(%s, %s)", given.attempt(attempt)["reflection_id"], user
    )


def waits(given: Fixture) -> bool:
    """Whether the service's connection waits for a lock."""
    pid = given.service.info.backend_pid
    return given.truth("select cardinality(pg_blocking_pids(%s)) > 0 as waits", pid)["waits"]


def turns(given: Fixture) -> list[str]:
    """The attempts that have a message; the messages are deleted."""
    found = ids(given, "voice_clone_process")
    lose(given)
    return found


def holders(given: Fixture) -> set[UUID]:
    return {row["job_id"] for row in given.superuser.execute(HOLDERS).fetchall()}


def test_a_job_over_its_users_cap_has_no_message_until_its_turn(given: Fixture) -> None:
    first, second, third = queued(given, given.user(), 3)
    epoch = claim(given, first, 1)["lease_epoch"]
    lose(given)
    for waiting in (second, third):
        refused = claim(given, waiting, 1)
        assert (refused["outcome"], refused["retry_after_seconds"]) == ("user_busy", None)
    assert turns(given) == []
    end(given, first, epoch)
    assert turns(given) == [str(second)]
    end(given, second, claim(given, second, 1)["lease_epoch"])
    assert turns(given) == [str(third)]


def test_a_job_over_the_cap_of_all_has_no_message_until_its_turn(given: Fixture) -> None:
    (running,) = queued(given, given.user(), 1)
    (waiting,) = queued(given, given.user(), 1)
    epoch = claim(given, running, 4, 1)["lease_epoch"]
    lose(given)
    assert outcome(given, waiting, 4, 1) == "all_busy"
    assert turns(given) == []
    end(given, running, epoch)
    assert turns(given) == [str(waiting)]
    assert holders(given) == {waiting}
    assert outcome(given, waiting, 4, 1) == "claimed"


def test_two_slots_that_become_free_at_once_are_both_handed_over(given: Fixture) -> None:
    running = queued(given, user := given.user(), 2)
    epochs = [claim(given, attempt, 2)["lease_epoch"] for attempt in running]
    waiting = queued(given, user, 2)
    assert [outcome(given, attempt, 2) for attempt in waiting] == ["user_busy"] * 2
    lose(given)
    for attempt, epoch in zip(running, epochs, strict=True):
        end(given, attempt, epoch)
    assert turns(given) == [str(attempt) for attempt in waiting]
    assert holders(given) == set(waiting)


WAITING = """
insert into voice_clone.waiting_jobs (job_id, user_id, queue, awaits, turn_at, max_jobs)
select gen_random_uuid(), gen_random_uuid(), 'voice_clone_process', 'slot', now() + n * interval '1 s', 1
from generate_series(1, 2000) n
"""
INDEX = "voice_clone.waiting_jobs_turn_at_idx"


def test_a_hand_over_reads_the_next_of_those_that_wait_and_not_all(given: Fixture) -> None:
    """Also where the planner believes that the index is dear, as it does where it counted few."""
    given.superuser.execute("set random_page_cost = 1000")
    with given.superuser.transaction():
        given.superuser.execute(WAITING)
        given.superuser.execute("select voice_clone.hand_over_job_slot(1)")
        read = given.truth("select pg_stat_get_xact_tuples_returned(%s::regclass) as count", INDEX)["count"]
    assert 1 <= read < 50


def test_no_other_job_takes_a_slot_that_was_handed_over(given: Fixture) -> None:
    (running,) = queued(given, given.user(), 1)
    (waiting,) = queued(given, given.user(), 1)
    (late,) = queued(given, given.user(), 1)
    epoch = claim(given, running, 4, 1)["lease_epoch"]
    assert outcome(given, waiting, 4, 1) == "all_busy"
    end(given, running, epoch)
    assert outcome(given, late, 4, 1) == "all_busy"
    assert outcome(given, waiting, 4, 1) == "claimed"


def test_slots_are_handed_out_fairly_between_users(given: Fixture) -> None:
    (running,) = queued(given, given.user(), 1)
    epoch = claim(given, running, 4, 1)["lease_epoch"]
    many = queued(given, given.user(), 3)
    assert [outcome(given, attempt, 4, 1) for attempt in many] == ["all_busy"] * 3
    (other,) = queued(given, given.user(), 1)
    assert outcome(given, other, 4, 1) == "all_busy"
    lose(given)
    order = []
    for _ in range(4):
        end(given, running, epoch)
        (turn,) = turns(given)
        order.append(running := UUID(turn))
        epoch = claim(given, running, 4, 1)["lease_epoch"]
    assert order == [many[0], other, many[1], many[2]]


def test_a_waiting_job_counts_for_its_user(given: Fixture) -> None:
    (running,) = queued(given, given.user(), 1)
    claim(given, running, 4, 1)
    attempts = queued(given, given.user(), 3)
    assert [outcome(given, attempt, 2, 1) for attempt in attempts] == ["all_busy", "all_busy", "user_busy"]


def test_a_turn_of_a_cancelled_job_goes_to_the_next(given: Fixture) -> None:
    first, second, third = queued(given, user := given.user(), 3)
    epoch = claim(given, first, 1)["lease_epoch"]
    assert [outcome(given, attempt, 1) for attempt in (second, third)] == ["user_busy"] * 2
    end(given, first, epoch)
    lose(given)
    cancel(given, second, user)
    assert turns(given) == [str(third)]
    assert holders(given) == {third}


def test_a_cancelled_job_that_waited_leaves_its_place_to_the_next_of_its_user(given: Fixture) -> None:
    (running,) = queued(given, given.user(), 1)
    epoch = claim(given, running, 1, 1)["lease_epoch"]
    first, second = queued(given, user := given.user(), 2)
    assert [outcome(given, attempt, 1, 1) for attempt in (first, second)] == ["all_busy", "user_busy"]
    cancel(given, first, user)
    lose(given)
    end(given, running, epoch)
    assert turns(given) == [str(second)]


def test_a_lease_that_ends_frees_its_slot(given: Fixture) -> None:
    first, second = queued(given, given.user(), 2)
    claim(given, first, 1)
    assert outcome(given, second, 1) == "user_busy"
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now(), lease_expires_at = now() - interval '1 s'"
        " where attempt_id = %s", (first,),
    )  # fmt: skip
    lose(given)
    given.one("select * from voice_clone.sweep(10)")
    assert set(turns(given)) == {str(first), str(second)}
    assert holders(given) == {second}


def test_a_claim_after_a_lost_lease_waits_behind_those_that_wait(given: Fixture) -> None:
    (lost,) = queued(given, given.user(), 1)
    claim(given, lost, 1, 1)
    (waiting,) = queued(given, given.user(), 1)
    assert outcome(given, waiting, 1, 1) == "all_busy"
    given.superuser.execute(
        "update voice_clone.deadlines set lease_expires_at = now() - interval '1 s' where attempt_id = %s",
        (lost,),
    )
    assert outcome(given, lost, 1, 1) == "all_busy"
    assert given.attempt(lost)["status"] == "queued"
    assert holders(given) == {waiting}


def test_the_sweep_sends_no_message_of_a_job_that_waits(given: Fixture) -> None:
    first, second = queued(given, given.user(), 2)
    claim(given, first, 1)
    assert outcome(given, second, 1) == "user_busy"
    lose(given)
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (second,)
    )
    given.one("select * from voice_clone.sweep(10)")
    assert turns(given) == []


def test_a_turn_that_was_lost_is_sent_by_the_sweep(given: Fixture) -> None:
    first, second = queued(given, given.user(), 2)
    epoch = claim(given, first, 1)["lease_epoch"]
    assert outcome(given, second, 1) == "user_busy"
    end(given, first, epoch)
    lose(given)
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (second,)
    )
    given.one("select * from voice_clone.sweep(10)")
    assert turns(given) == [str(second)]


@pytest.mark.parametrize("most", [1, 2])
def test_a_claim_beside_the_end_that_hands_it_a_slot_takes_that_slot(given: Fixture, most: int) -> None:
    """As of a message that comes twice; also where another slot is free by then (MAX_JOBS was raised)."""
    running, waiting = queued(given, given.user(), 2)
    epoch = claim(given, running, 1, 1)["lease_epoch"]
    assert outcome(given, waiting, 1, 1) == "user_busy"
    given.superuser.execute("update voice_clone.waiting_jobs set awaits = 'slot'")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(given.database.service) as ending:
        ending.execute("select voice_clone.fail_attempt(%s, %s, 'x', 'No.', null, null)", (running, epoch))
        claimed = pool.submit(outcome, given, waiting, 2, most)
        while not waits(given) and not claimed.done():
            pass
        ending.commit()
        assert claimed.result(60) == "claimed"
    held = given.superuser.execute(HOLDERS).fetchall()
    assert [row["job_id"] for row in held] == [waiting]
    assert given.truth("select count(*) from voice_clone.waiting_jobs") == {"count": 0}


@pytest.mark.parametrize("awaits", ["user", "slot"])
def test_jobs_that_wait_although_slots_are_free_get_them_by_the_sweep(given: Fixture, awaits: str) -> None:
    (running,) = queued(given, given.user(), 1)
    claim(given, running, 1, 1)
    (waiting,) = queued(given, given.user(), 1)
    assert outcome(given, waiting, 1, 1) == "all_busy"
    given.superuser.execute("insert into voice_clone.job_slots (number) values (2)")
    given.superuser.execute("update voice_clone.waiting_jobs set max_jobs = 2, awaits = %s", (awaits,))
    lose(given)
    assert sweep(given)["job_slots"] == 1
    assert turns(given) == [str(waiting)]
    assert holders(given) == {running, waiting}


KINDS = {  # of a job: its queue, its claim, its end
    "clone": (
        "voice_clone_process",
        "select outcome, lease_epoch from voice_clone.claim_attempt(%s, 'w', 60, 2, false, 4)",
        "select voice_clone.fail_attempt(%s, %s, 'x', 'No.', null, null)",
    ),
    "speech": (
        "speech_jobs",
        "select outcome, lease_epoch from voice_clone.claim_speech_job(%s, 'w', 60, 2, 4)",
        "select voice_clone.fail_speech(%s, %s, 'x', 'No.', null, null)",
    ),
}
PROCESSING = """
select count(*), max(each) from (select count(*) over (partition by user_id) as each from (
  select user_id from public.voice_clone_attempts where status = 'processing'
  union all select user_id from public.speech_jobs where status = 'processing') job) processing
"""


@pytest.mark.one_postgres
def test_many_claims_and_ends_at_once_keep_both_caps_and_lose_no_turn(given: Fixture) -> None:
    """Of clones and speech jobs together."""
    users = [given.user() for _ in range(6)]
    jobs = {attempt: "clone" for user in users for attempt in queued(given, user, 3)}
    jobs |= {job: "speech" for user in users for job in speeches(given, user, 3)}
    lose(given)

    def work(job: UUID) -> list[tuple[int, int]]:
        """Claim and end the job and those whose messages appear, and look at the caps meanwhile."""
        seen = []
        with psycopg.connect(given.database.superuser, autocommit=True) as connection:
            todo = [job]
            while todo:
                ready = todo.pop()
                _, claiming, ending = KINDS[jobs[ready]]
                claimed = connection.execute(claiming.encode(), (ready,)).fetchone()
                if claimed is not None and claimed[0] == "claimed":
                    seen.append(connection.execute(PROCESSING).fetchone())
                    connection.execute(ending.encode(), (ready, claimed[1]))
                for queue, _, _ in KINDS.values():
                    messages = connection.execute("select message ->> 'id' from pgmq.pop(%s)", (queue,))
                    todo += [UUID(id_) for (id_,) in messages.fetchall()]
        return seen

    with ThreadPoolExecutor(8) as pool:
        caps = [each for seen in pool.map(work, jobs) for each in seen]
    assert len(caps) == len(jobs)
    assert max(total for total, _ in caps) <= 4
    assert max(of_user for _, of_user in caps) <= 2
    for table in ("voice_clone_attempts", "speech_jobs"):
        ends = given.superuser.execute(
            sql.SQL("select distinct status from {} where id = any (%s)").format(
                sql.Identifier("public", table)
            ),
            (list(jobs),),
        )
        assert [row["status"] for row in ends] == ["failed"]
    assert given.truth("select count(*) from voice_clone.waiting_jobs") == {"count": 0}
    assert holders(given) == set()


@pytest.mark.one_postgres
def test_claims_and_ends_at_once_wait_for_no_slot_that_another_claim_looked_at(given: Fixture) -> None:
    """A claim that finds a slot taken meanwhile keeps no lock on it while it waits for the ends of jobs."""

    def work(_: int) -> None:
        user = uuid4()
        with psycopg.connect(given.database.superuser, autocommit=True) as connection:
            for job in (uuid4() for _ in range(100)):
                connection.execute(
                    "select voice_clone.take_job_slot(%s, %s, 'speech_jobs', null, 4, 16)", (job, user)
                )
                connection.execute("select voice_clone.release_job_slot(%s, %s)", (job, user))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert given.truth("select count(*) from voice_clone.waiting_jobs") == {"count": 0}


def speeches(given: Fixture, user: UUID, count: int) -> list[UUID]:
    """Jobs of a sample that has a voice."""
    attempt = given.queued(user, None)
    given.enroll(attempt)
    sample = given.attempt(attempt)["sample_id"]
    return [request_speech(given, user, sample, f"Number {number}.")["id"] for number in range(count)]
