"""How many attempts one user may have open: by an upload, and by a sample that was inspected before."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixture import Fixture

LIMIT = 20


def clone(given: Fixture, user: UUID, sample: UUID) -> None:
    given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
        uuid4(), user, sample, given.reflection(user),
    )  # fmt: skip


def test_a_sample_opens_no_more_attempts_than_uploads_do(given: Fixture) -> None:
    user = given.user()
    first = given.queued(user, given.reflection(user))
    sample = given.attempt(first)["sample_id"]
    for _ in range(LIMIT - 1):
        clone(given, user, sample)
    with pytest.raises(psycopg.Error) as refused:
        clone(given, user, sample)
    assert refused.value.sqlstate == "VC008"
    given.enroll(first)
    clone(given, user, sample)


def test_uploads_have_their_own_limit(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    for _ in range(LIMIT):
        given.open(user, None, consent)
    with pytest.raises(psycopg.Error) as refused:
        given.open(user, None, consent)
    assert refused.value.sqlstate == "VC008"
