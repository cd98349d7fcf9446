"""Voices that their provider does not have any more."""

from uuid import UUID, uuid4

import pytest

from tests.database.situations import custom_voice, events, fail, refused, restore, retry
from tests.fixture import Fixture, Row

LOSE = "select voice_clone.lose_voice('local', '', '{}', %s) as lost"


def lose(given: Fixture, attempt: UUID) -> int:
    return given.one(LOSE, given.attempt(attempt)["provider_voice_id"])["lost"]


def gate(given: Fixture, reflection: UUID, user: UUID) -> list[str]:
    return given.one("select blockers from voice_clone.launch_gate(%s, %s)", reflection, user)["blockers"]


def voice_of(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from public.voices where attempt_id = %s", attempt)


def speech(given: Fixture, user: UUID, sample: UUID) -> Row:
    return given.one(
        "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')",
        uuid4(), user, sample,
    )  # fmt: skip


def test_a_lost_voice_closes_the_gate_and_says_so_in_the_mirror(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    assert gate(given, reflection, user) == []
    given.superuser.execute("select pgmq.purge_queue('voice_mirror')")
    assert lose(given, attempt) == 1
    assert gate(given, reflection, user) == ["clone_failed", "voice_lost"]
    assert len(given.messages("voice_mirror")) == 1
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["voiceId"], mirror["previewRequired"]) == ("failed", None, True)
    assert mirror["error"]["code"] == "voice_lost"
    with refused("VC005"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    assert events(given, attempt)[-3:] == ["voice_lost", "runtime_lost", "preview_lost"]
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)


def test_the_worker_of_a_voice_that_is_lost_loses_its_lease(given: Fixture) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    given.enroll(attempt)
    epoch = given.step(attempt, "runtime")
    lose(given, attempt)
    with refused("VC002"):
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", attempt, epoch
        )


def test_a_lost_voice_is_made_again_by_a_retry_under_its_id(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    before = voice_of(given, attempt)
    lose(given, attempt)
    retry(given, reflection, user)
    assert voice_of(given, attempt)["lost_at"] is not None, "until it is made"
    given.enroll(attempt)
    after = voice_of(given, attempt)
    assert (after["id"], after["lost_at"]) == (before["id"], None)
    assert after["provider_voice_id"] == given.attempt(attempt)["provider_voice_id"]
    assert after["provider_voice_id"] != before["provider_voice_id"]
    assert gate(given, reflection, user) == ["runtime_pending", "preview_required"]


def test_a_lost_voice_whose_sample_is_gone_is_not_retried(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    lose(given, attempt)
    given.superuser.execute(
        "update public.voice_samples set status = 'removed', removed_at = now() where id = %s",
        (given.attempt(attempt)["sample_id"],),
    )
    with refused("VC007", "sample_missing"):
        retry(given, reflection, user)


def test_a_lost_voice_is_deleted_like_any_other(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    lose(given, attempt)
    voice = given.attempt(attempt)["voice_id"]
    assert given.one("select voice_clone.delete_voice(%s, %s) as deleted", voice, user)["deleted"]
    assert given.attempt(attempt)["status"] == "cancelled"
    assert given.truth("select voice_clone.release_deleted_voices(10, '0') as count")["count"] == 0


def test_a_superseded_voice_that_is_lost_is_not_restored(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    kept = given.launchable(user, reflection)
    fail(given, given.queued(user, reflection))
    assert lose(given, kept) == 1
    assert given.attempt(kept)["status"] == "cancelled"
    with refused("VC007", "nothing_to_restore"):
        restore(given, reflection, user)


def test_every_use_of_a_lost_voice_is_lost(given: Fixture) -> None:
    users = [given.user() for _ in range(2)]
    attempts = [custom_voice(given, user, given.reflection(user)) for user in users]
    assert lose(given, attempts[0]) == 2
    assert {given.attempt(each)["error_code"] for each in attempts} == {"voice_lost"}
    assert {given.attempt(each)["provider_voice_id"] for each in attempts} == {"stock-1"}


def test_a_use_that_is_retried_is_ready_where_its_provider_has_the_voice_again(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = custom_voice(given, user, reflection)
    lose(given, attempt)
    retry(given, reflection, user)
    given.one(
        "select * from voice_clone.attach_custom_voice(%s, %s, null, null, false)",
        attempt, given.claim(attempt)["lease_epoch"],
    )  # fmt: skip
    assert given.attempt(attempt)["status"] == "ready"
    assert voice_of(given, attempt)["lost_at"] is None


def test_the_open_speech_jobs_of_a_lost_voice_fail_and_the_next_makes_it_again(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    sample = given.attempt(attempt)["sample_id"]
    job = speech(given, user, sample)
    assert job["attempt_id"] == attempt
    lose(given, attempt)
    job = given.truth("select * from public.speech_jobs where id = %s", job["id"])
    assert (job["status"], job["error_code"]) == ("failed", "voice_lost")
    again = speech(given, user, sample)
    assert again["attempt_id"] != attempt
    assert given.attempt(again["attempt_id"])["status"] == "queued"


def test_a_voice_of_another_account_or_region_is_not_lost(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    voice = given.attempt(attempt)["provider_voice_id"]
    given.superuser.execute(
        "update public.voices set provider_account = 'here' where attempt_id = %s", (attempt,)
    )
    for place in (("qwen", "", ["here"]), ("local", "eu", ["here"]), ("local", "", ["elsewhere"])):
        assert given.one("select voice_clone.lose_voice(%s, %s, %s, %s) as lost", *place, voice)["lost"] == 0
    assert given.attempt(attempt)["status"] == "ready"


@pytest.mark.parametrize("provider_voice_id", ["", "unknown"])
def test_a_voice_that_nobody_has_is_nobody_s_loss(given: Fixture, provider_voice_id: str) -> None:
    assert given.one(LOSE, provider_voice_id)["lost"] == 0
