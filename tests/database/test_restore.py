"""The voice that worked comes back where the newer one failed, unless it was taken away."""

import pytest

from tests.database.moves import (
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
from tests.world import Row, World


def test_the_voice_before_the_failed_one_comes_back(world: World) -> None:
    user, reflection, kept, newer = superseded(world)
    shown = world.mirror(reflection)
    assert (shown["attemptId"], shown["cloneStatus"]) == (str(newer), "failed")
    before = world.attempt(kept)
    lose(world)
    answer = restore(world, reflection, user)
    assert (answer["id"], answer["status"], answer["cancel_reason"]) == (kept, "ready", None)
    assert answer["provider_voice_id"] == before["provider_voice_id"]
    mirror = world.mirror(reflection)
    assert (mirror["attemptId"], mirror["runtimeStatus"], mirror["previewRequired"]) == (
        str(kept), "synced", False,
    )  # fmt: skip
    assert mirror["version"] > shown["version"], "above every version that was shown"
    gate = world.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate == {"launchable": True, "blockers": []}, "it was synced and heard before"
    assert (ids(world, "voice_runtime_sync"), ids(world, "voice_preview")) == ([], [])
    failed = world.attempt(newer)
    assert (failed["status"], failed["cancel_reason"], failed["is_active"]) == (
        "cancelled", "restored", False,
    )  # fmt: skip
    assert events(world, kept)[-2:] == ["cancelled", "restored"]
    for each in (kept, newer):
        assert world.truth("select * from voice_clone.replay(%s)", each) == world.attempt(each)
    with refused("VC007", "latest_not_failed"):
        restore(world, reflection, user)


def test_a_voice_is_superseded_and_restored_as_often_as_it_takes(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    for _ in range(3):
        assert restore(world, reflection, user)["id"] == kept
        fail(world, world.queued(user, reflection))
    assert restore(world, reflection, user)["id"] == kept


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_the_voice_comes_back_where_the_newer_one_cannot_be_launched(world: World, step: str) -> None:
    user = world.user()
    reflection = world.reflection(user)
    kept = world.launchable(user, reflection)
    newer = world.queued(user, reflection)
    world.enroll(newer)
    with refused("VC007", "latest_not_failed"):
        restore(world, reflection, user)
    fail_step(world, newer, step)
    assert restore(world, reflection, user)["id"] == kept
    assert world.attempt(newer)["cancel_reason"] == "restored"


def test_the_voice_comes_back_after_the_failed_one_was_reset(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    reset(world, reflection, user)
    assert restore(world, reflection, user)["id"] == kept


def test_what_its_owner_took_away_stays_away(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    world.launchable(user, reflection)
    reset(world, reflection, user)
    with refused("VC007", "latest_not_failed"):
        restore(world, reflection, user)
    fail(world, world.queued(user, reflection))
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)


def test_a_voice_that_was_never_ready_does_not_come_back(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)
    world.queued(user, reflection)
    fail(world, world.queued(user, reflection))
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)


def test_a_deleted_voice_does_not_come_back(world: World) -> None:
    user, reflection, kept, newer = superseded(world)
    world.one("select voice_clone.delete_voice(%s, %s)", world.attempt(kept)["voice_id"], user)
    before = world.attempt(newer)
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)
    assert world.attempt(newer) == before


def test_a_voice_whose_consent_was_withdrawn_does_not_come_back(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    revoke(world, kept, user)
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)
    world.superuser.execute("update public.voices set deleted_at = null where attempt_id = %s", (kept,))
    with refused("VC007", "nothing_to_restore"):
        restore(world, reflection, user)  # nor by whoever brings the voice's row back


@pytest.mark.parametrize("step", ["runtime", "preview"])
def test_what_was_midway_starts_again_and_its_worker_is_too_late(world: World, step: str) -> None:
    user = world.user()
    reflection = world.reflection(user)
    kept = world.queued(user, reflection)
    world.enroll(kept)
    epoch = world.step(kept, "runtime")
    if step == "preview":
        world.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", kept, epoch
        )
        epoch = world.step(kept, "preview")
    fail(world, world.queued(user, reflection))
    lose(world)
    answer = restore(world, reflection, user)
    assert answer[f"{step}_status"] == ("pending" if step == "runtime" else "required")
    assert ids(world, "voice_runtime_sync" if step == "runtime" else "voice_preview") == [str(kept)]
    late = (
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)"
        if step == "runtime"
        else "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p', null, null, 0, null)"
    )
    with refused("VC002"):
        world.one(late, kept, epoch)
    world.one(late, kept, world.step(kept, step))


def test_a_voice_that_is_being_deleted_does_not_come_back(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    voice = world.attempt(kept)["voice_id"]
    with meanwhile(world, lambda: restore(world, reflection, user)) as second:
        world.superuser.execute("select voice_clone.delete_voice(%s, %s)", (voice, user))
    with refused("VC007", "nothing_to_restore"):
        second[0].result(10)


def test_a_voice_whose_consent_is_being_withdrawn_does_not_come_back(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    with meanwhile(world, lambda: restore(world, reflection, user)) as second:
        world.superuser.execute(
            "select voice_clone.revoke_consent(s.consent_id, s.user_id) from public.voice_samples s"
            " where s.id = %s",
            (world.attempt(kept)["sample_id"],),
        )
    with refused("VC007", "nothing_to_restore"):
        second[0].result(10)


def test_a_withdrawal_that_meets_a_restore_takes_the_voice_away(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    consent = world.truth(
        "select consent_id from public.voice_samples where id = %s", world.attempt(kept)["sample_id"]
    )["consent_id"]
    withdrawal = "select * from voice_clone.revoke_consent(%s, %s)"
    with meanwhile(world, lambda: world.one(withdrawal, consent, user)) as second:
        world.superuser.execute("select voice_clone.restore_attempt(%s, %s)", (reflection, user))
    assert second[0].result(10)["revokes"] == consent
    assert (world.attempt(kept)["is_active"], world.attempt(kept)["cancel_reason"]) == (
        False, "consent_revoked",
    )  # fmt: skip


def test_a_deletion_that_meets_a_restore_takes_the_voice_away(world: World) -> None:
    user, reflection, kept, _ = superseded(world)
    deletion = "select voice_clone.delete_voice(%s, %s) as deleted"
    voice = world.attempt(kept)["voice_id"]
    with meanwhile(world, lambda: world.one(deletion, voice, user)) as second:
        world.superuser.execute("select voice_clone.restore_attempt(%s, %s)", (reflection, user))
    assert second[0].result(10)["deleted"]
    assert (world.attempt(kept)["is_active"], world.attempt(kept)["cancel_reason"]) == (
        False, "voice_deleted",
    )  # fmt: skip


def test_an_upload_under_a_consent_that_is_being_withdrawn_is_not_opened(world: World) -> None:
    user = world.user()
    consent = world.consent(user)

    def open_upload() -> Row:
        return {"attempt": world.open(user, None, consent)}

    with meanwhile(world, open_upload) as second:
        world.superuser.execute("select voice_clone.revoke_consent(%s, %s)", (consent, user))
    with refused("VC003"):
        second[0].result(10)


def test_a_new_sample_that_is_being_queued_is_not_restored_over(world: World) -> None:
    user, reflection, _, _ = superseded(world)
    newest = world.open(user, reflection)
    with meanwhile(world, lambda: restore(world, reflection, user)) as second:
        world.superuser.execute(
            "select voice_clone.queue_attempt"
            "(%s, %s, 'Ada', 'en', 'hello', 'audio/wav', 1000, '{}'::jsonb, 'p.wav', 2000, 0)",
            (newest, user),
        )
    with refused("VC007", "latest_not_failed"):
        second[0].result(10)
    assert world.attempt(newest)["is_active"]


def test_the_edge_is_for_kept_voices_alone(world: World) -> None:
    user, reflection, kept, newer = superseded(world)
    activate = "update public.voice_clone_attempts set status = 'ready', is_active = true where id = %s"
    with refused("23505"):  # at most one
        world.superuser.execute(activate, (kept,))
    reset(world, reflection, user)
    with refused("VC001"):
        world.superuser.execute(
            "update public.voice_clone_attempts set status = 'ready' where id = %s", (kept,)
        )
    revoke(world, kept, user)
    with refused("VC001"):
        world.superuser.execute(activate, (kept,))
    with refused("VC001"):
        world.superuser.execute(activate, (newer,))
