"""Nobody gets another's voice: what belongs together belongs to one user, whichever id is named."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import fail, refused, reset, restore, retry
from tests.fixture import Fixture


def give(given: Fixture, reflection: UUID, user: UUID | None) -> None:
    given.superuser.execute("update public.reflections set user_id = %s where id = %s", (user, reflection))


def gate(given: Fixture, reflection: UUID, user: UUID) -> list[str]:
    return given.one("select blockers from voice_clone.launch_gate(%s, %s)", reflection, user)["blockers"]


@pytest.mark.parametrize("state", ["ready", "queued", "processing", "failed", "awaiting_upload"])
def test_a_reflection_that_changes_hands_has_no_voice(given: Fixture, state: str) -> None:
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    if state == "ready":
        attempt = given.launchable(user, reflection)
    elif state == "awaiting_upload":
        attempt = given.open(user, reflection)
    else:
        attempt = given.queued(user, reflection)
        if state == "processing":
            given.claim(attempt)
        if state == "failed":
            fail(given, attempt)
    given.mirror(reflection)
    give(given, reflection, other)
    row = given.attempt(attempt)
    assert (row["status"], row["cancel_reason"], row["is_active"]) == ("cancelled", "owner_changed", False)
    assert row["user_id"] == user, "the attempt and its voice stay their owner's"
    shown = given.voice(reflection)
    if state != "awaiting_upload":
        assert (shown["cloneStatus"], shown["attemptId"], shown["version"]) == ("none", None, row["version"])
    assert gate(given, reflection, other) == ["no_voice"]
    with refused("VC005"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, other)
    with refused("VC004"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)


def test_a_change_of_another_column_keeps_the_voice(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    given.superuser.execute("update public.reflections set name = 'S', user_id = user_id")
    assert gate(given, reflection, user) == []


def test_the_new_owner_cannot_recover_the_former_owners_voice(given: Fixture) -> None:
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    fail(given, given.queued(user, reflection))  # the first could be restored
    give(given, reflection, other)
    for move in (restore, retry, reset):
        with refused("VC007"):
            move(given, reflection, other)
    with refused("VC004"):
        given.one("select * from voice_clone.request_preview(%s, %s)", reflection, other)


def test_a_finalize_after_the_reflection_changed_hands_is_refused(given: Fixture) -> None:
    """The upload was opened while the change was not committed, so the change did not see it."""
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    attempt = given.open(user, reflection)
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        give(given, reflection, other)
    with refused("VC004"):
        given.queue(attempt, user)
    assert given.attempt(attempt)["status"] == "awaiting_upload"


def test_an_attempt_without_its_mark_of_change_is_not_launched(given: Fixture) -> None:
    """The gate reads the owner as well, whatever made the rows differ."""
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        give(given, reflection, other)
    assert gate(given, reflection, other) == ["no_voice"]
    with refused("VC005"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, other)
    row = given.one("select * from voice_clone.reflection_voice(%s, %s)", reflection, other)
    assert (row["source"], row["preview_path"]) == (None, None)
    for move in (retry, reset):
        with refused("VC007"):
            move(given, reflection, other)


def test_no_row_names_another_users_row(given: Fixture) -> None:
    """Tried with every right there is."""
    user, other = given.user(), given.user()
    theirs = given.launchable(user, given.reflection(user))
    sample, voice = given.attempt(theirs)["sample_id"], given.attempt(theirs)["voice_id"]
    own, reflection = given.queued(other, None), given.reflection(other)
    attempt = (
        "insert into public.voice_clone_attempts"
        " (id, user_id, reflection_id, sample_id, source, provider, preview_status)"
        " values (gen_random_uuid(), %s, %s, %s, 'sample', 'local', 'required')"
    )
    session = (
        "insert into public.voice_sessions (reflection_id, user_id, attempt_id, voice_id)"
        " values (%s, %s, %s, %s)"
    )
    row = (
        "insert into public.voices (id, user_id, attempt_id, name, language, tts_provider, provider_voice_id,"
        " provider_target_model, provider_voice_kind, provider_region)"
        " values (%s, %s, %s, 'Ada', 'en', 'local', 'x', 'm', 'match', '')"
    )
    tries: list[tuple[str, tuple[UUID, ...]]] = [
        (attempt, (other, reflection, sample)),
        (attempt, (user, reflection, sample)),
        (session, (reflection, other, theirs, voice)),
        (row, (uuid4(), user, own)),
    ]
    for sql, parameters in tries:
        with refused("VC004"):
            given.superuser.execute(sql.encode(), parameters)
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute("update public.voice_clone_attempts set user_id = %s", (other,))
    assert caught.value.sqlstate == "VC001"


def test_a_recording_of_the_former_owner_is_not_cloned_for_the_new_one(given: Fixture) -> None:
    user, other = given.user(), given.user()
    reflection = given.reflection(user)
    for each in (user, other):
        given.consent(each)
    event = given.one(
        "select * from voice_clone.receive_legacy_event('voice_clone_outbox', 'e', %s, %s)",
        reflection, '{"recording": {"path": "x"}}',
    )  # fmt: skip
    sample = given.ready_sample(user)
    give(given, reflection, other)
    decision = given.one(
        "select * from voice_clone.accept_legacy_event(%s, %s, 'local', '', 'Ada', true)", event["id"], sample
    )
    assert (decision["outcome"], decision["code"]) == ("refused", "recording_not_owned")
