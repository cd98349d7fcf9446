"""One message mirrors many transitions, locked rows are left for later, lost messages are sent again."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.database.situations import fail, reset, sweep
from tests.database.test_sweep import lose, wait
from tests.fixture import Fixture

MIRROR: LiteralString = "select voice_clone.mirror_unlocked_reflections(%s) as left"


def left(given: Fixture, *reflections: UUID) -> list[UUID]:
    return given.one(MIRROR, list(reflections))["left"]


def messages(given: Fixture, *, visible: bool = False) -> list[str]:
    rows = given.superuser.execute(
        "select message ->> 'id' as id from pgmq.q_voice_mirror"
        " where not %s or vt <= clock_timestamp() order by msg_id",
        (visible,),
    )
    return [row["id"] for row in rows]


def version(given: Fixture, reflection: UUID) -> int:
    return given.voice(reflection).get("version", 0)


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


@pytest.fixture
def reflection(given: Fixture, user: UUID) -> UUID:
    return given.reflection(user)


# One message for the transitions that follow each other.


def test_a_lifecycle_sends_one_message_for_its_progress_and_one_for_its_end(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    given.attach(attempt, epoch, given.intend(attempt, epoch))
    runtime = given.step(attempt, "runtime")
    assert messages(given) == [str(reflection)]
    assert messages(given, visible=True) == [], "more follows soon"
    given.one("select * from voice_clone.mark_runtime(%s, %s, 'failed', 'c', 'm', 0, null)", attempt, runtime)
    assert messages(given) == [str(reflection)] * 2
    assert messages(given, visible=True) == [str(reflection)]


def test_a_transition_after_the_mirror_was_written_sends_its_own_message(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    attempt = given.queued(user, reflection)
    assert left(given, reflection) == []
    lose(given, "voice_mirror")
    given.claim(attempt)
    assert messages(given) == [str(reflection)]


def test_a_transition_that_commits_while_the_consumer_reads_is_not_lost(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    """The consumer has read the attempt and is not committed: the transition cannot rely on its message."""
    attempt = given.queued(user, reflection)
    with psycopg.connect(given.database.service) as consumer:
        consumer.execute(MIRROR, ([reflection],))
        given.superuser.execute("delete from pgmq.q_voice_mirror")  # acknowledged, in effect
        given.claim(attempt)
        assert messages(given) == [str(reflection)]
    assert version(given, reflection) < given.attempt(attempt)["version"]
    assert left(given, reflection) == []
    assert version(given, reflection) == given.attempt(attempt)["version"]


def test_the_consumer_leaves_a_reflection_whose_transition_relies_on_its_message(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    attempt = given.queued(user, reflection)
    with psycopg.connect(given.database.service) as worker:
        worker.execute("select from voice_clone.claim_attempt(%s, 'worker', 60, 4, true)", (attempt,))
        assert messages(given) == [str(reflection)], "none of its own"
        assert left(given, reflection) == [reflection]
    assert left(given, reflection) == []
    assert version(given, reflection) == given.attempt(attempt)["version"]


def test_under_an_older_snapshot_each_transition_sends_its_own_message(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    attempt = given.queued(user, reflection)
    with psycopg.connect(given.database.service) as worker:
        worker.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        worker.execute("select from voice_clone.claim_attempt(%s, 'worker', 60, 4, true)", (attempt,))
    assert messages(given) == [str(reflection)] * 2


def test_consumers_and_workers_at_once_lose_no_transition(given: Fixture, user: UUID) -> None:
    """Consumers acknowledge what they mirrored; at the end each mirror is current and no message is left."""
    reflections = [given.reflection(user) for _ in range(4)]
    attempts = [given.queued(user, reflection) for reflection in reflections]
    done: list[UUID] = []

    def work(attempt: UUID) -> None:
        with psycopg.connect(given.database.service, autocommit=True) as worker:
            for _ in range(12):
                worker.execute("select from voice_clone.claim_attempt(%s, 'w', 0, 99, true)", (attempt,))
        done.append(attempt)

    def consume(_: int) -> None:
        with psycopg.connect(given.database.service, autocommit=True) as consumer:
            while len(done) < len(attempts):
                handle(consumer)

    def handle(consumer: psycopg.Connection) -> None:
        with consumer.transaction():
            given_ids = consumer.execute(
                "select msg_id, (message ->> 'id')::uuid"
                " from voice_clone.read_messages('voice_mirror', 0, 50)"
            ).fetchall()
            row = consumer.execute(MIRROR, ([each for _, each in given_ids],)).fetchone()
            kept = set(row[0]) if row else set()
            consumer.execute(
                "select voice_clone.acknowledge_messages('voice_mirror', %s)",
                ([number for number, each in given_ids if each not in kept],),
            )

    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'mirror_progress'")
    given.superuser.execute("update public.voice_clone_attempts set process_budget = 1000")
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(work, each) for each in attempts] + [pool.submit(consume, n) for n in (1, 2)]
        for each in running:
            each.result()
    with psycopg.connect(given.database.service, autocommit=True) as consumer:
        while messages(given):
            handle(consumer)
    shown = [version(given, each) for each in reflections]
    assert shown == [given.attempt(each)["version"] for each in attempts]


# One locked reflection.


def test_a_locked_reflection_keeps_no_other_waiting(given: Fixture, user: UUID, reflection: UUID) -> None:
    other = given.reflection(user)
    given.queued(user, reflection)
    given.queued(user, other)
    with psycopg.connect(given.database.superuser) as application:
        application.execute("select from public.reflections where id = %s for update", (reflection,))
        assert left(given, reflection, other) == [reflection]
    assert (version(given, reflection), version(given, other) > 0) == (0, True)
    assert left(given, reflection, other) == []
    assert version(given, reflection) > 0


BLOCKING: LiteralString = """
create table public.parents (id uuid primary key, changes int not null default 0);
create function public.count_in_parent() returns trigger language plpgsql as $$
begin
  update public.parents set changes = changes + 1 where id = new.user_id;
  return new;
end $$;
create trigger count_in_parent before update on public.reflections
  for each row execute function public.count_in_parent()
"""


def test_a_trigger_of_the_application_that_waits_keeps_no_other_waiting(given: Fixture, user: UUID) -> None:
    given.superuser.execute(BLOCKING)
    given.superuser.execute("insert into public.parents (id) values (%s)", (user,))
    stranger = given.user()
    blocked = [given.reflection(user) for _ in range(3)]
    free = [given.reflection(stranger) for _ in range(3)]
    for owner, reflections in ((user, blocked), (stranger, free)):
        for each in reflections:
            given.queued(owner, each)
    with psycopg.connect(given.database.superuser) as application:
        application.execute("select from public.parents for update")
        assert sorted(left(given, *blocked, *free)) == sorted(blocked)
    assert all(version(given, each) > 0 for each in free)
    assert left(given, *blocked, *free) == []


def test_a_reflection_that_is_deleted_is_not_left(given: Fixture, user: UUID, reflection: UUID) -> None:
    given.queued(user, reflection)
    given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
    assert left(given, reflection) == []


# A lost message.


def ready(given: Fixture, user: UUID, reflection: UUID) -> None:
    given.launchable(user, reflection)


def failed(given: Fixture, user: UUID, reflection: UUID) -> None:
    fail(given, given.queued(user, reflection))


def waiting(given: Fixture, user: UUID, reflection: UUID) -> None:
    given.queued(user, reflection)


def without_an_active_attempt(given: Fixture, user: UUID, reflection: UUID) -> None:
    given.launchable(user, reflection)
    reset(given, reflection, user)


@pytest.mark.parametrize("situation", [ready, failed, waiting, without_an_active_attempt])
def test_a_mirror_whose_message_was_lost_is_repaired(
    given: Fixture, user: UUID, reflection: UUID, situation: type
) -> None:
    situation(given, user, reflection)
    lose(given, "voice_mirror")
    assert sweep(given) == {}
    wait(given)
    assert sweep(given)["mirrors"] >= 1
    assert set(messages(given, visible=True)) == {str(reflection)}
    assert sweep(given) == {}, "not again at once"
    assert left(given, reflection) == []
    wait(given)
    assert "mirrors" not in sweep(given)


def test_a_locked_reflection_does_not_stop_the_sweep(given: Fixture, user: UUID, reflection: UUID) -> None:
    given.launchable(user, reflection)
    lose(given, "voice_mirror")
    wait(given)
    with psycopg.connect(given.database.superuser) as application:
        application.execute("select from public.reflections where id = %s for update", (reflection,))
        assert sweep(given) == {"mirrors": 1, "postponed": 1}
    assert messages(given) == [str(reflection)]


def test_the_sweep_compares_a_mirror_that_is_current_once(
    given: Fixture, user: UUID, reflection: UUID
) -> None:
    attempt = given.launchable(user, reflection)
    given.mirror(reflection)
    wait(given)
    assert sweep(given) == {"compared": 1}
    assert given.deadline(attempt)["sweep_at"] is None
    wait(given)
    assert sweep(given) == {}
