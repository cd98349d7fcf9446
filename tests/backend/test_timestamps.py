"""Times that clients read have one form, whoever writes them."""

import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import msgspec
import pytest
from msgspec import Struct

from backend.web.timestamps import encode_json, utc_text
from tests.fixture import Fixture

FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TOKYO = timezone(timedelta(hours=9))
MOMENTS = [
    (datetime(2026, 11, 22, 10, 0, tzinfo=UTC), "2026-11-22T10:00:00.000000Z"),
    (datetime(2026, 11, 22, 10, 0, 0, 120, tzinfo=TOKYO), "2026-11-22T01:00:00.000120Z"),
    (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00.000000Z"),
]


class Row(Struct):
    at: datetime
    rest: list[dict[str, datetime | None]]


@pytest.mark.parametrize(("moment", "text"), MOMENTS)
def test_sql_and_the_service_write_a_time_alike(given: Fixture, moment: datetime, text: str) -> None:
    given.superuser.execute("set timezone = 'Asia/Tokyo'")
    assert given.truth("select voice_clone.utc_text(%s) as text", moment)["text"] == text
    assert utc_text(moment) == text


def test_every_time_of_an_answer_is_in_its_form_however_deep() -> None:
    row = Row(MOMENTS[0][0], [{"a": MOMENTS[1][0], "b": None}])
    found = msgspec.json.decode(encode_json(row))
    assert found == {"at": MOMENTS[0][1], "rest": [{"a": MOMENTS[1][1], "b": None}]}


def test_mirror_events_and_realtime_are_independent_of_the_session(given: Fixture) -> None:
    given.superuser.execute("set timezone = 'Asia/Tokyo'")
    given.service.execute("set timezone = 'Asia/Tokyo'")
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    assert FORM.fullmatch(given.mirror(reflection)["updatedAt"])
    events = given.service.execute(
        "select * from voice_clone.attempt_events(%s, %s, 0)", (attempt, user)
    ).fetchall()
    times = [
        value
        for event in events
        for name, value in event["changes"].items()
        if name.endswith(("_at", "_before")) and value is not None
    ]
    assert len(times) > len(events)
    assert [time for time in times if not FORM.fullmatch(time)] == []
    sent = given.truth(
        "select voice_clone.public_event(e) as event from voice_clone.events e where e.attempt_id = %s"
        " limit 1",
        attempt,
    )["event"]
    assert FORM.fullmatch(sent["recorded_at"])


def test_an_export_has_one_form_of_times(given: Fixture) -> None:
    user = given.user()
    given.launchable(user, given.reflection(user))
    given.superuser.execute("set timezone = 'Asia/Tokyo'")
    held = given.truth("select operations.held('user', %s) as held", user)["held"]
    times = [
        value
        for rows in held.values()
        for row in rows or []
        for name, value in row.items()
        if name.endswith(("_at", "_since", "_until")) and value
    ]
    assert len(times) > 10
    assert [time for time in times if not FORM.fullmatch(time)] == []
    assert given.truth("select operations.held('user', %s) as held", uuid4())["held"]["attempts"] is None
