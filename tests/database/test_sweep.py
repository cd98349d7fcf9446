"""What waits too long is moved on by the sweep, whatever was lost, and by one sweep only."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.moves import events, ids
from tests.world import World


def sweep(world: World, limit: int = 100) -> dict[str, int]:
    rows = world.service.execute("select what, count from voice_clone.sweep(%s)", (limit,))
    return {row["what"]: row["count"] for row in rows}


def past_triggers(world: World, sql: LiteralString, *parameters: Any) -> None:
    with world.superuser.transaction():
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute(sql, parameters)


def wait(world: World) -> None:
    """Until whatever the sweep is to look at is due."""
    past_triggers(world, "update voice_clone.deadlines set sweep_at = now()")


def wait_past(world: World, name: str) -> None:
    """Until whatever the sweep is to look at is due, and past the deadline of this name."""
    world.superuser.execute("update voice_clone.timeouts set value = '0' where name = %s", (name,))
    wait(world)


def lose(world: World, queue: str) -> None:
    world.superuser.execute("select pgmq.purge_queue(%s)", (queue,))


def expire(world: World, attempt: UUID) -> None:
    """The lease ran out, as it does when its worker dies."""
    world.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now(), lease_expires_at = now() - interval '1 s'"
        " where attempt_id = %s",
        (attempt,),
    )


def verifying(world: World, user: UUID, reflection: UUID | None) -> UUID:
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    world.one(
        "select * from voice_clone.await_verification(%s, %s, %s, %s, 'model-1', 'request-1', null, null)",
        attempt, epoch, world.intend(attempt, epoch), f"voice-of-{attempt}",
    )  # fmt: skip
    return attempt


def test_where_nothing_is_due_nothing_is_done(world: World) -> None:
    user = world.user()
    attempts = [
        world.open(user, None),
        world.queued(user, None),
        world.launchable(user, world.reflection(user)),
    ]
    before = [(world.attempt(attempt), world.deadline(attempt)) for attempt in attempts]
    assert sweep(world) == {}
    assert [(world.attempt(attempt), world.deadline(attempt)) for attempt in attempts] == before


def test_an_attempt_that_awaits_nothing_is_never_swept(world: World) -> None:
    user = world.user()
    assert world.deadline(world.launchable(user, world.reflection(user)))["sweep_at"] is None
    library = world.queued(user, None)
    world.enroll(library)
    assert world.deadline(library)["sweep_at"] is None


def test_an_upload_that_nobody_finalizes_expires(world: World) -> None:
    attempt = world.open(world.user(), None)
    wait_past(world, "upload")
    assert sweep(world) == {"expired": 1}
    assert world.attempt(attempt)["status"] == "expired"
    assert sweep(world) == {}


@pytest.mark.parametrize("queue", ["voice_clone_process", "voice_runtime_sync", "voice_preview"])
def test_a_lost_message_is_sent_again(world: World, queue: str) -> None:
    user = world.user()
    attempt = world.queued(user, world.reflection(user))
    if queue != "voice_clone_process":
        world.enroll(attempt)
    if queue == "voice_preview":
        world.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, world.step(attempt, "runtime"),
        )  # fmt: skip
    assert ids(world, queue) == [str(attempt)]
    lose(world, queue)
    version, told = world.attempt(attempt)["version"], events(world, attempt)
    wait(world)
    assert sweep(world) == {"sent": 1}
    assert ids(world, queue) == [str(attempt)]
    after = world.attempt(attempt)
    assert after["version"] == version, "no client sees that a message was lost"
    assert events(world, attempt) == told, "the sweep's bookkeeping is no event"
    assert world.truth("select * from voice_clone.replay(%s)", attempt) == after


def test_the_wait_between_messages_that_were_not_lost_doubles(world: World) -> None:
    attempt = world.queued(world.user(), None)
    past_triggers(
        world,
        "update public.voice_clone_attempts set not_before = null, updated_at = now() - interval '20 min'",
    )
    wait(world)
    assert sweep(world) == {"sent": 1}
    waits = (
        "select extract(epoch from sweep_at - now())::int / 60 as minutes"
        " from voice_clone.deadlines where attempt_id = %s"
    )
    assert world.truth(waits, attempt)["minutes"] in {19, 20}


def test_a_long_wait_is_kept_in_the_row_and_not_in_the_queue(world: World) -> None:
    attempt = world.queued(world.user(), None)
    lose(world, "voice_clone_process")
    epoch = world.claim(attempt)["lease_epoch"]
    world.one(
        "select * from voice_clone.requeue_attempt(%s, %s, 3600, 'busy', 'Busy.', null)", attempt, epoch
    )
    assert world.deadline(attempt)["sweep_at"] == world.attempt(attempt)["not_before"]
    count = "select count(*) from pgmq.q_voice_clone_process"
    assert world.truth(count)["count"] == 0
    world.superuser.execute(
        "update public.voice_clone_attempts set not_before = now() where id = %s", (attempt,)
    )
    wait(world)
    assert sweep(world) == {"sent": 1}
    assert ids(world, "voice_clone_process") == [str(attempt)]


def test_a_short_wait_is_the_queues(world: World) -> None:
    attempt = world.queued(world.user(), None)
    lose(world, "voice_clone_process")
    epoch = world.claim(attempt)["lease_epoch"]
    world.one("select * from voice_clone.requeue_attempt(%s, %s, 3, 'busy', 'Busy.', null)", attempt, epoch)
    assert world.truth("select count(*) from pgmq.q_voice_clone_process where vt > now()")["count"] == 1


def test_an_expired_lease_gives_the_attempt_back_until_its_budget_is_used(world: World) -> None:
    user = world.user()
    attempt = world.queued(user, world.reflection(user))
    for _ in range(4):
        world.claim(attempt)
        lose(world, "voice_clone_process")
        expire(world, attempt)
        assert sweep(world) == {"requeued": 1}
        assert world.attempt(attempt)["status"] == "queued"
        assert ids(world, "voice_clone_process") == [str(attempt)]
    world.claim(attempt)
    expire(world, attempt)
    assert sweep(world) == {"failed": 1}
    after = world.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "worker_lost")
    assert world.deadline(attempt)["sweep_at"] is None


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_an_expired_lease_gives_a_step_back_until_its_budget_is_used(world: World, step: str) -> None:
    user = world.user()
    attempt = world.queued(user, world.reflection(user))
    world.enroll(attempt)
    queue = {"runtime": "voice_runtime_sync", "preview": "voice_preview"}[step]
    if step == "preview":
        world.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, world.step(attempt, "runtime"),
        )  # fmt: skip
    for _ in range(4):
        world.step(attempt, step)
        lose(world, queue)
        expire(world, attempt)
        assert sweep(world) == {"requeued": 1}
        assert ids(world, queue) == [str(attempt)]
    world.step(attempt, step)
    expire(world, attempt)
    assert sweep(world) == {"failed": 1}
    assert world.attempt(attempt)[f"{step}_status"] == "failed"


def test_a_renewed_lease_is_not_taken(world: World) -> None:
    attempt = world.queued(world.user(), None)
    epoch = world.claim(attempt, lease=1)["lease_epoch"]
    world.one("select voice_clone.renew_lease(%s, %s, 60)", attempt, epoch)
    assert sweep(world) == {}
    wait(world)
    assert sweep(world) == {"postponed": 1}
    assert world.attempt(attempt)["status"] == "processing"
    deadline = world.deadline(attempt)
    assert deadline["sweep_at"] == deadline["lease_expires_at"]
    assert sweep(world) == {}


def test_a_renewal_is_no_event_and_writes_no_row_of_the_attempt(world: World) -> None:
    attempt = world.queued(world.user(), None)
    epoch = world.claim(attempt)["lease_epoch"]
    before, told, ends = (
        world.attempt(attempt),
        events(world, attempt),
        world.deadline(attempt)["lease_expires_at"],
    )
    row = "select ctid::text, xmax::text from public.voice_clone_attempts where id = %s"
    place = world.truth(row, attempt)
    assert world.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, epoch)["held"]
    assert world.deadline(attempt)["lease_expires_at"] > ends
    assert (world.attempt(attempt), events(world, attempt), world.truth(row, attempt)) == (
        before,
        told,
        place,
    )


def test_a_lost_lease_is_not_renewed(world: World) -> None:
    attempt = world.queued(world.user(), None)
    stale = world.claim(attempt, lease=0)["lease_epoch"]
    current = world.claim(attempt)["lease_epoch"]
    renew = "select voice_clone.renew_lease(%s, %s, 60) as held"
    assert not world.one(renew, attempt, stale)["held"]
    assert world.one(renew, attempt, current)["held"]
    world.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, current)
    assert not world.one(renew, attempt, current)["held"]


def test_a_lease_renewed_for_ever_ends_at_the_deadline_of_the_step(world: World) -> None:
    attempt = world.queued(world.user(), None)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    wait_past(world, "step")
    assert sweep(world) == {"requeued": 1}
    after = world.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("queued", "deadline_exceeded")
    with pytest.raises(psycopg.Error) as caught:
        world.attach(attempt, epoch, enrollment)
    assert caught.value.sqlstate == "VC002"


def test_a_verification_that_nobody_completes_fails_and_its_voice_is_an_orphan(world: World) -> None:
    user = world.user()
    attempt = verifying(world, user, world.reflection(user))
    wait_past(world, "verification")
    assert sweep(world) == {"failed": 1}
    after = world.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "verification_timeout")
    assert after["provider_voice_id"] is None
    assert world.truth("select * from voice_clone.replay(%s)", attempt) == after
    orphans = world.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == [f"voice-of-{attempt}"]


def test_a_voice_superseded_before_its_verification_is_an_orphan(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = verifying(world, user, reflection)
    world.queued(user, reflection)
    orphans = world.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["attempt_id"] for orphan in orphans] == [attempt]


def test_one_run_takes_no_more_than_its_limit(world: World) -> None:
    user = world.user()
    for _ in range(5):
        world.open(user, None)
    wait_past(world, "upload")
    assert [sweep(world, 2) for _ in range(4)] == [{"expired": 2}, {"expired": 2}, {"expired": 1}, {}]


def test_a_row_that_cannot_be_moved_keeps_no_other_from_it(world: World) -> None:
    user = world.user()
    stuck, other = world.open(user, None), world.open(user, None)
    world.superuser.execute(
        "alter table public.voice_clone_attempts add constraint never check (status <> 'expired') not valid"
    )
    world.queue(other, user)
    world.claim(other)
    wait_past(world, "upload")
    expire(world, other)
    assert sweep(world) == {"errors": 1, "requeued": 1}
    assert world.attempt(stuck)["status"] == "awaiting_upload"


def test_one_run_sweeps_enrollments_and_idempotency_keys_as_well(world: World) -> None:
    user = world.user()
    attempt = world.queued(user, world.reflection(user))
    epoch = world.claim(attempt)["lease_epoch"]
    world.intend(attempt, epoch, settle=0)
    world.one("select * from voice_clone.claim_idempotency_key(%s, 'key-1', 'x')", user)
    wait_past(world, "idempotency")
    past_triggers(world, "delete from voice_clone.deadlines")
    assert sweep(world) == {"enrollments": 1, "idempotency_keys": 1}
    assert sweep(world) == {}


@pytest.mark.parametrize("broken", ["sweep_enrollments", "delete_expired_idempotency_keys"])
def test_what_cannot_be_swept_keeps_no_other_from_it(world: World, broken: str) -> None:
    world.open(world.user(), None)
    wait_past(world, "upload")
    world.superuser.execute(f"drop function voice_clone.{broken}(int)".encode())
    assert sweep(world) == {"expired": 1, "errors": 1}


def test_how_long_a_queue_keeps_what_waits_is_set_in_one_place(world: World) -> None:
    world.superuser.execute("update voice_clone.timeouts set value = '30 s' where name = 'queue_hold'")
    message = '{"event": "tested"}'
    for seconds in (30, 31):
        world.one("select voice_clone.send_messages('voice_preview', %s::jsonb[], %s)", [message], seconds)
    assert world.truth("select count(*) from pgmq.q_voice_preview")["count"] == 1
    assert world.truth("select count(*) from voice_clone.deferred_messages")["count"] == 1


def test_sweeps_at_once_do_each_thing_once(world: World) -> None:
    user = world.user()
    attempts = [world.queued(user, None) for _ in range(60)]
    lose(world, "voice_clone_process")
    wait(world)

    def run(_: int) -> dict[str, Any]:
        with psycopg.connect(world.database.service, autocommit=True) as connection:
            return dict(connection.execute("select what, count from voice_clone.sweep(100)").fetchall())

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(8)))
    assert sum(each.get("sent", 0) for each in done) == len(attempts)
    assert sorted(ids(world, "voice_clone_process")) == sorted(map(str, attempts))


def test_what_another_holds_is_left_to_it(world: World) -> None:
    attempt = world.open(world.user(), None)
    wait_past(world, "upload")
    with psycopg.connect(world.database.superuser) as holder:
        holder.execute("select from public.voice_clone_attempts where id = %s for update", (attempt,))
        assert sweep(world) == {}
    assert sweep(world) == {"expired": 1}


def test_an_unknown_time_is_an_error(world: World) -> None:
    with pytest.raises(psycopg.errors.NoDataFound):
        world.superuser.execute("select voice_clone.timeout(%s)", (str(uuid4()),))
