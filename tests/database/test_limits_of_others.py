"""Limits of a user count the rows of that user alone; each check fails on the function that counts all."""

import re
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture

OPEN_UPLOADS = 5
UNFINISHED = 20


def opens(given: Fixture, user: UUID, per_day: int | None = None) -> UUID:
    attempt = uuid4()
    given.consents.setdefault(user, given.consent(user))
    given.one(
        "select * from voice_clone.open_attempt"
        "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 9, true, %s)",
        attempt, user, given.consents[user], f"{user}/{attempt}/sample.wav", per_day,
    )  # fmt: skip
    return attempt


def leave(given: Fixture, attempt: UUID) -> None:
    """Its slot reservation ends."""
    given.superuser.execute(
        "update voice_clone.uploads set reserved_until = now() where attempt_id = %s", (attempt,)
    )


def clone(given: Fixture, user: UUID, sample: UUID) -> None:
    given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
        uuid4(), user, sample, given.reflection(user),
    )  # fmt: skip


def the_attempts_of_a_day(given: Fixture) -> None:
    other = given.user()
    for _ in range(2):
        opens(given, other, 2)
    opens(given, given.user(), 2)


def the_open_uploads(given: Fixture) -> None:
    other, user = given.user(), given.user()
    for _ in range(OPEN_UPLOADS):
        opens(given, other)
    given.one("select voice_clone.check_opening(%s, %s, null, null, 'local', '')", user, given.consent(user))
    opens(given, user)


def the_upload_that_gives_way(given: Fixture) -> None:
    other, user = given.user(), given.user()
    left = opens(given, other)
    leave(given, left)
    own = [opens(given, user) for _ in range(OPEN_UPLOADS)]
    leave(given, own[0])
    opens(given, user)
    assert given.attempt(left)["status"] == "awaiting_upload"
    assert given.attempt(own[0])["status"] == "expired"


def the_unfinished_attempts(given: Fixture) -> None:
    other, user = given.user(), given.user()
    first, mine = given.queued(other, given.reflection(other)), given.queued(user, given.reflection(user))
    for _ in range(UNFINISHED - 1):
        clone(given, other, given.attempt(first)["sample_id"])
    clone(given, user, given.attempt(mine)["sample_id"])


OF_USER = "where a.user_id = p_user and a."
ENROLLING_OF_USER = "where n.user_id = p_user and a.status = 'awaiting_upload'"
# A check, and the function whose comparison with the caller is removed: where, and up to where it is.
LIMITS: dict[str, tuple[Callable[[Fixture], None], str, str]] = {
    "attempts in a day": (
        the_attempts_of_a_day, "voice_clone.require_daily_allowance", f"{OF_USER}created_at",
    ),
    "open uploads": (
        the_open_uploads, "voice_clone.check_open_uploads",
        f"{ENROLLING_OF_USER} and",
    ),
    "open uploads that need room": (
        the_open_uploads, "voice_clone.make_room_for_upload",
        f"{ENROLLING_OF_USER}) <",
    ),
    "uploads that were left": (
        the_upload_that_gives_way, "voice_clone.make_room_for_upload",
        f"{ENROLLING_OF_USER}\n",
    ),
    "unfinished attempts": (
        the_unfinished_attempts, "voice_clone.check_unfinished_attempts", "n.user_id = p_user",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_counts_only_the_rows_of_its_user(given: Fixture, name: str) -> None:
    check, _, _ = LIMITS[name]
    check(given)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_counts_the_rows_of_others_is_found(given: Fixture, name: str) -> None:
    check, function, comparison = LIMITS[name]
    given.replace(function, comparison, re.sub(r"[an]\.user_id = p_user( and)?", r"true\1", comparison))
    with pytest.raises((AssertionError, psycopg.Error)):
        check(given)
