"""The rows of the consumers: who is alive, and which queues nobody reads."""

from uuid import UUID, uuid4

import pytest

from backend.app.queues import QUEUES
from tests.fixture import Fixture


def report(given: Fixture, queues: list[str] | None = None, *, stopped: bool = False) -> UUID:
    consumer = uuid4()
    write(given, consumer, queues or [*QUEUES], stopped=stopped)
    return consumer


def write(given: Fixture, consumer: UUID, queues: list[str], *, stopped: bool) -> None:
    given.one("select voice_clone.report_consumer(%s, 'host-1', %s, %s)", consumer, queues, stopped)


def state(given: Fixture) -> tuple[int, list[str]]:
    row = given.one("select * from voice_clone.consumers_state()")
    return row["alive"], row["unread_queues"]


def last_seen(given: Fixture, consumer: UUID, ago: str) -> None:
    given.superuser.execute(
        "update voice_clone.consumers set seen_at = now() - %s::interval where id = %s", (ago, consumer)
    )


def known(given: Fixture) -> set[UUID]:
    return {row["id"] for row in given.superuser.execute("select id from voice_clone.consumers")}


def test_without_a_consumer_no_queue_is_read(given: Fixture) -> None:
    row = given.one("select * from voice_clone.consumers_state()")
    assert row == {"alive": 0, "last_seen_at": None, "unread_queues": sorted(QUEUES)}


def test_a_consumer_is_alive_for_the_queues_that_it_names(given: Fixture) -> None:
    report(given, [name for name in QUEUES if name != "voice_mirror"])
    assert state(given) == (1, ["voice_mirror"])
    report(given, ["voice_mirror"])
    assert state(given) == (2, [])


def test_a_process_has_one_row_however_often_it_reports(given: Fixture) -> None:
    consumer = report(given)
    for _ in range(3):
        write(given, consumer, [*QUEUES], stopped=False)
    assert state(given) == (1, [])
    assert known(given) == {consumer}


@pytest.mark.parametrize("ago", ["61 seconds", "1 day"])
def test_one_that_has_not_reported_for_a_minute_is_not_alive(given: Fixture, ago: str) -> None:
    last_seen(given, report(given), ago)
    assert state(given) == (0, sorted(QUEUES))


def test_one_that_says_that_it_stops_is_not_alive_and_its_time_is_kept(given: Fixture) -> None:
    write(given, report(given), [*QUEUES], stopped=False)
    consumer = report(given)
    write(given, consumer, [*QUEUES], stopped=True)
    row = given.one("select * from voice_clone.consumers_state()")
    assert (row["alive"], row["last_seen_at"] is None) == (1, False)


def test_a_report_deletes_rows_of_the_past_and_keeps_the_last_that_was_seen(given: Fixture) -> None:
    old, recent = report(given), report(given)
    last_seen(given, old, "2 hours")
    last_seen(given, recent, "30 minutes")
    assert known(given) == {old, recent}, "only a report deletes, so the last row stays"
    new = report(given)
    assert known(given) == {recent, new}


def test_a_report_deletes_a_bounded_number(given: Fixture) -> None:
    given.superuser.execute(
        "insert into voice_clone.consumers (id, host, queues, seen_at)"
        " select gen_random_uuid(), 'h', '{q}', now() - interval '2 hours' from generate_series(1, 150)"
    )
    report(given)
    assert len(known(given)) == 51


def test_operators_see_each_process(given: Fixture) -> None:
    report(given, ["voice_mirror"], stopped=True)
    report(given, ["voice_preview"])
    rows = given.superuser.execute("select host, queues, is_alive from operations.consumers()").fetchall()
    assert {(row["host"], *row["queues"], row["is_alive"]) for row in rows} == {
        ("host-1", "voice_mirror", False),
        ("host-1", "voice_preview", True),
    }


def alive_at(given: Fixture, host: str) -> bool:
    return given.one("select voice_clone.consumer_is_alive(%s) as found", host)["found"]


def test_a_host_is_alive_while_one_of_its_processes_is(given: Fixture) -> None:
    assert not alive_at(given, "host-1")
    lost = report(given)
    assert (alive_at(given, "host-1"), alive_at(given, "host-2")) == (True, False)
    last_seen(given, lost, "61 seconds")
    assert not alive_at(given, "host-1")
    stopping = report(given)
    assert alive_at(given, "host-1")
    write(given, stopping, [*QUEUES], stopped=True)
    assert not alive_at(given, "host-1")


def test_a_host_whose_name_is_cut_is_found_by_its_whole_name(given: Fixture) -> None:
    name = "h" * 250
    given.one("select voice_clone.report_consumer(%s, %s, '{q}', false)", uuid4(), name)
    assert alive_at(given, name)
