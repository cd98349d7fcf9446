"""A custom voice in the database: who may use it, what it supersedes, and that it has no enrollment."""

import re
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import fail, meanwhile, restore, retry
from tests.database.test_retention import end
from tests.fixture import Fixture, Row

USE = "select * from voice_clone.use_custom_voice(%s, %s, %s, %s, '', %s, %s, 'model-1', %s, 'en', true)"
ATTACH = "select * from voice_clone.attach_custom_voice(%s, %s, %s, %s, false)"


def use(
    given: Fixture,
    user: UUID,
    reflection: UUID,
    voice: str,
    label: str | None = None,
    name: str | None = None,
) -> Row:
    return given.one(USE, uuid4(), user, reflection, "local", voice, label, name)


def refusal(given: Fixture, sql: str, *parameters: Any) -> tuple[str | None, str]:
    """SQLSTATE and the code in its detail."""
    with pytest.raises(psycopg.Error) as caught:
        given.one(sql, *parameters)
    code = re.search(r'"code": "(\w+)"', caught.value.diag.message_detail or "")
    return caught.value.sqlstate, code[1] if code else ""


def enrolled(given: Fixture, user: UUID, consent: UUID | None = None) -> Row:
    """A library voice that an enrollment made of this user's sample."""
    attempt = given.open(user, None, consent)
    given.queue(attempt, user)
    given.enroll(attempt)
    return given.truth(
        "select v.*, e.label from public.voices v join voice_clone.enrollments e on e.id = v.enrollment_id"
        " where v.attempt_id = %s",
        attempt,
    )


def counts(given: Fixture) -> Row:
    return given.truth("""
        select (select count(*) from public.voice_clone_attempts) as attempts,
          (select count(*) from public.voices) as voices,
          (select count(*) from voice_clone.events) as events,
          (select count(*) from voice_clone.enrollments) as made
    """)


def test_a_stock_voice_goes_through_the_lifecycle_without_an_enrollment(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = use(given, user, reflection, "stock")
    assert (attempt["source"], attempt["status"], attempt["name"]) == ("custom_voice", "queued", "R")
    message = given.messages("voice_clone_process")[0]
    assert message["message"]["id"] == str(attempt["id"])
    epoch = given.claim(attempt["id"])["lease_epoch"]
    work = given.one("select * from voice_clone.claimed_work(%s)", attempt["id"])
    assert (work["source"], work["provider_voice_id"], work["path"]) == ("custom_voice", "stock", None)
    ready = given.one(ATTACH, attempt["id"], epoch, None, message["msg_id"])
    assert (ready["status"], ready["runtime_status"]) == ("ready", "pending")
    assert given.messages("voice_clone_process") == []
    assert [each["message"]["id"] for each in given.messages("voice_runtime_sync")] == [str(attempt["id"])]
    voice = given.truth("select * from public.voices where attempt_id = %s", attempt["id"])
    assert (voice["id"], voice["provider_voice_id"], voice["enrollment_id"]) == (
        attempt["voice_id"], "stock", None,
    )  # fmt: skip
    assert counts(given)["made"] == 0
    assert given.truth("select * from voice_clone.replay(%s)", attempt["id"]) == given.attempt(attempt["id"])
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["provider"], mirror["targetModel"], mirror["voiceId"]) == (
        "ready", "local", "model-1", str(attempt["voice_id"]),
    )  # fmt: skip


def test_a_stock_voice_is_used_by_many_and_an_enrolled_one_is_one_row(given: Fixture) -> None:
    for _ in range(2):
        user = given.user()
        attempt = use(given, user, given.reflection(user), "stock")["id"]
        given.one(ATTACH, attempt, given.claim(attempt)["lease_epoch"], None, None)
    assert given.truth("select count(*) from public.voices where provider_voice_id = 'stock'")["count"] == 2
    first, second = enrolled(given, given.user()), enrolled(given, given.user())
    given.superuser.execute("set session_replication_role = replica")  # past the triggers
    with pytest.raises(psycopg.errors.UniqueViolation):
        given.superuser.execute(
            "update voice_clone.enrollments set provider_voice_id = %s where id = %s",
            (first["provider_voice_id"], second["enrollment_id"]),
        )


def test_it_supersedes_the_voice_before_and_is_superseded_by_a_sample(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    before = given.launchable(user, reflection)
    custom = use(given, user, reflection, "stock")["id"]
    assert (given.attempt(before)["status"], given.attempt(before)["cancel_reason"]) == (
        "cancelled", "superseded",
    )  # fmt: skip
    epoch = given.claim(custom)["lease_epoch"]
    given.queued(user, reflection)
    assert refusal(given, ATTACH, custom, epoch, None, None)[0] == "VC002", (
        "a late completion changes nothing"
    )
    assert given.truth("select count(*) from public.voices where attempt_id = %s", custom)["count"] == 0
    assert given.superuser.execute("select * from operations.orphans()").fetchall() == []


def test_the_same_voice_again_is_the_same_attempt(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    first = use(given, user, reflection, "stock")
    seen = counts(given)
    assert use(given, user, reflection, "stock") == first
    assert counts(given) == seen
    other = use(given, user, reflection, "other")
    assert other["id"] != first["id"]
    assert use(given, user, reflection, "other", name="Other")["id"] not in {first["id"], other["id"]}


def test_after_a_failure_the_same_voice_is_another_attempt(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    first = use(given, user, reflection, "stock")["id"]
    epoch = given.claim(first)["lease_epoch"]
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'y', null, null)", first, epoch)
    again = use(given, user, reflection, "stock")
    assert (again["status"], again["id"] != first) == ("queued", True)


@pytest.mark.parametrize("known_by", ["id", "label"])
def test_a_voice_that_another_enrolled_is_not_there(given: Fixture, known_by: str) -> None:
    """By its label as well: between a create and its response the id is unknown."""
    owner, stranger = given.user(), given.user()
    voice = enrolled(given, owner)
    reflection = given.reflection(stranger)
    seen = counts(given)
    known = (voice["provider_voice_id"], None) if known_by == "id" else ("not-known-yet", voice["label"])
    refused = refusal(given, USE, uuid4(), stranger, reflection, "local", *known, None)
    assert refused == ("VC006", "voice_not_found")
    assert counts(given) == seen


def test_the_voice_of_an_open_or_orphaned_enrollment_cannot_be_used(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, None)
    enrollment = given.intend(attempt, given.claim(attempt)["lease_epoch"])
    label = given.truth("select label from voice_clone.enrollments where id = %s", enrollment)["label"]
    unknown = ("VC006", "voice_not_found")
    assert refusal(given, USE, uuid4(), user, reflection, "local", "its-voice", label, None) == unknown
    given.superuser.execute(
        "update voice_clone.enrollments set status = 'orphaned', provider_voice_id = 'its-voice'"
        " where id = %s",
        (enrollment,),
    )
    assert refusal(given, USE, uuid4(), user, reflection, "local", "its-voice", None, None) == unknown


def test_the_attach_checks_again_whose_voice_it_is(given: Fixture) -> None:
    user = given.user()
    attempt = use(given, user, given.reflection(user), "soon-taken")["id"]
    epoch = given.claim(attempt)["lease_epoch"]
    other = given.queued(given.user(), None)
    enrollment = given.intend(other, given.claim(other)["lease_epoch"])
    given.one("select voice_clone.report_enrollment(%s, 'soon-taken', 'm', false, 'r', null)", enrollment)
    assert refusal(given, ATTACH, attempt, epoch, None, None) == ("VC006", "voice_not_found")


def test_ones_own_voice_lives_under_the_consent_it_was_made_under(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    consent = given.consent(user)
    voice = enrolled(given, user, consent)
    attempt = use(given, user, reflection, voice["provider_voice_id"], voice["label"])["id"]
    given.one(ATTACH, attempt, given.claim(attempt)["lease_epoch"], voice["label"], None)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    ended = given.attempt(attempt)
    assert (ended["status"], ended["cancel_reason"]) == ("cancelled", "consent_revoked")
    left = given.truth("select count(*) from public.voices where user_id = %s and deleted_at is null", user)
    assert left["count"] == 0
    refused = refusal(given, USE, uuid4(), user, reflection, "local", voice["provider_voice_id"], None, None)
    assert refused == ("VC006", "voice_not_found"), "a voice that was taken away does not come back by its id"


def test_ones_own_voice_is_used_elsewhere_when_its_sample_has_reached_the_end_of_its_retention(
    given: Fixture,
) -> None:
    user = given.user()
    voice = enrolled(given, user)
    assert end(given, "sample")["expired_samples"] == 1
    used = use(given, user, given.reflection(user), voice["provider_voice_id"], voice["label"])
    assert (used["status"], used["is_active"]) == ("queued", True)
    given.one(ATTACH, used["id"], given.claim(used["id"])["lease_epoch"], voice["label"], None)
    assert given.attempt(used["id"])["status"] == "ready"


def test_a_consent_for_one_reflection_covers_no_other(given: Fixture) -> None:
    user = given.user()
    mine, other = given.reflection(user), given.reflection(user)
    attempt = given.open(user, mine, given.consent(user, mine))
    given.queue(attempt, user)
    voice = given.enroll(attempt)["provider_voice_id"]
    assert refusal(given, USE, uuid4(), user, other, "local", voice, None, None)[0] == "VC003"
    assert use(given, user, mine, voice)["status"] == "queued"


def test_another_users_reflection_is_not_there(given: Fixture) -> None:
    reflection = given.reflection(given.user())
    assert refusal(given, USE, uuid4(), given.user(), reflection, "local", "stock", None, None)[0] == "VC004"


def test_deleting_a_custom_voice_leaves_the_provider_alone(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = use(given, user, reflection, "stock")
    given.one(ATTACH, attempt["id"], given.claim(attempt["id"])["lease_epoch"], None, None)
    assert given.one("select voice_clone.delete_voice(%s, %s) as gone", attempt["voice_id"], user)["gone"]
    assert given.mirror(reflection)["cloneStatus"] == "none"
    given.superuser.execute("update voice_clone.timeouts set value = '0'")
    given.service.execute("select * from voice_clone.sweep(100)")
    assert given.messages("voice_cleanup") == []
    assert use(given, user, reflection, "stock")["status"] == "queued", "it is still there to be used"


def test_a_consent_that_is_being_revoked_covers_no_custom_voice(given: Fixture) -> None:
    user = given.user()
    reflection, consent = given.reflection(user), given.consent(user)
    voice = enrolled(given, user, consent)["provider_voice_id"]
    with meanwhile(given, lambda: use(given, user, reflection, voice)) as using:
        given.superuser.execute("select voice_clone.revoke_consent(%s, %s)", (consent, user))
    with pytest.raises(psycopg.Error) as caught:
        using[0].result()
    assert caught.value.sqlstate == "VC006", "it was gone once the withdrawal was there"
    assert given.truth("select count(*) from public.voice_clone_attempts where is_active")["count"] == 0


def test_its_owner_retries_it_and_goes_back_to_it(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    custom = use(given, user, reflection, "stock")["id"]
    fail(given, custom)
    assert retry(given, reflection, user)["provider_voice_id"] == "stock"
    given.one(ATTACH, custom, given.claim(custom)["lease_epoch"], None, None)
    newer = use(given, user, reflection, "other")["id"]
    fail(given, newer)
    back = restore(given, reflection, user)
    assert (back["id"], back["status"], back["is_active"]) == (custom, "ready", True)
    assert given.mirror(reflection)["voiceId"] == str(back["voice_id"])


@pytest.mark.parametrize(
    ("called", "name"),
    [("Ada\r\nLovelace", "Ada Lovelace"), ("a\u202eb\u2066c\u009bd", "a b c d"), ("\u0001\u001b", "Voice")],
)
def test_a_voice_without_a_name_has_its_reflections_on_one_line(
    given: Fixture, called: str, name: str
) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.superuser.execute("update public.reflections set name = %s where id = %s", (called, reflection))
    assert use(given, user, reflection, "stock")["name"] == name
