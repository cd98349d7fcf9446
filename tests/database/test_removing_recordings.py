"""The object of an employee's recordings is removed twice, and what came after the request stays."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.database.test_recordings import COMPLETE, claim, employee, received, refused, row, stored
from tests.fixture import Fixture, Row

REQUEST = "select voice_clone.request_object_removal('recordings', %s)"
LATE = "select voice_clone.remove_late_recording(%s)"


def request(given: Fixture, of: UUID) -> UUID:
    given.superuser.execute(REQUEST.encode(), (str(of),))
    return given.truth("select id from voice_clone.object_removals where folder = %s", str(of))["id"]


def begin(given: Fixture, removal: UUID) -> list[Row]:
    return given.service.execute("select * from voice_clone.begin_object_removal(%s)", (removal,)).fetchall()


def end(given: Fixture, removal: UUID, *, is_final: bool = False) -> None:
    given.one("select voice_clone.end_object_removal(%s, %s, null)", removal, is_final)


def is_requested(given: Fixture, of: UUID) -> bool:
    sql = "select count(*) > 0 as found from voice_clone.object_removals where folder = %s"
    return given.truth(sql, str(of))["found"]


def finally_(given: Fixture) -> None:
    given.superuser.execute("update voice_clone.object_removals set final_at = now()")


def test_the_second_removal_is_after_the_latest_writer(given: Fixture) -> None:
    of, _ = employee(given)
    request(given, of)
    wait = given.truth("select final_at - requested_at as wait from voice_clone.object_removals")["wait"]
    assert wait == given.truth("select voice_clone.timeout('object_removal') as wait")["wait"]


def test_a_removal_ends_what_was_received_before(given: Fixture) -> None:
    of, _ = employee(given)
    first = stored(given, received(given, of, 1))
    working = received(given, of, 2)
    epoch = claim(given, working)["lease_epoch"]
    waiting = received(given, of, 3)
    removal = request(given, of)
    assert {row(given, each)["status"] for each in (first, working, waiting)} == {"superseded"}
    refused(given, "VC002", COMPLETE, working, epoch, None)
    assert [each["is_final"] for each in begin(given, removal)] == [False]


def test_a_recording_that_came_after_the_request_stays(given: Fixture) -> None:
    of, _ = employee(given)
    stored(given, received(given, of, 1))
    removal = request(given, of)
    assert begin(given, removal)
    end(given, removal)
    stored(given, received(given, of, 2))
    finally_(given)
    assert begin(given, removal) == []
    assert not is_requested(given, of)


def test_a_recording_waits_for_the_removal_and_a_removal_for_the_recording(given: Fixture) -> None:
    of, _ = employee(given)
    removal = request(given, of)
    newer = received(given, of)
    assert begin(given, removal)
    assert claim(given, newer)["outcome"] == "busy"
    end(given, removal)
    epoch = claim(given, newer)["lease_epoch"]
    finally_(given)
    assert begin(given, removal) == []
    assert is_requested(given, of)
    given.one(COMPLETE, newer, epoch, None)
    assert begin(given, removal) == []
    assert not is_requested(given, of)


@pytest.mark.parametrize("is_ours", [False, True])
def test_what_the_application_stored_stays_and_what_a_late_worker_stored_goes(
    given: Fixture, is_ours: bool
) -> None:
    of, _ = employee(given)
    if is_ours:
        claim(given, received(given, of))
    removal = request(given, of)
    assert begin(given, removal)
    end(given, removal)
    insert = "insert into storage.objects (bucket_id, name, updated_at) values ('recordings', %s, now())"
    given.superuser.execute(insert, (f"{of}/{of}.wav",))
    finally_(given)
    assert bool(begin(given, removal)) == is_ours
    assert is_requested(given, of) == is_ours


def test_a_late_worker_requests_the_removal_unless_another_recording_has_the_object(given: Fixture) -> None:
    of, _ = employee(given)
    given.one(LATE, of)
    assert is_requested(given, of)
    given.superuser.execute("delete from voice_clone.object_removals")
    received(given, of)
    given.one(LATE, of)
    assert not is_requested(given, of)


Test = Callable[[Fixture], None]
MUTANTS: dict[str, tuple[str, str, str, Test]] = {
    "a removal that ends no lease": (
        "supersede_recordings", "('pending', 'processing', 'stored')", "('pending', 'stored')",
        test_a_removal_ends_what_was_received_before,
    ),
    "a removal of a newer recording": (
        "may_remove_recording", "x.status = 'stored'", "false",
        test_a_recording_that_came_after_the_request_stays,
    ),
    "a removal beside a worker": (
        "may_remove_recording", "x.lease_expires_at > now()", "false",
        test_a_recording_waits_for_the_removal_and_a_removal_for_the_recording,
    ),
    "a worker beside a removal": (
        "recording_removed_until", "r.busy_until > now()", "false",
        test_a_recording_waits_for_the_removal_and_a_removal_for_the_recording,
    ),
    "a late object that is kept": (
        "is_recording_of_application", "x.lease_epoch > 0", "false",
        lambda given: test_what_the_application_stored_stays_and_what_a_late_worker_stored_goes(given, True),
    ),
}  # fmt: skip


@pytest.mark.one_postgres
@pytest.mark.parametrize("name", MUTANTS)
def test_a_lost_rule_is_found(given: Fixture, name: str) -> None:
    function, old, new, test = MUTANTS[name]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(given)
