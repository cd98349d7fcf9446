"""What was deleted or revoked is silent at once, and is removed at its provider and in Storage."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import refused, revoke, sweep
from tests.fixture import Fixture, Row


def delete(given: Fixture, attempt: UUID, user: UUID) -> bool:
    voice = given.attempt(attempt)["voice_id"]
    return given.one("select voice_clone.delete_voice(%s, %s) as deleted", voice, user)["deleted"]


def voice_row(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from public.voices where attempt_id = %s", attempt)


def sample_row(given: Fixture, attempt: UUID) -> Row:
    return given.truth(
        "select * from public.voice_samples where id = %s", given.attempt(attempt)["sample_id"]
    )


def enrollment_row(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from voice_clone.enrollments where attempt_id = %s", attempt)


def gate(given: Fixture, reflection: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.launch_gate(%s, %s)", reflection, user)


def folders(given: Fixture) -> set[tuple[str, str]]:
    rows = given.superuser.execute("select bucket, folder from voice_clone.object_removals").fetchall()
    return {(row["bucket"], row["folder"]) for row in rows}


def set_time(given: Fixture, name: str, value: str | None) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = %s where name = %s", (value, name))


def cleanups(given: Fixture) -> list[str]:
    return [each["message"]["id"] for each in given.messages("voice_cleanup")]


def begin(given: Fixture, enrollment: UUID) -> str:
    return given.one("select task from voice_clone.begin_cleanup(%s)", enrollment)["task"]


def use(given: Fixture, original: UUID, reflection: UUID, user: UUID) -> UUID:
    """The voice of an attempt as a custom voice of another reflection, ready."""
    voice = voice_row(given, original)["provider_voice_id"]
    attempt = given.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', %s, null, 'm', 'Ada', 'en', true)",
        uuid4(), user, reflection, voice,
    )["id"]  # fmt: skip
    epoch = given.claim(attempt)["lease_epoch"]
    given.one("select * from voice_clone.attach_custom_voice(%s, %s, null, null, false)", attempt, epoch)
    return attempt


def test_a_deleted_voice_stays_at_its_provider_until_its_retention_ends(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    assert delete(given, attempt, user)
    assert not delete(given, attempt, user), "a second time there is nothing to delete"
    assert sweep(given).get("released") is None
    assert enrollment_row(given, attempt)["status"] == "attached"
    set_time(given, "deleted_voice", "0")
    assert sweep(given)["released"] == 1
    enrollment = enrollment_row(given, attempt)
    assert (enrollment["status"], cleanups(given)) == ("orphaned", [str(enrollment["id"])])
    assert begin(given, enrollment["id"]) == "remove", "without the grace period of an orphan"
    given.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", enrollment["id"])
    assert given.truth("select voice_clone.slots_taken('local', '', 9) as taken")["taken"] == 0
    assert sweep(given).get("released") is None
    assert voice_row(given, attempt)["removal_requested_at"] is not None, "the row stays as a record"


def test_a_retention_that_never_ends_releases_nothing(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    given.enroll(attempt)
    delete(given, attempt, user)
    set_time(given, "deleted_voice", None)
    assert sweep(given).get("released") is None
    with pytest.raises(psycopg.errors.CheckViolation):
        set_time(given, "upload", None)


def test_the_longest_deleted_are_released_first(given: Fixture) -> None:
    user = given.user()
    attempts = [given.queued(user, None) for _ in range(3)]
    for attempt in attempts:
        given.enroll(attempt)
        delete(given, attempt, user)
    for wanted in attempts:
        assert given.truth("select voice_clone.release_deleted_voices(1, '0') as n")["n"] == 1
        assert enrollment_row(given, wanted)["status"] == "orphaned"


def test_a_deletion_silences_the_voice_and_removes_its_objects(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    delete(given, attempt, user)
    assert gate(given, reflection, user) == {"launchable": False, "blockers": ["no_voice"]}
    assert given.mirror(reflection)["cloneStatus"] == "none"
    assert sample_row(given, attempt)["removed_at"] is not None
    assert sample_row(given, attempt)["transcript"] is None, "it is what the recording says"
    assert folders(given) == {("voice-samples", f"{user}/{attempt}"), ("voice-previews", f"{user}/{attempt}")}
    assert len(given.messages("object_removal")) == 2
    with refused("VC004"):
        given.one(
            "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
            uuid4(), user, sample_row(given, attempt)["id"], reflection,
        )  # fmt: skip


def test_a_recording_that_another_voice_uses_stays(given: Fixture) -> None:
    user = given.user()
    first = given.launchable(user, given.reflection(user))
    second = uuid4()
    given.one(
        "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
        second, user, sample_row(given, first)["id"], given.reflection(user),
    )  # fmt: skip
    given.enroll(second)
    delete(given, first, user)
    assert sample_row(given, first)["removed_at"] is None
    delete(given, second, user)
    assert sample_row(given, first)["removed_at"] is not None


def test_a_custom_use_falls_silent_with_its_original(given: Fixture) -> None:
    user = given.user()
    original = given.launchable(user, given.reflection(user))
    elsewhere = given.reflection(user)
    used = use(given, original, elsewhere, user)
    waiting = given.reflection(user)
    voice = voice_row(given, original)["provider_voice_id"]
    queued = given.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', %s, null, 'm', 'Ada', 'en', true)",
        uuid4(), user, waiting, voice,
    )["id"]  # fmt: skip
    delete(given, original, user)
    for reflection, attempt in ((elsewhere, used), (waiting, queued)):
        assert gate(given, reflection, user)["blockers"] == ["no_voice", "original_removed"]
        with refused("VC005"):
            given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
        mirror = given.mirror(reflection)
        assert (mirror["cloneStatus"], mirror["error"]["code"]) == ("none", "original_removed")
        assert given.attempt(attempt)["cancel_reason"] == "original_removed"
    assert voice_row(given, used)["deleted_at"] is not None
    given.queued(user, elsewhere)
    assert gate(given, elsewhere, user)["blockers"] == ["clone_queued"], "a new voice has its own blockers"


def test_a_custom_use_that_is_deleted_leaves_its_original(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    original = given.launchable(user, reflection)
    delete(given, use(given, original, given.reflection(user), user), user)
    assert gate(given, reflection, user)["launchable"]
    assert sample_row(given, original)["removed_at"] is None
    assert voice_row(given, original)["deleted_at"] is None


@pytest.mark.parametrize("state", ["processing", "verifying", "ready", "failed", "superseded"])
def test_a_revocation_ends_and_removes_what_the_consent_covered(given: Fixture, state: str) -> None:
    user = given.user()
    reflection = given.reflection(user)
    enrollment = None
    if state == "superseded":
        attempt = given.launchable(user, reflection)
        given.queued(user, reflection)
    else:
        attempt = given.queued(user, reflection)
        epoch = given.claim(attempt)["lease_epoch"]
        enrollment = given.intend(attempt, epoch) if state in ("processing", "verifying") else None
        if state == "verifying":
            given.one(
                "select * from voice_clone.await_verification(%s, %s, %s, 'v', 'm', 'r', null, null)",
                attempt, epoch, enrollment,
            )  # fmt: skip
        if state == "ready":
            given.attach(attempt, epoch, given.intend(attempt, epoch))
        if state == "failed":
            given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'X.', null, null)", attempt, epoch)
    revoke(given, attempt, user)
    row = given.attempt(attempt)
    assert (row["status"], row["is_active"]) == ("cancelled", False)
    assert sample_row(given, attempt)["removed_at"] is not None
    assert ("voice-samples", f"{user}/{attempt}") in folders(given)
    if state == "processing":  # its voice is found later, and removed without a grace period
        given.one("select voice_clone.report_enrollment(%s, 'v', 'm', false, 'r', null)", enrollment)
    if state != "failed":
        found = enrollment_row(given, attempt)
        assert str(found["id"]) in cleanups(given)
        assert begin(given, found["id"]) == "remove"


def test_a_revocation_ends_custom_uses_and_speech(given: Fixture) -> None:
    user = given.user()
    original = given.launchable(user, given.reflection(user))
    reflection = given.reflection(user)
    used = use(given, original, reflection, user)
    revoke(given, original, user)
    assert not gate(given, reflection, user)["launchable"]
    for attempt in (original, used):
        assert voice_row(given, attempt)["deleted_at"] is not None
    assert begin(given, enrollment_row(given, original)["id"]) == "remove"


def test_an_orphan_in_its_grace_period_is_removed_when_its_consent_is_revoked(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    enrollment = given.intend(attempt, given.claim(attempt)["lease_epoch"])
    given.truth("select voice_clone.cancel_attempts('reset', p_attempts => %s)", [attempt])
    given.one("select voice_clone.report_enrollment(%s, 'v', 'm', false, 'r', null)", enrollment)
    assert begin(given, enrollment) == "nothing"
    revoke(given, attempt, user)
    assert begin(given, enrollment) == "remove"


def removal(given: Fixture) -> tuple[UUID, str]:
    user = given.user()
    attempt = given.queued(user, None)
    given.enroll(attempt)
    delete(given, attempt, user)
    row = given.truth("select id, folder from voice_clone.object_removals")
    return row["id"], row["folder"]


def begin_objects(given: Fixture, id_: UUID) -> list[dict[str, Any]]:
    return given.service.execute("select * from voice_clone.begin_object_removal(%s)", (id_,)).fetchall()


def end_objects(given: Fixture, id_: UUID, *, is_final: bool) -> None:
    given.one("select voice_clone.end_object_removal(%s, %s, null)", id_, is_final)


def test_a_folder_is_emptied_again_when_no_upload_can_arrive(given: Fixture) -> None:
    id_, folder = removal(given)
    assert begin_objects(given, id_) == [{"bucket": "voice-samples", "folder": folder, "is_final": False}]
    end_objects(given, id_, is_final=False)
    given.superuser.execute("select pgmq.purge_queue('object_removal')")
    assert sweep(given).get("object_removals") is None
    given.superuser.execute("update voice_clone.object_removals set final_at = now(), sweep_at = now()")
    assert sweep(given)["object_removals"] == 1
    assert len(given.messages("object_removal")) == 1
    end_objects(given, id_, is_final=False)  # of a worker that listed the folder before
    (again,) = begin_objects(given, id_)
    assert again["is_final"]
    end_objects(given, id_, is_final=True)
    assert begin_objects(given, id_) == []


def test_a_removal_whose_message_is_lost_is_sent_again_and_the_wait_doubles(given: Fixture) -> None:
    removal(given)
    given.superuser.execute("select pgmq.purge_queue('object_removal')")
    given.superuser.execute(
        "update voice_clone.object_removals set sweep_at = now(), requested_at = now() - interval '20 min'"
    )
    assert sweep(given)["object_removals"] == 1
    waits = "select sweep_at > now() + interval '15 min' as waits from voice_clone.object_removals"
    assert given.truth(waits)["waits"]


@pytest.mark.parametrize(
    "folder", ["", "..", "a/b", "voice-samples", f"{UUID(int=1)}/{UUID(int=2)}/x", f"{UUID(int=1)}/"]
)
def test_only_a_folder_of_ours_is_emptied(given: Fixture, folder: str) -> None:
    given.truth("select voice_clone.request_object_removal('voice-samples', %s)", folder)
    assert folders(given) == set()


def test_a_deleted_voice_makes_room_for_a_new_one_before_its_retention_ends(given: Fixture) -> None:
    user = given.user()
    old = given.queued(user, None)
    given.enroll(old)
    delete(given, old, user)
    given.one("select voice_clone.set_slots('local', '', 1)")
    new = given.queued(user, None)
    removing = enrollment_row(given, old)
    assert (removing["status"], cleanups(given)) == ("orphaned", [str(removing["id"])])
    with refused("VC007", "provider_full"):  # one voice makes room for one
        given.open(user, None)
    epoch = given.claim(new)["lease_epoch"]
    intend = "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60) as id"
    assert given.one(intend, new, epoch, "early")["id"] is None, "the slot is not free yet"
    wait = "select voice_clone.wait_for_slot(%s, %s, null) as waits"
    assert given.one(wait, new, epoch)["waits"]
    waiting = given.attempt(new)
    assert (waiting["status"], waiting["process_count"], waiting["error_code"]) == (
        "queued",
        0,
        "slot_awaited",
    )
    assert given.deadline(new)["sweep_at"] is not None
    begin(given, removing["id"])
    given.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", removing["id"])
    given.enroll(new)
    assert given.attempt(new)["status"] == "ready"


def test_an_attempt_does_not_wait_where_no_voice_can_be_removed(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, None)
    epoch = given.claim(attempt)["lease_epoch"]
    wait = "select voice_clone.wait_for_slot(%s, %s, null) as waits"
    assert not given.one(wait, attempt, epoch)["waits"]
    assert given.attempt(attempt)["status"] == "processing"


def test_sessions_survive_their_reflection(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    session = given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
    assert given.truth("select * from public.voice_sessions where id = %s", session["id"]) == session
