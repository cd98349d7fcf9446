"""The chains of consents are verified: each way to tamper with them is found."""

import json
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.fixture import Fixture

ALL = "select persons, broken from voice_clone.check_consents(null, 100)"


def chain(given: Fixture) -> UUID:
    """Three entries: a signature, its revocation, another signature."""
    user = given.user()
    given.one("select * from voice_clone.revoke_consent(%s, %s)", given.consent(user), user)
    given.consent(user)
    return user


def tamper(given: Fixture, *statements: LiteralString) -> None:
    """As the owner of the tables, who can switch triggers off."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        for statement in statements:
            given.superuser.execute(statement)


def broken(given: Fixture) -> list[tuple[int, str]]:
    return [(each["position"], each["problem"]) for each in given.one(ALL)["broken"]]


def test_chains_as_they_were_written_are_whole(given: Fixture) -> None:
    for _ in range(3):
        chain(given)
    assert given.one(ALL) == {"persons": 3, "broken": []}


@pytest.mark.parametrize(
    ("statement", "position", "problem"),
    [
        ("update public.voice_consents set recorded_at = recorded_at - interval '1 year' where position = 1",
         1, "its contents or its statement were changed"),
        ("update public.voice_consents set subject_kind = 'reflection', subject_id = gen_random_uuid()"
         " where position = 3", 3, "its contents or its statement were changed"),
        ("update public.voice_consent_statements set body = 'I agree to everything.' where locale = 'en'",
         1, "its contents or its statement were changed"),
        ("update public.voice_consents set revokes = null where position = 2",
         2, "its contents or its statement were changed"),
        ("delete from public.voice_consents where position = 2", 3, "an entry before it is missing"),
        ("delete from public.voice_consents where position = 1", 2, "an entry before it is missing"),
        ("delete from public.voice_consents where position = 3",
         3, "the last entry is missing, or was changed"),
        ("delete from public.voice_consents", 3, "the last entry is missing, or was changed"),
        ("insert into public.voice_consents (id, user_id, person_id, position, statement_id, subject_kind,"
         " recorded_at, previous_hash, hash) select gen_random_uuid(), user_id, person_id, 4, statement_id,"
         " 'self', now(), hash, hash from public.voice_consents where position = 3",
         4, "an entry was added without its chain"),
    ],
)  # fmt: skip
def test_a_change_by_the_owner_of_the_tables_is_found(
    given: Fixture, statement: LiteralString, position: int, problem: str
) -> None:
    chain(given)
    tamper(given, statement)
    assert (position, problem) in broken(given)


def test_a_changed_entry_with_a_hash_of_its_own_breaks_the_next(given: Fixture) -> None:
    chain(given)
    tamper(
        given,
        "update public.voice_consents set recorded_at = recorded_at - interval '1 hour' where position = 1",
        "update public.voice_consents c set hash = voice_clone.consent_hash(c) where position = 1",
    )
    assert broken(given) == [(2, "the entry before it was changed")]


def test_times_grow_with_the_chain_even_in_one_transaction(given: Fixture) -> None:
    user = given.user()
    with given.service.transaction():
        for _ in range(5):
            given.consent(user)
    rows = given.superuser.execute(
        "select recorded_at from public.voice_consents order by position"
    ).fetchall()
    times = [row["recorded_at"] for row in rows]
    assert times == sorted(set(times))


def test_a_later_entry_of_an_earlier_transaction_has_the_later_time(given: Fixture) -> None:
    """The time is taken under the lock of the chain, not at the beginning of the transaction."""
    user = given.user()
    with given.service.transaction():
        given.one("select now()")
        given.truth("select * from voice_clone.sign_consent(%s, 'voice_clone', 'en', 'self', null, 1)", user)
        given.consent(user)
    assert broken(given) == []
    assert given.truth(
        "select bool_and(l.recorded_at > e.recorded_at) as grows from public.voice_consents e"
        " join public.voice_consents l on l.position = e.position + 1"
    )["grows"]


def test_the_sweep_checks_all_chains_in_parts_and_then_waits(given: Fixture) -> None:
    for _ in range(3):
        chain(given)
    tamper(given, "update public.voice_consents set recorded_at = now() where position = 1")
    sweep = "select voice_clone.sweep_consents(2) as broken"
    found = [given.truth(sweep)["broken"] for _ in range(4)]
    assert sum(found) == sum(found[:2]) == len(broken(given)) > 0
    given.superuser.execute("update voice_clone.consent_checks set due_at = now()")
    assert given.truth(sweep)["broken"] > 0
    given.superuser.execute("update voice_clone.consent_checks set due_at = now(), after_person = null")
    what = given.service.execute("select what, count from voice_clone.sweep(10)").fetchall()
    assert {"what": "broken_consents", "count": len(broken(given))} in what


def test_a_text_that_is_not_the_current_one_is_not_signed(given: Fixture) -> None:
    user, version = given.user(), 2
    sign = "select * from voice_clone.sign_consent(%s, 'voice_clone', 'en', 'self', null, %s)"
    with pytest.raises(psycopg.Error) as refused:
        given.one(sign, user, version)
    assert refused.value.sqlstate == "VC007"
    with pytest.raises(psycopg.Error, match="current version"):
        given.one(sign, user, None)  # a signature says what was read
    assert json.loads(refused.value.diag.message_detail or "") == {
        "code": "statement_outdated",
        "field": "version",
        "current_version": 1,
    }
    assert given.one(sign, user, 1)["user_id"] == user
    given.superuser.execute(
        "insert into public.voice_consent_statements (statement, version, locale, body)"
        " values ('voice_clone', 2, 'en', 'Other words.')"
    )
    assert given.one(sign, user, version)["user_id"] == user
    with pytest.raises(psycopg.Error, match="current version"):
        given.one(sign, user, 1)
