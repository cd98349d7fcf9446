"""Cursors: what a page was cut at, and nothing that a hostile client can break."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from backend.errors import InvalidCursor
from backend.web.pages import LAST_ID, Page, decode, encode, time_place
from tests.documented import operations

HOSTILE = [
    "", " ", "null", "0", "-1", "A" * 31, "A" * 33, "A" * 36, "A" * 2000, "é" * 32, "\x00" * 32,
    "A" * 31 + "=",
    "' or true --", "%00" * 10, "/" * 32, "+" * 32,
    encode(-1, UUID(int=0)), encode(2**63 - 1, LAST_ID), encode(1, LAST_ID)[:-1] + "\n",
    urlsafe_b64encode(b"2026-11-22T10:00:00Z").decode(),
]  # fmt: skip


@pytest.mark.parametrize("cursor", HOSTILE)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor) as refused:
        Page.of(cursor, 10)
    assert (refused.value.status, refused.value.code, refused.value.field) == (
        400,
        "invalid_cursor",
        "cursor",
    )


def test_a_cursor_is_the_place_of_the_last_row() -> None:
    rows = [(datetime(2026, 11, 22, 10, 0, 0, n, tzinfo=UTC), uuid4()) for n in (3, 2, 2, 1)]
    page = Page.of(None, 3)
    assert page.parameters == {"before": "infinity", "before_id": LAST_ID, "limit": 4}
    shown, cursor = page.cut(rows, lambda row: time_place(*row))
    assert (shown, cursor is None) == (rows[:3], False)
    following = Page.of(cursor, 3)
    assert following.parameters == {
        "before": "2026-11-22T10:00:00.000002Z", "before_id": rows[2][1], "limit": 4,
    }  # fmt: skip
    assert decode(cursor or "") == time_place(*rows[2])
    assert following.cut(rows[3:], lambda row: time_place(*row)) == (rows[3:], None)


def test_every_list_has_pages() -> None:
    """Lists that are never long are named here."""
    short = {"list_statements", "list_retention"}
    lists = {
        operation["operationId"]: {each["name"]: each for each in operation.get("parameters", [])}
        for operation in operations().values()
        if operation["operationId"].startswith("list_")
    }
    assert len(lists) == 10
    for name, parameters in lists.items():
        assert ({"limit", "cursor"} <= parameters.keys()) == (name not in short), name
        if name not in short:
            assert (parameters["limit"]["schema"]["minimum"], parameters["limit"]["schema"]["maximum"]) == (
                1,
                100,
            )
