"""How many attempts one user may have: unfinished clones of inspected samples, and uploads that are open."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture

UNFINISHED = 20
UPLOADS = 5


def clone(given: Fixture, user: UUID, sample: UUID) -> None:
    given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
        uuid4(), user, sample, given.reflection(user),
    )  # fmt: skip


def test_a_sample_opens_no_more_attempts_than_may_be_unfinished(given: Fixture) -> None:
    user = given.user()
    first = given.queued(user, given.reflection(user))
    sample = given.attempt(first)["sample_id"]
    for _ in range(UNFINISHED - 1):
        clone(given, user, sample)
    with pytest.raises(psycopg.Error) as refused:
        clone(given, user, sample)
    assert refused.value.sqlstate == "VC008"
    given.enroll(first)
    clone(given, user, sample)


def test_uploads_have_their_own_limit(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    for _ in range(UPLOADS):
        given.open(user, None, consent)
    with pytest.raises(psycopg.Error) as refused:
        given.open(user, None, consent)
    assert refused.value.sqlstate == "VC008"


def test_what_another_user_has_open_limits_nobody_else(given: Fixture) -> None:
    busy, user = given.user(), given.user()
    own = given.queued(user, given.reflection(user))
    for _ in range(UNFINISHED - UPLOADS):
        given.queued(busy, None)
    for _ in range(UPLOADS):
        given.open(busy, None)
    clone(given, user, given.attempt(own)["sample_id"])
    given.open(user, None)
