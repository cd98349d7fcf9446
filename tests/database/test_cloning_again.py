"""A sample is cloned again only under a consent that is valid today, and for that reflection."""

from uuid import UUID

import pytest

from tests.database.situations import refused, revoke
from tests.fixture import Fixture, Row


def clone(given: Fixture, sample: UUID, user: UUID, reflection: UUID) -> Row:
    return given.one(
        "select * from voice_clone.clone_sample(gen_random_uuid(), %s, %s, %s, 'local', '', true, 'Ada')",
        user, sample, reflection,
    )  # fmt: skip


def sampled(given: Fixture, user: UUID, reflection: UUID, consent: UUID) -> UUID:
    """An attempt whose sample was inspected, under this consent."""
    attempt = given.open(user, reflection, consent)
    given.queue(attempt, user)
    return attempt


def test_a_consent_for_the_user_covers_every_reflection(given: Fixture) -> None:
    user = given.user()
    attempt = sampled(given, user, given.reflection(user), given.consent(user))
    other = given.reflection(user)
    assert clone(given, given.attempt(attempt)["sample_id"], user, other)["reflection_id"] == other


def test_a_sample_whose_consent_is_revoked_is_gone(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = sampled(given, user, reflection, given.consent(user))
    revoke(given, attempt, user)
    with refused("VC004"):
        clone(given, given.attempt(attempt)["sample_id"], user, reflection)


def test_a_consent_for_one_reflection_covers_no_other(given: Fixture) -> None:
    user = given.user()
    reflection, other = given.reflection(user), given.reflection(user)
    sample = given.attempt(sampled(given, user, reflection, given.consent(user, reflection)))["sample_id"]
    with refused("VC003"):
        clone(given, sample, user, other)
    assert clone(given, sample, user, reflection)["reflection_id"] == reflection


def test_a_sample_that_was_not_inspected_is_not_cloned(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.open(user, reflection)
    with refused("VC004"):
        clone(given, given.attempt(attempt)["sample_id"], user, reflection)


PARTS_OF_A_CONSENT = (
    "and c.revokes is null",
    "and (c.subject_kind = 'self' or (c.subject_kind = 'reflection' and c.subject_id = p_reflection))",
    "and not exists (select from public.voice_consents r where r.revokes = c.id)",
)


@pytest.mark.parametrize("part", [None, *PARTS_OF_A_CONSENT])
def test_each_part_of_the_check_of_a_consent_is_needed(given: Fixture, part: str | None) -> None:
    """With all of them, three consents are refused; without one, a sample is cloned that must not be."""
    if part is not None:
        given.replace("voice_clone.is_consent_valid", part, "")
    user = given.user()
    reflection, other = given.reflection(user), given.reflection(user)
    revoked = given.consent(user)
    revocation = given.one("select * from voice_clone.revoke_consent(%s, %s)", revoked, user)["id"]
    valid = [
        given.truth("select voice_clone.is_consent_valid(%s, %s, %s) as valid", consent, user, reflection)[
            "valid"
        ]
        for consent in (revoked, revocation, given.consent(user, other))
    ]
    assert any(valid) == (part is not None)
