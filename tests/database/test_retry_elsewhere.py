"""The owner tries the same consented sample at another provider; nobody else does."""

from uuid import UUID, uuid4

import pytest

from tests.database.situations import fail, meanwhile, refused, retry, revoke
from tests.fixture import Fixture, Row


def elsewhere(
    given: Fixture, reflection: UUID, user: UUID, failed: UUID | None, provider: str = "qwen"
) -> Row:
    return given.one(
        "select * from voice_clone.retry_elsewhere(%s, %s, %s, %s, %s, '', true)",
        uuid4(), reflection, user, failed, provider,
    )  # fmt: skip


def failed(given: Fixture) -> tuple[UUID, UUID, UUID]:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    return user, reflection, attempt


def test_the_same_sample_is_cloned_at_another_provider(given: Fixture) -> None:
    user, reflection, attempt = failed(given)
    before = given.mirror(reflection)
    answer = elsewhere(given, reflection, user, attempt)
    assert (answer["provider"], answer["status"], answer["source"]) == ("qwen", "queued", "sample")
    old = given.attempt(attempt)
    for kept in ("sample_id", "name", "language", "reflection_id"):
        assert answer[kept] == old[kept], kept
    assert (old["status"], old["cancel_reason"]) == ("cancelled", "superseded")
    mirror = given.mirror(reflection)
    assert (mirror["provider"], mirror["cloneStatus"], mirror["error"]) == ("qwen", "queued", None)
    assert mirror["version"] > before["version"]
    assert given.claim(answer["id"])["outcome"] == "claimed"
    assert given.one("select * from voice_clone.claimed_work(%s)", answer["id"])["transcript"] == "hello"
    assert given.truth("select * from voice_clone.replay(%s)", answer["id"]) == given.attempt(answer["id"])


def test_another_provider_is_no_new_budget(given: Fixture) -> None:
    user, reflection, attempt = failed(given)
    retry(given, reflection, user)
    fail(given, attempt)
    for count in range(2, 6):
        provider = "qwen" if count % 2 else "elevenlabs"
        attempt = elsewhere(given, reflection, user, attempt, provider)["id"]
        assert given.attempt(attempt)["user_retry_count"] == count
        fail(given, attempt)
    for again in (
        lambda: elsewhere(given, reflection, user, attempt),
        lambda: retry(given, reflection, user),
    ):
        with refused("VC007", "retry_budget_used"):
            again()


def test_the_same_provider_is_the_same_attempt(given: Fixture) -> None:
    user, reflection, attempt = failed(given)
    assert elsewhere(given, reflection, user, attempt, "local")["id"] == attempt
    assert (
        given.truth("select count(*) from public.voice_clone_attempts where reflection_id = %s", reflection)[
            "count"
        ]
        == 1
    )


def test_where_nothing_failed_no_other_provider_is_tried(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    with refused("VC007", "nothing_to_retry"):
        elsewhere(given, reflection, user, None)
    attempt = given.queued(user, reflection)
    given.claim(attempt)
    before = given.attempt(attempt)
    with refused("VC007", "nothing_to_retry"):
        elsewhere(given, reflection, user, attempt)
    assert given.attempt(attempt) == before
    with refused("VC004"):
        elsewhere(given, reflection, given.user(), attempt)


def test_an_attempt_that_took_its_place_is_left_alone(given: Fixture) -> None:
    user, reflection, attempt = failed(given)
    newer = given.queued(user, reflection)
    fail(given, newer)
    with refused("VC007", "attempt_superseded"):
        elsewhere(given, reflection, user, attempt)
    assert given.attempt(newer)["is_active"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_sample_whose_consent_is_revoked_is_not_retried_elsewhere(given: Fixture, when: str) -> None:
    user, reflection, attempt = failed(given)
    if when == "before":
        revoke(given, attempt, user)
        with refused("VC007", "nothing_to_retry"):
            elsewhere(given, reflection, user, attempt)
    else:
        with meanwhile(given, lambda: elsewhere(given, reflection, user, attempt)) as second:
            given.superuser.execute(
                "select voice_clone.revoke_consent(s.consent_id, s.user_id) from public.voice_samples s"
                " where s.id = %s",
                (given.attempt(attempt)["sample_id"],),
            )
        with refused("VC007", "nothing_to_retry"):
            second[0].result(10)
    assert (
        given.truth("select count(*) from public.voice_clone_attempts where reflection_id = %s", reflection)[
            "count"
        ]
        == 1
    )
    assert given.attempt(attempt)["cancel_reason"] == "consent_revoked"


def test_a_revocation_during_a_retry_cancels_it(given: Fixture) -> None:
    user, reflection, attempt = failed(given)
    newer = uuid4()
    consent = given.truth(
        "select consent_id from public.voice_samples where id = %s", given.attempt(attempt)["sample_id"]
    )["consent_id"]
    withdrawal = "select * from voice_clone.revoke_consent(%s, %s)"
    with meanwhile(given, lambda: given.one(withdrawal, consent, user)) as second:
        given.superuser.execute(
            "select voice_clone.retry_elsewhere(%s, %s, %s, %s, 'qwen', '', true)",
            (newer, reflection, user, attempt),
        )
    assert second[0].result(10)["revokes"] == consent
    assert (given.attempt(newer)["status"], given.attempt(newer)["cancel_reason"]) == (
        "cancelled", "consent_revoked",
    )  # fmt: skip


def test_a_voice_without_a_sample_has_nothing_to_take_elsewhere(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    custom = given.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', 'stock', null, 'm', 'Stock', 'en', true)",
        uuid4(), user, reflection,
    )["id"]  # fmt: skip
    fail(given, custom, "voice_not_found")
    with refused("VC007", "sample_missing"):
        elsewhere(given, reflection, user, custom)
