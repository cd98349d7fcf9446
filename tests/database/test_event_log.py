"""The event log: what an event leaves out, and its partitions by month."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.database import situations
from tests.database.situations import events
from tests.fixture import Fixture

DROP: LiteralString = "select * from operations.drop_events(%s::interval)"


def partitions(given: Fixture) -> list[str]:
    rows = given.superuser.execute(
        "select inhrelid::regclass::text as name from pg_inherits"
        " where inhparent = 'voice_clone.events'::regclass order by 1"
    )
    return [row["name"].removeprefix("voice_clone.") for row in rows]


def months(given: Fixture, first: int, last: int) -> list[str]:
    """The partitions of these months, counted from this one."""
    rows = given.superuser.execute(
        "select 'events_' || to_char(now() at time zone 'utc' + make_interval(months => n), 'YYYY_MM')"
        " as name"
        " from generate_series(%s::int, %s::int) n",
        (first, last),
    )
    return [row["name"] for row in rows]


def place(given: Fixture, attempt: UUID) -> set[str]:
    """The partitions that the events of an attempt are in."""
    rows = given.superuser.execute(
        "select distinct tableoid::regclass::text as name from voice_clone.events where attempt_id = %s",
        (attempt,),
    )
    return {row["name"].removeprefix("voice_clone.") for row in rows}


def drop(given: Fixture, name: str) -> None:
    given.superuser.execute(f"drop table voice_clone.{name}".encode())


def age(given: Fixture, attempt: UUID, months_ago: int) -> None:
    """As if the attempt had been created then."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update voice_clone.events set recorded_at = recorded_at - make_interval(months => %s)"
            " where attempt_id = %s", (months_ago, attempt),
        )  # fmt: skip
        given.superuser.execute(
            "update public.voice_clone_attempts set created_at = created_at - make_interval(months => %s),"
            " updated_at = updated_at - make_interval(months => %s) where id = %s",
            (months_ago, months_ago, attempt),
        )


def timeline(given: Fixture, attempt: UUID) -> list[list[str]]:
    user = given.attempt(attempt)["user_id"]
    rows = given.service.execute(
        "select * from voice_clone.attempt_events(%s, %s, 0)", (attempt, user)
    ).fetchall()
    return [row["events"] for row in rows]


def test_partitions_exist_for_this_month_and_three_ahead(given: Fixture) -> None:
    assert set(months(given, 0, 3)) <= set(partitions(given))


def test_an_event_of_a_month_without_a_partition_is_kept_and_moved_by_the_sweep(given: Fixture) -> None:
    (this_month,) = months(given, 0, 0)
    drop(given, this_month)
    attempt = given.queued(given.user(), None)
    assert place(given, attempt) == {"events_default"}
    given.one("select count(*) from voice_clone.sweep(10)")
    assert place(given, attempt) == {this_month}
    assert timeline(given, attempt) == [["opened"], ["queued"]]
    given.claim(attempt)
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)


def test_what_was_recorded_long_ago_gets_a_partition_of_its_own(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    age(given, attempt, 5)
    assert place(given, attempt) == {"events_default"}
    given.one("select count(*) from voice_clone.sweep(10)")
    assert place(given, attempt) == set(months(given, -5, -5))


def test_two_sweeps_at_once_create_a_partition_once(given: Fixture) -> None:
    (last,) = months(given, 3, 3)
    drop(given, last)
    sweep = "select count(*) from voice_clone.sweep(10)"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(given.database.service) as first:
        first.execute(sweep)
        second = pool.submit(given.one, sweep)
        first.commit()
        assert second.result(30) == {"count": 0}
    assert last in partitions(given)


def test_a_reader_does_not_stop_the_sweep(given: Fixture) -> None:
    """Where the log is being read, creating a partition is left to the next sweep."""
    (last,) = months(given, 3, 3)
    drop(given, last)
    upload = given.open(given.user(), None)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    with psycopg.connect(given.database.superuser) as reader:
        reader.execute("select from voice_clone.events")
        did = situations.sweep(given, 10)
    assert did == {"expired": 1, "errors": 1}
    assert given.attempt(upload)["status"] == "expired"
    assert given.service.execute("select what from voice_clone.sweep(10)").fetchall() == []
    assert last in partitions(given)


def test_a_sweep_that_holds_rows_waits_for_no_reader_of_the_log(given: Fixture) -> None:
    """Else a reader that waits for one of these rows and the sweep would wait for each other."""
    (last,) = months(given, 3, 3)
    drop(given, last)
    blocked = "select cardinality(pg_blocking_pids(%s)) > 0 as waits"
    sweeping = given.service.info.backend_pid
    with psycopg.connect(given.database.superuser) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("select from voice_clone.events")
        done = pool.submit(given.service.execute, "select from voice_clone.sweep(10)")
        while not done.done():
            waits = given.superuser.execute(blocked, (sweeping,)).fetchone()
            assert waits == {"waits": False}
    assert last not in partitions(given)


@pytest.mark.parametrize("statement", ["update {} set version = 0", "delete from {}", "truncate {}"])
def test_no_partition_can_be_changed(given: Fixture, statement: str) -> None:
    attempt = given.queued(given.user(), None)
    age(given, given.queued(given.user(), None), 5)
    given.one("select count(*) from voice_clone.sweep(10)")
    before = timeline(given, attempt)
    for name in ["events", *partitions(given)]:
        with pytest.raises(errors.InsufficientPrivilege):
            given.superuser.execute(statement.format(f"voice_clone.{name}").encode())
    assert timeline(given, attempt) == before


def test_old_events_are_dropped_by_month(given: Fixture) -> None:
    old, new = given.queued(given.user(), None), given.queued(given.user(), None)
    age(given, old, 5)
    given.one("select count(*) from voice_clone.sweep(10)")
    dropped = given.superuser.execute(DROP, ("3 months",)).fetchall()
    assert [row["drop_events"] for row in dropped] == months(given, -5, -5)
    assert (timeline(given, old), timeline(given, new)) == ([], [["opened"], ["queued"]])
    assert given.attempt(old)["status"] == "queued", "the attempt stays, and can move on"
    given.claim(old)
    assert timeline(given, old) == [["claimed"]]
    assert given.superuser.execute(DROP, ("3 months",)).fetchall() == []


@pytest.mark.parametrize("retention", ["1 day", "-1 year", None])
def test_events_of_the_last_30_days_are_never_dropped(given: Fixture, retention: str | None) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        given.superuser.execute(DROP, (retention,))


def test_a_client_is_shown_every_column_of_its_new_attempt_that_it_may_read(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    row = given.attempt(attempt)
    first = given.one("select * from voice_clone.attempt_events(%s, %s, 0)", attempt, row["user_id"])
    assert set(first["changes"]) == {name for name in granted_columns(given) if row[name] is not None}
    assert (first["changes"]["version"], first["changes"]["id"]) == (1, str(attempt))
    stored = given.truth("select changes from voice_clone.events where attempt_id = %s", attempt)["changes"]
    assert not {"id", "version", "created_at", "updated_at", "process_budget"} & set(stored)


def granted_columns(given: Fixture) -> set[str]:
    """Those of an attempt that its owner reads over the Data API."""
    rows = given.superuser.execute("""
        select attname from pg_attribute where attrelid = 'public.voice_clone_attempts'::regclass
          and attnum > 0 and has_column_privilege('authenticated', attrelid, attnum, 'select')
    """)
    return {row["attname"] for row in rows}


def test_the_events_and_their_stream_show_only_columns_that_the_owner_may_read(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    stored = given.superuser.execute(
        "select c.key from voice_clone.events e, jsonb_object_keys(voice_clone.event_changes(e)) c (key)"
        " where e.attempt_id = %s", (attempt,),
    )  # fmt: skip
    assert {"lease_owner", "lease_epoch", "leased_at", "sync_count"} <= {row["key"] for row in stored}
    timeline = "select * from voice_clone.attempt_events(%s, %s, 0)"
    stream = "select * from voice_clone.events_after(array[%s]::uuid[], array[0]::bigint[], 100)"
    for rows in (given.service.execute(timeline, (attempt, user)), given.service.execute(stream, (attempt,))):
        shown = {name for row in rows for name in row["changes"]}
        assert shown <= granted_columns(given)
        assert {"status", "runtime_status", "preview_status", "ready_at"} <= shown


def test_what_follows_from_another_column_is_not_stored(given: Fixture) -> None:
    """The times of the states, and the end of a lease. Another time of the event's own is stored as true."""
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    rows = given.superuser.execute(
        "select e.events, e.changes as stored, voice_clone.event_changes(e) as changes,"
        " voice_clone.utc_text(e.recorded_at) as at from voice_clone.events e where e.attempt_id = %s",
        (attempt,),
    ).fetchall()
    event = {name: row for row in rows for name in row["events"]}
    for name, column in (
        ("queued", "queued_at"), ("queued", "activated_at"), ("claimed", "processing_at"),
        ("enrolled", "ready_at"), ("runtime_synced", "synced_at"), ("preview_completed", "previewed_at"),
    ):  # fmt: skip
        assert column not in event[name]["stored"]
        assert event[name]["changes"][column] == event[name]["at"]
    assert event["queued"]["stored"]["not_before"] is True
    ended = event["runtime_synced"]
    assert {"lease_owner", "leased_at", "lease_seconds"} & set(ended["stored"]) == {"lease_owner"}
    assert (ended["changes"]["leased_at"], ended["changes"]["lease_seconds"]) == (None, None)
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)


def test_a_time_that_is_not_that_of_its_event_is_stored(given: Fixture) -> None:
    """An attempt is active after the one before it, also where the clock says otherwise."""
    user = given.user()
    reflection = given.reflection(user)
    before = given.queued(user, reflection)
    given.superuser.execute(
        "update public.voice_clone_attempts set activated_at = now() + interval '1 hour' where id = %s",
        (before,),
    )
    attempt = given.queued(user, reflection)
    stored = given.truth(
        "select changes from voice_clone.events where attempt_id = %s and 'queued' = any (events)", attempt
    )["changes"]
    assert isinstance(stored["activated_at"], str)
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)


def test_two_writers_at_once_get_a_version_each(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    write = "update public.voice_clone_attempts set request_id = %s where id = %s returning version"
    with ThreadPoolExecutor(1) as pool, given.superuser.transaction():
        first = given.truth(write, "a", attempt)["version"]
        with psycopg.connect(given.database.superuser, autocommit=True) as other:
            waiting = pool.submit(lambda: other.execute(write, ("b", attempt)).fetchone())
            while given.superuser.execute("select from pg_locks where not granted").fetchone() is None:
                assert not waiting.done()
            given.superuser.execute("commit")
            row = waiting.result(30)
            given.superuser.execute("begin")
    assert row == (first + 1,)
    assert events(given, attempt)[-2:] == ["updated", "updated"]


def test_only_the_months_of_an_attempt_are_read(given: Fixture) -> None:
    """Partitions from before the attempt are pruned when the query runs."""
    age(given, given.queued(given.user(), None), 5)
    given.one("select count(*) from voice_clone.sweep(10)")
    attempt = given.queued(given.user(), None)
    plan = given.superuser.execute(
        "explain (analyze, costs off, timing off, summary off) select e.id from public.voice_clone_attempts a"
        " cross join lateral (select x.id from voice_clone.events x where x.attempt_id = a.id and x.id > 0"
        " and x.recorded_at >= a.created_at - interval '1 day' order by x.id limit 100) e where a.id = %s",
        (attempt,),
    ).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    (old,) = months(given, -5, -5)
    scanned = [line for line in text.splitlines() if old in line]
    assert all("never executed" in line for line in scanned), text
