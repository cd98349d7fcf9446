"""Consents are a chain of hashes: an entry that is changed or removed breaks it."""

from typing import LiteralString
from uuid import UUID

import pytest

from tests.fixture import Fixture, Row


def ledger(given: Fixture, user: UUID) -> list[Row]:
    return given.superuser.execute(
        "select c.*, voice_clone.consent_hash(c) as computed from public.voice_consents c"
        " where c.user_id = %s order by c.position", (user,),
    ).fetchall()  # fmt: skip


def assert_chained(given: Fixture) -> None:
    """Each entry of two users has the number and the hash after the entry before it of the same user."""
    users = given.user(), given.user()
    for _ in range(2):
        for user in users:
            signed = given.consent(user, given.reflection(user))
            given.one("select * from voice_clone.revoke_consent(%s, %s)", signed, user)
    for user in users:
        entries = ledger(given, user)
        assert [entry["position"] for entry in entries] == [1, 2, 3, 4]
        assert [entry["hash"] for entry in entries] == [entry["computed"] for entry in entries]
        assert [entry["previous_hash"] for entry in entries[1:]] == [entry["hash"] for entry in entries[:-1]]
        assert entries[0]["previous_hash"] == b"\0"
        assert len({entry["hash"] for entry in entries}) == len(entries)


def test_each_entry_is_chained_to_the_one_before_of_the_same_user(given: Fixture) -> None:
    assert_chained(given)


MUTANTS: list[tuple[str, str, str]] = [
    ("chain_consent", "new.previous_hash := k.hash", "new.previous_hash := '\\x00'"),
    (
        "lock_chain",
        "from voice_clone.consent_chains c where c.user_id = p_entry.user_id",
        "from voice_clone.consent_chains c where true order by c.person_id limit 1",
    ),
    ("chain_consent", "k.position + 1", "k.position + 2"),
    ("chain_consent", "set position = new.position, hash", "set hash"),
    (
        "chain_consent",
        "new.hash := voice_clone.consent_hash(new);",
        "new.hash := sha256(new.id::text::bytea);",
    ),
]


@pytest.mark.parametrize(("function", "old", "new"), MUTANTS)
def test_a_chain_that_is_made_wrongly_is_found(given: Fixture, function: str, old: str, new: str) -> None:
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises(Exception):  # noqa: B017, PT011 - the check fails, or an insert does
        assert_chained(given)


CHANGES: dict[str, LiteralString] = {
    "id": "gen_random_uuid()",
    "person_id": "gen_random_uuid()",
    "position": "position + 1",
    "statement_id": "(select max(s.id::text) from public.voice_consent_statements s where s.locale = 'zh')",
    "subject_kind": "'self'",
    "subject_id": "gen_random_uuid()",
    "org_id": "gen_random_uuid()",
    "method": "'invitation'",
    "revokes": "gen_random_uuid()",
    "spoken": "'{}'",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "previous_hash": "'\\x01'",
}


def changed(given: Fixture, entry: UUID, column: str) -> bytes:
    """The hash of the entry with one column changed."""
    change = f"jsonb_populate_record(c, jsonb_build_object('{column}', {CHANGES[column]}))"
    sql = f"select voice_clone.consent_hash({change}) as hash from public.voice_consents c where c.id = %s"  # noqa: S608
    return given.truth(sql, entry)["hash"]


def test_the_hash_covers_every_column_of_an_entry(given: Fixture) -> None:
    user = given.user()
    entry = given.consent(user, given.reflection(user))
    columns = set(ledger(given, user)[0]) - {"hash", "computed", "user_id"}  # which goes with its user
    assert columns == set(CHANGES), "a new column is covered by the hash, and has its change in CHANGES"
    (row,) = ledger(given, user)
    anonymous = "jsonb_populate_record(c, '{\"user_id\": null}')"
    same = f"select voice_clone.consent_hash({anonymous}) as hash from public.voice_consents c"  # noqa: S608
    assert given.truth(same)["hash"] == row["hash"], "the chain stays verifiable without the user"
    assert [column for column in CHANGES if changed(given, entry, column) == row["hash"]] == []
