"""A custom voice in the database: whose it may be, what it supersedes, and that nothing is enrolled."""

import re
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.moves import fail, meanwhile, restore, retry
from tests.world import Row, World

USE = "select * from voice_clone.use_custom_voice(%s, %s, %s, %s, '', %s, %s, 'model-1', %s, 'en', true)"
ATTACH = "select * from voice_clone.attach_custom_voice(%s, %s, %s, %s, false)"


def use(
    world: World, user: UUID, reflection: UUID, voice: str, label: str | None = None, name: str | None = None
) -> Row:
    return world.one(USE, uuid4(), user, reflection, "local", voice, label, name)


def refusal(world: World, sql: str, *parameters: Any) -> tuple[str | None, str]:
    """SQLSTATE and the detail's code."""
    with pytest.raises(psycopg.Error) as caught:
        world.one(sql, *parameters)
    code = re.search(r'"code": "(\w+)"', caught.value.diag.message_detail or "")
    return caught.value.sqlstate, code[1] if code else ""


def enrolled(world: World, user: UUID, consent: UUID | None = None) -> Row:
    """A library voice that an enrollment made of this user's sample."""
    attempt = world.open(user, None, consent)
    world.queue(attempt, user)
    world.enroll(attempt)
    return world.truth(
        "select v.*, e.label from public.voices v join voice_clone.enrollments e on e.id = v.enrollment_id"
        " where v.attempt_id = %s",
        attempt,
    )


def counts(world: World) -> Row:
    return world.truth("""
        select (select count(*) from public.voice_clone_attempts) as attempts,
          (select count(*) from public.voices) as voices,
          (select count(*) from voice_clone.events) as events,
          (select count(*) from voice_clone.enrollments) as made
    """)


def test_a_stock_voice_goes_through_the_lifecycle_without_an_enrollment(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = use(world, user, reflection, "stock")
    assert (attempt["source"], attempt["status"], attempt["name"]) == ("custom_voice", "queued", "R")
    message = world.messages("voice_clone_process")[0]
    assert message["message"]["id"] == str(attempt["id"])
    epoch = world.claim(attempt["id"])["lease_epoch"]
    work = world.one("select * from voice_clone.claimed_work(%s)", attempt["id"])
    assert (work["source"], work["provider_voice_id"], work["path"]) == ("custom_voice", "stock", None)
    ready = world.one(ATTACH, attempt["id"], epoch, None, message["msg_id"])
    assert (ready["status"], ready["runtime_status"]) == ("ready", "pending")
    assert world.messages("voice_clone_process") == []
    assert [each["message"]["id"] for each in world.messages("voice_runtime_sync")] == [str(attempt["id"])]
    voice = world.truth("select * from public.voices where attempt_id = %s", attempt["id"])
    assert (voice["id"], voice["provider_voice_id"], voice["enrollment_id"]) == (
        attempt["voice_id"], "stock", None,
    )  # fmt: skip
    assert counts(world)["made"] == 0
    assert world.truth("select * from voice_clone.replay(%s)", attempt["id"]) == world.attempt(attempt["id"])
    mirror = world.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["provider"], mirror["targetModel"], mirror["voiceId"]) == (
        "ready", "local", "model-1", str(attempt["voice_id"]),
    )  # fmt: skip


def test_a_stock_voice_is_used_by_many_and_an_enrolled_one_is_one_row(world: World) -> None:
    for _ in range(2):
        user = world.user()
        attempt = use(world, user, world.reflection(user), "stock")["id"]
        world.one(ATTACH, attempt, world.claim(attempt)["lease_epoch"], None, None)
    assert world.truth("select count(*) from public.voices where provider_voice_id = 'stock'")["count"] == 2
    first, second = enrolled(world, world.user()), enrolled(world, world.user())
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.superuser.execute(
            "update public.voices set provider_voice_id = %s where id = %s",
            (first["provider_voice_id"], second["id"]),
        )


def test_it_supersedes_the_voice_before_and_is_superseded_by_a_sample(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    before = world.launchable(user, reflection)
    custom = use(world, user, reflection, "stock")["id"]
    assert (world.attempt(before)["status"], world.attempt(before)["cancel_reason"]) == (
        "cancelled", "superseded",
    )  # fmt: skip
    epoch = world.claim(custom)["lease_epoch"]
    world.queued(user, reflection)
    assert refusal(world, ATTACH, custom, epoch, None, None)[0] == "VC002", (
        "a late completion changes nothing"
    )
    assert world.truth("select count(*) from public.voices where attempt_id = %s", custom)["count"] == 0
    assert world.superuser.execute("select * from operations.orphans()").fetchall() == []


def test_the_same_voice_again_is_the_same_attempt(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    first = use(world, user, reflection, "stock")
    seen = counts(world)
    assert use(world, user, reflection, "stock") == first
    assert counts(world) == seen
    other = use(world, user, reflection, "other")
    assert other["id"] != first["id"]
    assert use(world, user, reflection, "other", name="Other")["id"] not in {first["id"], other["id"]}


def test_after_a_failure_the_same_voice_is_another_attempt(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    first = use(world, user, reflection, "stock")["id"]
    epoch = world.claim(first)["lease_epoch"]
    world.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'y', null, null)", first, epoch)
    again = use(world, user, reflection, "stock")
    assert (again["status"], again["id"] != first) == ("queued", True)


@pytest.mark.parametrize("known_by", ["id", "label"])
def test_a_voice_that_another_enrolled_is_not_there(world: World, known_by: str) -> None:
    """By its label as well: between a create and its answer nobody here knows the id."""
    owner, stranger = world.user(), world.user()
    voice = enrolled(world, owner)
    reflection = world.reflection(stranger)
    seen = counts(world)
    given = (voice["provider_voice_id"], None) if known_by == "id" else ("not-known-yet", voice["label"])
    refused = refusal(world, USE, uuid4(), stranger, reflection, "local", *given, None)
    assert refused == ("VC006", "voice_not_found")
    assert counts(world) == seen


def test_an_open_or_orphaned_enrollment_gives_its_voice_to_nobody(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, None)
    enrollment = world.intend(attempt, world.claim(attempt)["lease_epoch"])
    label = world.truth("select label from voice_clone.enrollments where id = %s", enrollment)["label"]
    unknown = ("VC006", "voice_not_found")
    assert refusal(world, USE, uuid4(), user, reflection, "local", "its-voice", label, None) == unknown
    world.superuser.execute(
        "update voice_clone.enrollments set status = 'orphaned', provider_voice_id = 'its-voice'"
        " where id = %s",
        (enrollment,),
    )
    assert refusal(world, USE, uuid4(), user, reflection, "local", "its-voice", None, None) == unknown


def test_the_attach_checks_again_whose_voice_it_is(world: World) -> None:
    user = world.user()
    attempt = use(world, user, world.reflection(user), "soon-taken")["id"]
    epoch = world.claim(attempt)["lease_epoch"]
    other = world.queued(world.user(), None)
    enrollment = world.intend(other, world.claim(other)["lease_epoch"])
    world.one("select voice_clone.report_enrollment(%s, 'soon-taken', 'm', false, 'r', null)", enrollment)
    assert refusal(world, ATTACH, attempt, epoch, None, None) == ("VC006", "voice_not_found")


def test_ones_own_voice_lives_under_the_consent_it_was_made_under(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    consent = world.consent(user)
    voice = enrolled(world, user, consent)
    attempt = use(world, user, reflection, voice["provider_voice_id"], voice["label"])["id"]
    world.one(ATTACH, attempt, world.claim(attempt)["lease_epoch"], voice["label"], None)
    world.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    ended = world.attempt(attempt)
    assert (ended["status"], ended["cancel_reason"]) == ("cancelled", "consent_revoked")
    left = world.truth("select count(*) from public.voices where user_id = %s and deleted_at is null", user)
    assert left["count"] == 0
    refused = refusal(world, USE, uuid4(), user, reflection, "local", voice["provider_voice_id"], None, None)
    assert refused == ("VC006", "voice_not_found"), "a voice that was taken away does not come back by its id"


def test_a_consent_for_one_reflection_covers_no_other(world: World) -> None:
    user = world.user()
    mine, other = world.reflection(user), world.reflection(user)
    attempt = world.open(user, mine, world.consent(user, mine))
    world.queue(attempt, user)
    voice = world.enroll(attempt)["provider_voice_id"]
    assert refusal(world, USE, uuid4(), user, other, "local", voice, None, None)[0] == "VC003"
    assert use(world, user, mine, voice)["status"] == "queued"


def test_another_users_reflection_is_not_there(world: World) -> None:
    reflection = world.reflection(world.user())
    assert refusal(world, USE, uuid4(), world.user(), reflection, "local", "stock", None, None)[0] == "VC004"


def test_deleting_a_custom_voice_leaves_the_provider_alone(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = use(world, user, reflection, "stock")
    world.one(ATTACH, attempt["id"], world.claim(attempt["id"])["lease_epoch"], None, None)
    assert world.one("select voice_clone.delete_voice(%s, %s) as gone", attempt["voice_id"], user)["gone"]
    assert world.mirror(reflection)["cloneStatus"] == "none"
    world.superuser.execute("update voice_clone.timeouts set value = '0'")
    world.service.execute("select * from voice_clone.sweep(100)")
    assert world.messages("voice_cleanup") == []
    assert use(world, user, reflection, "stock")["status"] == "queued", "it is still there to be used"


def test_a_consent_that_is_being_withdrawn_covers_no_custom_voice(world: World) -> None:
    user = world.user()
    reflection, consent = world.reflection(user), world.consent(user)
    voice = enrolled(world, user, consent)["provider_voice_id"]
    with meanwhile(world, lambda: use(world, user, reflection, voice)) as using:
        world.superuser.execute("select voice_clone.revoke_consent(%s, %s)", (consent, user))
    with pytest.raises(psycopg.Error) as caught:
        using[0].result()
    assert caught.value.sqlstate == "VC006", "it was gone once the withdrawal was there"
    assert world.truth("select count(*) from public.voice_clone_attempts where is_active")["count"] == 0


def test_its_owner_retries_it_and_goes_back_to_it(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    custom = use(world, user, reflection, "stock")["id"]
    fail(world, custom)
    assert retry(world, reflection, user)["provider_voice_id"] == "stock"
    world.one(ATTACH, custom, world.claim(custom)["lease_epoch"], None, None)
    newer = use(world, user, reflection, "other")["id"]
    fail(world, newer)
    back = restore(world, reflection, user)
    assert (back["id"], back["status"], back["is_active"]) == (custom, "ready", True)
    assert world.mirror(reflection)["voiceId"] == str(back["voice_id"])
