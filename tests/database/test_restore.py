"""The previous voice can be restored after a newer one failed, unless it was reset or revoked."""

import pytest

from tests.database.situations import (
    events,
    fail,
    fail_step,
    ids,
    lose,
    meanwhile,
    refused,
    reset,
    restore,
    revoke,
    superseded,
)
from tests.database.test_removal import gate
from tests.database.test_retention import end
from tests.fixture import Fixture, Row


def test_the_voice_before_the_failed_one_comes_back(given: Fixture) -> None:
    user, reflection, kept, newer = superseded(given)
    shown = given.mirror(reflection)
    assert (shown["attemptId"], shown["cloneStatus"]) == (str(newer), "failed")
    before = given.attempt(kept)
    lose(given)
    answer = restore(given, reflection, user)
    assert (answer["id"], answer["status"], answer["cancel_reason"]) == (kept, "ready", None)
    assert answer["provider_voice_id"] == before["provider_voice_id"]
    mirror = given.mirror(reflection)
    assert (mirror["attemptId"], mirror["runtimeStatus"], mirror["previewRequired"]) == (
        str(kept), "synced", False,
    )  # fmt: skip
    assert mirror["version"] > shown["version"], "above every version that was shown"
    gate = given.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate == {"launchable": True, "blockers": []}, "it was synced and heard before"
    assert (ids(given, "voice_runtime_sync"), ids(given, "voice_preview")) == ([], [])
    failed = given.attempt(newer)
    assert (failed["status"], failed["cancel_reason"], failed["is_active"]) == (
        "cancelled", "restored", False,
    )  # fmt: skip
    assert events(given, kept)[-2:] == ["cancelled", "restored"]
    for each in (kept, newer):
        assert given.truth("select * from voice_clone.replay(%s)", each) == given.attempt(each)
    with refused("VC007", "latest_not_failed"):
        restore(given, reflection, user)


def test_a_voice_is_restored_when_its_sample_has_reached_the_end_of_its_retention(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    kept = given.launchable(user, reflection)
    assert end(given, "sample")["expired_samples"] == 1
    newer = given.open(user, reflection)
    given.queue(newer, user)
    fail(given, newer)
    back = restore(given, reflection, user)
    assert (back["id"], back["status"], back["is_active"]) == (kept, "ready", True)
    assert gate(given, reflection, user)["launchable"]


def test_a_voice_is_superseded_and_restored_as_often_as_it_takes(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    for _ in range(3):
        assert restore(given, reflection, user)["id"] == kept
        fail(given, given.queued(user, reflection))
    assert restore(given, reflection, user)["id"] == kept


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_the_voice_comes_back_where_the_newer_one_cannot_be_launched(given: Fixture, step: str) -> None:
    user = given.user()
    reflection = given.reflection(user)
    kept = given.launchable(user, reflection)
    newer = given.queued(user, reflection)
    given.enroll(newer)
    with refused("VC007", "latest_not_failed"):
        restore(given, reflection, user)
    fail_step(given, newer, step)
    assert restore(given, reflection, user)["id"] == kept
    assert given.attempt(newer)["cancel_reason"] == "restored"


def test_the_voice_comes_back_after_the_failed_one_was_reset(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    reset(given, reflection, user)
    assert restore(given, reflection, user)["id"] == kept


def test_what_its_owner_took_away_stays_away(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    reset(given, reflection, user)
    with refused("VC007", "latest_not_failed"):
        restore(given, reflection, user)
    fail(given, given.queued(user, reflection))
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)


def test_a_voice_that_was_never_ready_does_not_come_back(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)
    given.queued(user, reflection)
    fail(given, given.queued(user, reflection))
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)


def test_a_deleted_voice_does_not_come_back(given: Fixture) -> None:
    user, reflection, kept, newer = superseded(given)
    given.one("select voice_clone.delete_voice(%s, %s)", given.attempt(kept)["voice_id"], user)
    before = given.attempt(newer)
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)
    assert given.attempt(newer) == before


def test_a_voice_whose_consent_was_revoked_is_not_restored(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    revoke(given, kept, user)
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)
    given.superuser.execute(
        "update public.voices set deleted_at = null, removal_requested_at = null where attempt_id = %s",
        (kept,),
    )
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)  # nor after the row of the voice is undeleted


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_what_was_midway_starts_again_and_its_worker_is_too_late(given: Fixture, step: str) -> None:
    user = given.user()
    reflection = given.reflection(user)
    kept = given.queued(user, reflection)
    given.enroll(kept)
    epoch = given.step(kept, "runtime")
    if step == "preview":
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", kept, epoch
        )
        epoch = given.step(kept, "preview")
    fail(given, given.queued(user, reflection))
    lose(given)
    answer = restore(given, reflection, user)
    assert answer[f"{step}_status"] == ("pending" if step == "runtime" else "required")
    assert ids(given, "voice_runtime_sync" if step == "runtime" else "voice_preview") == [str(kept)]
    late = (
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)"
        if step == "runtime"
        else "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p', null, null, 0, null)"
    )
    with refused("VC002"):
        given.one(late, kept, epoch)
    given.one(late, kept, given.step(kept, step))


def test_a_voice_that_is_being_deleted_does_not_come_back(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    voice = given.attempt(kept)["voice_id"]
    with meanwhile(given, lambda: restore(given, reflection, user)) as second:
        given.superuser.execute("select voice_clone.delete_voice(%s, %s)", (voice, user))
    with refused("VC007", "nothing_to_restore"):
        second[0].result(10)


def test_a_voice_whose_consent_is_being_revoked_is_not_restored(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    with meanwhile(given, lambda: restore(given, reflection, user)) as second:
        given.superuser.execute(
            "select voice_clone.revoke_consent(s.consent_id, s.user_id) from public.voice_samples s"
            " where s.id = %s",
            (given.attempt(kept)["sample_id"],),
        )
    with refused("VC007", "nothing_to_restore"):
        second[0].result(10)


def test_a_revocation_during_a_restore_cancels_the_voice(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    consent = given.truth(
        "select consent_id from public.voice_samples where id = %s", given.attempt(kept)["sample_id"]
    )["consent_id"]
    withdrawal = "select * from voice_clone.revoke_consent(%s, %s)"
    with meanwhile(given, lambda: given.one(withdrawal, consent, user)) as second:
        given.superuser.execute("select voice_clone.restore_attempt(%s, %s)", (reflection, user))
    assert second[0].result(10)["revokes"] == consent
    assert (given.attempt(kept)["is_active"], given.attempt(kept)["cancel_reason"]) == (
        False, "consent_revoked",
    )  # fmt: skip


def test_a_deletion_that_meets_a_restore_takes_the_voice_away(given: Fixture) -> None:
    user, reflection, kept, _ = superseded(given)
    deletion = "select voice_clone.delete_voice(%s, %s) as deleted"
    voice = given.attempt(kept)["voice_id"]
    with meanwhile(given, lambda: given.one(deletion, voice, user)) as second:
        given.superuser.execute("select voice_clone.restore_attempt(%s, %s)", (reflection, user))
    assert second[0].result(10)["deleted"]
    assert (given.attempt(kept)["is_active"], given.attempt(kept)["cancel_reason"]) == (
        False, "voice_deleted",
    )  # fmt: skip


def test_an_upload_under_a_consent_that_is_being_revoked_is_not_opened(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)

    def open_upload() -> Row:
        return {"attempt": given.open(user, None, consent)}

    with meanwhile(given, open_upload) as second:
        given.superuser.execute("select voice_clone.revoke_consent(%s, %s)", (consent, user))
    with refused("VC003"):
        second[0].result(10)


def test_a_new_sample_that_is_being_queued_is_not_restored_over(given: Fixture) -> None:
    user, reflection, _, _ = superseded(given)
    newest = given.open(user, reflection)
    given.prepare(newest, user)
    with meanwhile(given, lambda: restore(given, reflection, user)) as second:
        given.superuser.execute(
            "select voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)",
            (newest, user),
        )
    with refused("VC007", "latest_not_failed"):
        second[0].result(10)
    assert given.attempt(newest)["is_active"]


def test_the_edge_is_for_kept_voices_alone(given: Fixture) -> None:
    user, reflection, kept, newer = superseded(given)
    activate = "update public.voice_clone_attempts set status = 'ready', is_active = true where id = %s"
    with refused("23505"):  # at most one
        given.superuser.execute(activate, (kept,))
    reset(given, reflection, user)
    with refused("VC001"):
        given.superuser.execute(
            "update public.voice_clone_attempts set status = 'ready' where id = %s", (kept,)
        )
    revoke(given, kept, user)
    with refused("VC001"):
        given.superuser.execute(activate, (kept,))
    with refused("VC001"):
        given.superuser.execute(activate, (newer,))
