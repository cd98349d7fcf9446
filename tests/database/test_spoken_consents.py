"""Where the project asks for it, no sample is made under a consent that was not spoken for it."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.fixture import Fixture, Row

HASH = bytes(range(32))
PROOF = {
    "words": 0.9, "words_needed": 0.45, "words_by": "a",
    "speaker": 0.8, "speaker_needed": 0.65, "speaker_by": "b", "sample": HASH.hex(),
}  # fmt: skip


@pytest.fixture
def required(given: Fixture) -> Fixture:
    given.superuser.execute("select operations.require_spoken_consent(true)")
    return given


def challenge(given: Fixture, user: UUID, sentence: str = "Say this.") -> UUID:
    return given.one("select * from voice_clone.open_challenge(%s, 'en', 1, %s)", user, sentence)["id"]


def take(given: Fixture, user: UUID, which: UUID) -> str:
    return given.one("select voice_clone.take_challenge(%s, %s) as sentence", user, which)["sentence"]


def sign(given: Fixture, user: UUID, which: UUID, **changes: Any) -> Row:
    sql = "select * from voice_clone.sign_spoken_consent(%s, %s, 'self', null, %s)"
    return given.one(sql, user, which, Jsonb({**PROOF, **changes}))


def spoken(given: Fixture, user: UUID) -> UUID:
    which = challenge(given, user)
    take(given, user, which)
    return sign(given, user, which)["id"]


def code_of(error: psycopg.Error) -> str | None:
    return (error.diag.message_detail or "").partition('"code": "')[2].partition('"')[0] or error.sqlstate


def complete(given: Fixture, sample: UUID, content: bytes | None) -> None:
    epoch = given.claim_sample(sample)["lease_epoch"]
    given.one(
        "select voice_clone.complete_sample"
        "(%s, %s, 'audio/wav', 9, '{}'::jsonb, gen_random_uuid()::text, 9, null, %s)", sample, epoch, content,
    )  # fmt: skip


def no_sample_under_a_consent_that_was_not_spoken(given: Fixture) -> None:
    user = given.user()
    silent = given.consents[user] = given.consent(user)
    for use in (lambda: given.add_sample(user), lambda: given.open(user, None)):
        with pytest.raises(psycopg.Error) as caught:
            use()
        assert code_of(caught.value) == "consent_not_spoken"
    with pytest.raises(psycopg.Error):  # also where no function looked first
        given.superuser.execute(
            "insert into public.voice_samples (user_id, consent_id, path, content_type, bytes)"
            " values (%s, %s, gen_random_uuid()::text, 'audio/wav', 1)", (user, silent),
        )  # fmt: skip
    given.consents[user] = spoken(given, user)
    assert given.pending_sample(user)


def no_other_sample_becomes_ready(given: Fixture) -> None:
    for content in (HASH[::-1], None):
        user = given.user()
        given.consents[user] = spoken(given, user)
        with pytest.raises(psycopg.Error) as caught:
            complete(given, given.pending_sample(user), content)
        assert code_of(caught.value) == "spoken_sample_differs"
    sample = given.pending_sample(user)
    needed = "select spoken_sample from voice_clone.claimed_sample(%s)"
    assert given.one(needed, sample)["spoken_sample"] == HASH.hex()
    complete(given, sample, HASH)
    assert given.sample(sample)["status"] == "ready"


INVARIANTS = [no_sample_under_a_consent_that_was_not_spoken, no_other_sample_becomes_ready]


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda each: each.__name__)
def test_it_holds(invariant: Any, required: Fixture) -> None:
    invariant(required)


MUTANTS = [
    (INVARIANTS[0], "voice_clone.require_spoken_consent", "c.spoken is not null", "true"),
    (
        INVARIANTS[1],
        "voice_clone.spoken_sample",
        "where c.id = p_consent",
        "where false and c.id = p_consent",
    ),
]


@pytest.mark.parametrize(("invariant", "function", "old", "new"), MUTANTS)
def test_a_wrong_function_is_found(
    invariant: Any, function: str, old: str, new: str, required: Fixture
) -> None:
    required.replace(function, old, new)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        invariant(required)


def test_without_the_setting_any_consent_and_any_sample_do(given: Fixture) -> None:
    user = given.user()
    assert given.ready_sample(user)
    given.consents[user] = spoken(given, user)
    assert given.ready_sample(user)


def test_a_sentence_is_used_once_by_its_user_in_time(given: Fixture) -> None:
    user, stranger = given.user(), given.user()
    which = challenge(given, user)
    refused = [
        lambda: take(given, stranger, which),
        lambda: sign(given, user, which),  # nothing was sent for it
        lambda: take(given, user, uuid4()),
    ]
    for call in refused:
        with pytest.raises(psycopg.Error) as caught:
            call()
        assert code_of(caught.value) == "challenge_invalid"
    assert take(given, user, which) == "Say this."
    with pytest.raises(psycopg.Error) as caught:
        sign(given, stranger, which)
    assert code_of(caught.value) == "challenge_invalid"
    entry = sign(given, user, which)
    assert entry["spoken"] == {**PROOF, "sentence": "Say this."}
    for call in (lambda: take(given, user, which), lambda: sign(given, user, which)):
        with pytest.raises(psycopg.Error) as caught:
            call()
        assert code_of(caught.value) == "challenge_invalid"
    late = challenge(given, user)
    given.superuser.execute("update voice_clone.consent_challenges set expires_at = now()")
    with pytest.raises(psycopg.Error):
        take(given, user, late)


def test_a_new_sentence_voids_the_one_before(given: Fixture) -> None:
    user = given.user()
    before, after = challenge(given, user), challenge(given, user, "Or this.")
    with pytest.raises(psycopg.Error):
        take(given, user, before)
    assert take(given, user, after) == "Or this."


def test_a_sentence_is_for_the_version_that_was_shown(given: Fixture) -> None:
    user = given.user()
    which = challenge(given, user)
    take(given, user, which)
    given.superuser.execute(
        "insert into public.voice_consent_statements (statement, version, locale, body)"
        " values ('voice_clone', 2, 'en', 'Other words.')"
    )
    with pytest.raises(psycopg.Error) as caught:
        sign(given, user, which)
    assert code_of(caught.value) == "statement_outdated"


@pytest.mark.parametrize(
    "changes", [{"words": 0.44}, {"speaker": 0.64}, {"sample": "x"}], ids=["words", "speaker", "sample"]
)
def test_a_score_below_its_threshold_signs_nothing(given: Fixture, changes: dict[str, Any]) -> None:
    user = given.user()
    which = challenge(given, user)
    take(given, user, which)
    with pytest.raises(psycopg.errors.CheckViolation):
        sign(given, user, which, **changes)


def test_the_sweep_deletes_sentences_that_nobody_read(given: Fixture) -> None:
    challenge(given, given.user())
    given.superuser.execute(
        "update voice_clone.consent_challenges set expires_at = now() - interval '2 hours'"
    )
    swept = given.superuser.execute("select what, count from operations.sweep(10)").fetchall()
    assert {"what": "challenges", "count": 1} in swept


def test_what_was_spoken_stays_in_the_chain_when_the_user_is_deleted(given: Fixture) -> None:
    user = given.user()
    consent = spoken(given, user)
    given.superuser.execute("delete from auth.users where id = %s", (user,))
    entry = given.truth("select user_id, spoken from public.voice_consents where id = %s", consent)
    assert entry["user_id"] is None
    assert entry["spoken"]["sample"] == HASH.hex()
    checked = given.superuser.execute("select broken from operations.check_consents()").fetchall()
    assert [each["broken"] for each in checked] == [[]]
