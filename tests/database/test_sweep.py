"""The sweep recovers whatever is overdue, exactly once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import situations
from tests.database.situations import events, ids
from tests.fixture import Fixture


def sweep(given: Fixture, limit: int = 100) -> dict[str, int]:
    """What it did, but for the mirrors: see test_mirror_healing.py."""
    did = situations.sweep(given, limit)
    return {what: count for what, count in did.items() if what not in {"mirrors", "compared"}}


def past_triggers(given: Fixture, sql: LiteralString, *parameters: Any) -> None:
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(sql, parameters)


def wait(given: Fixture) -> None:
    """Move time on until the sweep's next row is due."""
    past_triggers(given, "update voice_clone.deadlines set sweep_at = now()")


def wait_past(given: Fixture, name: str) -> None:
    """Move time on until the sweep's next row is due, and past the deadline of this name."""
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = %s", (name,))
    wait(given)


def lose(given: Fixture, queue: str) -> None:
    given.superuser.execute("select pgmq.purge_queue(%s)", (queue,))


def expire(given: Fixture, attempt: UUID) -> None:
    """The lease expires, as it does when its worker dies."""
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now(), lease_expires_at = now() - interval '1 s'"
        " where attempt_id = %s",
        (attempt,),
    )


def verifying(given: Fixture, user: UUID, reflection: UUID | None) -> UUID:
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.await_verification(%s, %s, %s, %s, 'model-1', 'request-1', null, null)",
        attempt, epoch, given.intend(attempt, epoch), f"voice-of-{attempt}",
    )  # fmt: skip
    return attempt


def test_where_nothing_is_due_nothing_is_done(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempts = [given.open(user, None), given.queued(user, None), given.launchable(user, reflection)]
    before = [(given.attempt(attempt), given.deadline(attempt)) for attempt in attempts]
    assert sweep(given) == {}
    assert [(given.attempt(attempt), given.deadline(attempt)) for attempt in attempts] == before


def test_an_attempt_that_awaits_nothing_is_never_swept(given: Fixture) -> None:
    library = given.queued(given.user(), None)
    given.enroll(library)
    assert given.deadline(library)["sweep_at"] is None


def test_an_attempt_that_awaits_nothing_but_its_mirror_is_swept_once(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    given.mirror(reflection)
    deadline = given.deadline(attempt)
    assert (deadline["sweep_at"] is not None, deadline["lease_epoch"]) == (True, None)
    wait(given)
    assert sweep(given) == {}
    assert given.deadline(attempt)["sweep_at"] is None


def test_an_upload_that_is_not_finalized_expires(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    wait_past(given, "upload")
    assert sweep(given) == {"expired": 1}
    assert given.attempt(attempt)["status"] == "expired"
    assert sweep(given) == {}


@pytest.mark.parametrize("queue", ["voice_clone_process", "voice_runtime_sync", "voice_preview"])
def test_a_lost_message_is_sent_again(given: Fixture, queue: str) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    if queue != "voice_clone_process":
        given.enroll(attempt)
    if queue == "voice_preview":
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, given.step(attempt, "runtime"),
        )  # fmt: skip
    assert ids(given, queue) == [str(attempt)]
    lose(given, queue)
    version, log = given.attempt(attempt)["version"], events(given, attempt)
    wait(given)
    assert sweep(given) == {"sent": 1}
    assert ids(given, queue) == [str(attempt)]
    after = given.attempt(attempt)
    assert after["version"] == version, "no client sees that a message was lost"
    assert events(given, attempt) == log, "the sweep's bookkeeping is no event"
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == after


def test_the_wait_between_messages_that_were_not_lost_doubles(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    past_triggers(
        given,
        "update public.voice_clone_attempts set not_before = null, updated_at = now() - interval '20 min'",
    )
    wait(given)
    assert sweep(given) == {"sent": 1}
    waits = (
        "select extract(epoch from sweep_at - now())::int / 60 as minutes"
        " from voice_clone.deadlines where attempt_id = %s"
    )
    assert given.truth(waits, attempt)["minutes"] in {19, 20}


def test_a_long_wait_is_kept_in_the_row_and_not_in_the_queue(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    lose(given, "voice_clone_process")
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.requeue_attempt(%s, %s, 3600, 'busy', 'Busy.', null)", attempt, epoch
    )
    assert given.deadline(attempt)["sweep_at"] == given.attempt(attempt)["not_before"]
    count = "select count(*) from pgmq.q_voice_clone_process"
    assert given.truth(count)["count"] == 0
    given.superuser.execute(
        "update public.voice_clone_attempts set not_before = now() where id = %s", (attempt,)
    )
    wait(given)
    assert sweep(given) == {"sent": 1}
    assert ids(given, "voice_clone_process") == [str(attempt)]


def test_a_short_wait_is_the_queues(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    lose(given, "voice_clone_process")
    epoch = given.claim(attempt)["lease_epoch"]
    given.one("select * from voice_clone.requeue_attempt(%s, %s, 3, 'busy', 'Busy.', null)", attempt, epoch)
    assert given.truth("select count(*) from pgmq.q_voice_clone_process where vt > now()")["count"] == 1


def test_an_expired_lease_gives_the_attempt_back_until_its_budget_is_used(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    for _ in range(4):
        given.claim(attempt)
        lose(given, "voice_clone_process")
        expire(given, attempt)
        assert sweep(given) == {"requeued": 1}
        assert given.attempt(attempt)["status"] == "queued"
        assert ids(given, "voice_clone_process") == [str(attempt)]
    given.claim(attempt)
    expire(given, attempt)
    assert sweep(given) == {"failed": 1}
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "worker_lost")
    given.mirror(after["reflection_id"])
    wait(given)
    assert sweep(given) == {}
    assert given.deadline(attempt)["sweep_at"] is None


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_an_expired_lease_gives_a_step_back_until_its_budget_is_used(given: Fixture, step: str) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    given.enroll(attempt)
    queue = {"runtime": "voice_runtime_sync", "preview": "voice_preview"}[step]
    if step == "preview":
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, given.step(attempt, "runtime"),
        )  # fmt: skip
    for _ in range(4):
        given.step(attempt, step)
        lose(given, queue)
        expire(given, attempt)
        assert sweep(given) == {"requeued": 1}
        assert ids(given, queue) == [str(attempt)]
    given.step(attempt, step)
    expire(given, attempt)
    assert sweep(given) == {"failed": 1}
    assert given.attempt(attempt)[f"{step}_status"] == "failed"


def test_a_renewed_lease_is_not_taken(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt, lease=1)["lease_epoch"]
    given.one("select voice_clone.renew_lease(%s, %s, 60)", attempt, epoch)
    assert sweep(given) == {}
    wait(given)
    assert sweep(given) == {"postponed": 1}
    assert given.attempt(attempt)["status"] == "processing"
    deadline = given.deadline(attempt)
    assert deadline["sweep_at"] == deadline["lease_expires_at"]
    assert sweep(given) == {}


def test_a_renewal_is_no_event_and_writes_no_row_of_the_attempt(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    before, log, ends = (
        given.attempt(attempt),
        events(given, attempt),
        given.deadline(attempt)["lease_expires_at"],
    )
    row = "select ctid::text, xmax::text from public.voice_clone_attempts where id = %s"
    place = given.truth(row, attempt)
    assert given.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, epoch)["held"]
    assert given.deadline(attempt)["lease_expires_at"] > ends
    assert (given.attempt(attempt), events(given, attempt), given.truth(row, attempt)) == (
        before,
        log,
        place,
    )


def test_a_lost_lease_is_not_renewed(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    stale = given.claim(attempt, lease=0)["lease_epoch"]
    current = given.claim(attempt)["lease_epoch"]
    renew = "select voice_clone.renew_lease(%s, %s, 60) as held"
    assert not given.one(renew, attempt, stale)["held"]
    assert given.one(renew, attempt, current)["held"]
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, current)
    assert not given.one(renew, attempt, current)["held"]


def test_a_lease_renewed_for_ever_ends_at_the_deadline_of_the_step(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    wait_past(given, "step")
    assert sweep(given) == {"requeued": 1}
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("queued", "deadline_exceeded")
    with pytest.raises(psycopg.Error) as caught:
        given.attach(attempt, epoch, enrollment)
    assert caught.value.sqlstate == "VC002"


def test_a_verification_that_is_not_completed_fails_and_its_voice_is_an_orphan(given: Fixture) -> None:
    user = given.user()
    attempt = verifying(given, user, given.reflection(user))
    wait_past(given, "verification")
    assert sweep(given) == {"failed": 1}
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "verification_timeout")
    assert after["provider_voice_id"] is None
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == after
    orphans = given.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["provider_voice_id"] for orphan in orphans] == [f"voice-of-{attempt}"]


def test_a_voice_superseded_before_its_verification_is_an_orphan(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = verifying(given, user, reflection)
    given.queued(user, reflection)
    orphans = given.superuser.execute("select * from operations.orphans()").fetchall()
    assert [orphan["attempt_id"] for orphan in orphans] == [attempt]


def test_one_run_takes_no_more_than_its_limit(given: Fixture) -> None:
    user = given.user()
    for _ in range(5):
        given.open(user, None)
    wait_past(given, "upload")
    assert [sweep(given, 2) for _ in range(4)] == [{"expired": 2}, {"expired": 2}, {"expired": 1}, {}]


def test_a_row_that_cannot_be_moved_keeps_no_other_from_it(given: Fixture) -> None:
    user = given.user()
    stuck, other = given.open(user, None), given.open(user, None)
    given.superuser.execute(
        "alter table public.voice_clone_attempts add constraint never check (status <> 'expired') not valid"
    )
    given.queue(other, user)
    given.claim(other)
    wait_past(given, "upload")
    expire(given, other)
    assert sweep(given) == {"errors": 1, "requeued": 1}
    assert given.attempt(stuck)["status"] == "awaiting_upload"


def break_rows(given: Fixture, table: str, event: str, ids: list[UUID]) -> None:
    """Rows that cannot be written, not even by the sweep's own bookkeeping."""
    listed = ", ".join(f"'{each}'" for each in ids)
    given.superuser.execute(
        f"create or replace function public.break() returns trigger language plpgsql as $$ begin"
        f" if old.id in ({listed}) then raise 'broken'; end if;"
        f" return case tg_op when 'DELETE' then old else new end; end $$;"
        f" create trigger break before {event} on {table}"
        f" for each row execute function public.break()".encode()
    )


def errors(given: Fixture) -> list[Any]:
    rows = given.superuser.execute("select * from operations.sweep_errors()").fetchall()
    return sorted((row["kind"], row["row_id"], row["count"]) for row in rows)


def retry_errors(given: Fixture) -> None:
    given.superuser.execute("update voice_clone.sweep_errors set retry_at = now()")


@pytest.mark.parametrize("kind", ["attempt", "enrollment", "kept manifest", "idempotency key"])
def test_rows_with_errors_do_not_stand_first_in_line_again(given: Fixture, kind: str) -> None:
    """Three broken rows are due first, and one run takes two."""
    user = given.user()
    if kind == "attempt":
        due = [given.open(user, None) for _ in range(4)]
        wait_past(given, "upload")
        past_triggers(given, "update voice_clone.deadlines set sweep_at = now() - interval '1 h'"
                      " where attempt_id = any(%s)", due[:3])  # fmt: skip
        break_rows(given, "public.voice_clone_attempts", "update", due[:3])
        done = {"expired": 1}
    elif kind == "enrollment":
        due = []
        for _ in range(4):
            attempt = given.queued(given.user(), None)
            due.append(given.intend(attempt, given.claim(attempt)["lease_epoch"], settle=0))
        past_triggers(given, "delete from voice_clone.deadlines")
        past_triggers(given, "update voice_clone.enrollments set sweep_at = now() - interval '1 h'"
                      " where id = any(%s)", due[:3])  # fmt: skip
        break_rows(given, "voice_clone.enrollments", "update", due[:3])
        done = {"enrollments": 1}
    elif kind == "kept manifest":
        for number in range(4):
            given.one("select voice_clone.keep_manifest(sha256(%s::bytea), 'x')", str(number))
        rows = given.superuser.execute("select id from voice_clone.kept_manifests order by made_at")
        due = [row["id"] for row in rows]
        given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'kept_manifest'")
        break_rows(given, "voice_clone.kept_manifests", "delete", due[:3])
        done = {"kept_manifests": 1}
    else:
        for number in range(4):
            given.one("select * from voice_clone.claim_idempotency_key(%s, %s, 'x')", user, f"key-{number}")
        rows = given.superuser.execute("select id from voice_clone.idempotency_keys order by created_at")
        due = [row["id"] for row in rows]
        given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'idempotency'")
        break_rows(given, "voice_clone.idempotency_keys", "delete", due[:3])
        done = {"idempotency_keys": 1}
    first, second, third = (sweep(given, 2) for _ in range(3))
    assert (first.pop("errors"), second.pop("errors"), third) == (2, 1, {})
    assert second == done if kind == "attempt" else second == {next(iter(done)): 2}
    assert errors(given) == sorted((kind, each, 1) for each in due[:3])
    retry_errors(given)
    assert sweep(given, 2)["errors"] == 2
    assert sum(count for _, _, count in errors(given)) == 5
    waits = "select max(retry_at - now()) > min(retry_at - now()) as doubles from voice_clone.sweep_errors"
    assert given.truth(waits)["doubles"]


def deleted_voices(given: Fixture, count: int) -> list[UUID]:
    """The longest deleted first; their retention is over."""
    user, voices = given.user(), list[UUID]()
    for _ in range(count):
        given.enroll(attempt := given.queued(user, None))
        voices.append(given.attempt(attempt)["voice_id"])
    past_triggers(given, "update public.voices v set deleted_at = now() - interval '1 year'"
                  " + make_interval(secs => array_position(%s, v.id))", voices)  # fmt: skip
    past_triggers(given, "delete from voice_clone.deadlines")
    return voices


def object_removals(given: Fixture, count: int) -> list[UUID]:
    for _ in range(count):
        given.superuser.execute(
            "select voice_clone.request_object_removal('speeches', gen_random_uuid()::text)"
        )
    past_triggers(given, "update voice_clone.object_removals set sweep_at = now() - interval '1 h'")
    rows = given.superuser.execute("select id from voice_clone.object_removals order by sweep_at, ctid")
    return [row["id"] for row in rows]


@pytest.mark.parametrize("kind", ["deleted voice", "object removal"])
def test_a_removal_with_an_error_stops_no_other(given: Fixture, kind: str) -> None:
    """Three broken rows are due first, and one run takes two."""
    if kind == "deleted voice":
        due, done = deleted_voices(given, 4), "released"
        break_rows(given, "public.voices", "update", due[:3])
    else:
        due, done = object_removals(given, 4), "object_removals"
        break_rows(given, "voice_clone.object_removals", "update", due[:3])
    assert [sweep(given, 2) for _ in range(3)] == [{"errors": 2}, {"errors": 1, done: 1}, {}]
    assert errors(given) == sorted((kind, each, 1) for each in due[:3])
    retry_errors(given)
    assert sweep(given, 2) == {"errors": 2}


def test_the_removal_of_a_voice_and_its_row_are_written_together(given: Fixture) -> None:
    stuck, other = deleted_voices(given, 2)
    row = (
        "select e.id, e.status from voice_clone.enrollments e join public.voices v on v.enrollment_id = e.id"
    )
    broken = given.truth(f"{row} where v.id = %s", stuck)
    break_rows(given, "voice_clone.enrollments", "update", [broken["id"]])
    assert sweep(given) == {"released": 1, "errors": 1}
    assert given.truth(f"{row} where v.id = %s", stuck)["status"] == "attached"
    asked = "select removal_requested_at is not null as asked from public.voices where id = %s"
    assert [given.truth(asked, each)["asked"] for each in (stuck, other)] == [False, True]


def test_a_chain_that_cannot_be_read_stops_the_check_of_no_other(given: Fixture) -> None:
    """The hashes of all are computed differently, and that of one not at all."""
    persons = [given.user() for _ in range(3)]
    for person in persons:
        given.consent(person)
    unreadable = given.truth("select person_id from voice_clone.consent_chains order by person_id offset 1")
    person = unreadable["person_id"]
    given.replace(
        "voice_clone.consent_hash",
        "p_entry.id,",
        f"p_entry.position / (p_entry.person_id <> '{person}')::int,",
    )
    assert sweep(given) == {"broken_consents": 2, "errors": 1}
    assert errors(given) == [("consent chain", person, 1)]
    assert sweep(given) == {}, "it is checked again in the next round"


def test_an_error_is_forgotten_when_its_row_works_again(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    wait_past(given, "upload")
    break_rows(given, "public.voice_clone_attempts", "update", [attempt])
    assert sweep(given) == {"errors": 1}
    given.superuser.execute("drop trigger break on public.voice_clone_attempts")
    past = "update voice_clone.sweep_errors set retry_at = now() - interval '2 h'"
    given.superuser.execute(past)
    assert sweep(given) == {"expired": 1}
    assert errors(given) == []


def test_one_run_locks_no_more_than_500_rows_of_a_kind(given: Fixture) -> None:
    user = given.user()
    for _ in range(501):
        given.one("select * from voice_clone.claim_idempotency_key(%s, %s, 'x')", user, str(uuid4()))
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'idempotency'")
    assert [sweep(given, 100_000) for _ in range(3)] == [
        {"idempotency_keys": 500}, {"idempotency_keys": 1}, {},
    ]  # fmt: skip


def test_one_run_sweeps_enrollments_and_idempotency_keys_as_well(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    epoch = given.claim(attempt)["lease_epoch"]
    given.intend(attempt, epoch, settle=0)
    given.one("select * from voice_clone.claim_idempotency_key(%s, 'key-1', 'x')", user)
    wait_past(given, "idempotency")
    past_triggers(given, "delete from voice_clone.deadlines")
    assert sweep(given) == {"enrollments": 1, "idempotency_keys": 1}
    assert sweep(given) == {}


@pytest.mark.parametrize(
    "broken",
    [
        "sweep_enrollments(int)",
        "delete_expired_idempotency_keys(int)",
        "delete_expired_manifests(int)",
        "release_deleted_voices(int, interval, text, text, text[])",
        "sweep_object_removals(int)",
        "sweep_consents(int)",
        "sweep_uploads(int)",
        "sweep_recordings(int)",
        "sweep_recording_clones(int)",
        "sweep_employee_files(int)",
    ],
)
def test_what_cannot_be_swept_keeps_no_other_from_it(given: Fixture, broken: str) -> None:
    given.open(given.user(), None)
    wait_past(given, "upload")
    given.superuser.execute(f"drop function voice_clone.{broken}".encode())
    assert sweep(given) == {"expired": 1, "errors": 1}


def test_how_long_a_queue_keeps_what_waits_is_set_in_one_place(given: Fixture) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = '30 s' where name = 'queue_hold'")
    message = '{"event": "tested"}'
    for seconds in (30, 31):
        given.one("select voice_clone.send_messages('voice_preview', %s::jsonb[], %s)", [message], seconds)
    assert given.truth("select count(*) from pgmq.q_voice_preview")["count"] == 1
    assert given.truth("select count(*) from voice_clone.deferred_messages")["count"] == 1


def test_sweeps_at_once_do_each_thing_once(given: Fixture) -> None:
    user = given.user()
    attempts = [given.queued(user, None) for _ in range(60)]
    lose(given, "voice_clone_process")
    wait(given)

    def run(_: int) -> dict[str, Any]:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            return dict(connection.execute("select what, count from voice_clone.sweep(100)").fetchall())

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(8)))
    assert sum(each.get("sent", 0) for each in done) == len(attempts)
    assert sorted(ids(given, "voice_clone_process")) == sorted(map(str, attempts))


def test_what_another_holds_is_left_to_it(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    wait_past(given, "upload")
    with psycopg.connect(given.database.superuser) as holder:
        holder.execute("select from public.voice_clone_attempts where id = %s for update", (attempt,))
        assert sweep(given) == {}
    assert sweep(given) == {"expired": 1}


def test_an_unknown_time_is_an_error(given: Fixture) -> None:
    with pytest.raises(psycopg.errors.NoDataFound):
        given.superuser.execute("select voice_clone.timeout(%s)", (str(uuid4()),))
