"""Consents that are not signed, and samples that a consent does not cover."""

from tests.database.situations import refused
from tests.fixture import Fixture

CHALLENGE = "select * from voice_clone.open_challenge(%s, %s, %s, 'Say this.')"
CHECK = "select voice_clone.check_opening(%s, %s, null, null, 'local', '')"


def test_a_challenge_is_for_the_current_statement_in_a_language_that_has_one(given: Fixture) -> None:
    user = given.user()
    with refused("VC006", "statement_not_found"):
        given.one(CHALLENGE, user, "xx", 1)
    with refused("VC007", "statement_outdated"):
        given.one(CHALLENGE, user, "en", 7)


def test_a_consent_is_signed_for_a_reflection_of_its_user(given: Fixture) -> None:
    user = given.user()
    assert given.consent(user)
    assert given.consent(user, given.reflection(user))
    with refused("VC004"):
        given.consent(user, given.reflection(given.user()))


def test_a_revoked_consent_opens_no_upload_and_adds_no_sample(given: Fixture) -> None:
    user = given.user()
    consent = given.consents[user] = given.consent(user)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    with refused("VC003"):
        given.one(CHECK, user, consent)
    with refused("VC003"):
        given.add_sample(user)
