"""A provider's slots: a place is taken before the upload, by one attempt alone, and given up again."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.world import World


def limit(world: World, slots: int | None, provider: str = "local", region: str = "") -> None:
    world.one("select voice_clone.set_slots(%s, %s, %s)", provider, region, slots)


def taken(world: World) -> int:
    return world.truth("select voice_clone.slots_taken('local', '', 1000) as count")["count"]


def refusal(world: World, user: UUID) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as caught:
        world.open(user, None)
    assert caught.value.sqlstate == "VC007"
    return caught.value.diag


def said(diagnostic: psycopg.errors.Diagnostic) -> dict[str, Any]:
    assert diagnostic.message_detail is not None
    return json.loads(diagnostic.message_detail)


def fail(world: World, attempt: UUID) -> int:
    epoch = world.claim(attempt)["lease_epoch"]
    world.one("select * from voice_clone.fail_attempt(%s, %s, 'bad', 'Bad.', null, null)", attempt, epoch)
    return epoch


def retry(world: World, attempt: UUID) -> None:
    world.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued', error_code = null,"
        " error_message = null where id = %s",
        (attempt,),
    )


def test_without_a_limit_nothing_is_counted_or_locked(world: World) -> None:
    user = world.user()
    consent = world.consent(user)
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    with world.service.transaction():
        world.open(user, None, consent)
        own = world.truth(locks)["count"]
    limit(world, 5)
    with world.service.transaction():
        world.open(user, None, consent)
        assert world.truth(locks)["count"] == own + 1


def test_an_opened_upload_takes_a_place_and_the_next_is_refused(world: World) -> None:
    limit(world, 1)
    user = world.user()
    world.open(user, None)
    diagnostic = refusal(world, user)
    detail = said(diagnostic)
    assert (detail["code"], detail["provider"], detail["slots"]) == ("provider_full", "local", 1)
    assert "expires" in (diagnostic.message_hint or "")
    assert detail["free_at"]
    assert world.truth("select count(*) from public.voice_samples")["count"] == 1, (
        "nothing is left of the refused"
    )


def test_another_provider_or_region_has_slots_of_its_own(world: World) -> None:
    limit(world, 0, "local", "elsewhere")
    limit(world, 0, "qwen")
    world.open(world.user(), None)


def test_a_limit_may_be_raised_and_lifted(world: World) -> None:
    limit(world, 0)
    user = world.user()
    refusal(world, user)
    limit(world, 1)
    world.open(user, None)
    refusal(world, user)
    limit(world, None)
    world.open(user, None)


def test_from_upload_to_voice_it_is_one_place(world: World) -> None:
    user = world.user()
    attempt = world.open(user, None)
    counts = [taken(world)]
    world.queue(attempt, user)
    counts.append(taken(world))
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    counts.append(taken(world))
    world.attach(attempt, epoch, enrollment)
    counts.append(taken(world))
    assert counts == [1, 1, 1, 1]


def test_a_voice_keeps_its_place_when_its_owner_deletes_it(world: World) -> None:
    """The delete is soft: the provider has it still."""
    user = world.user()
    attempt = world.queued(user, None)
    world.enroll(attempt)
    world.one("select voice_clone.delete_voice(%s, %s)", world.attempt(attempt)["voice_id"], user)
    assert taken(world) == 1
    limit(world, 1)
    diagnostic = refusal(world, user)
    assert "free_at" not in said(diagnostic)
    assert "removed there" in (diagnostic.message_hint or "")


def test_an_orphan_keeps_its_place_until_it_is_removed(world: World) -> None:
    limit(world, 1)
    user = world.user()
    consent = world.consent(user)
    attempt = world.open(user, None, consent)
    world.queue(attempt, user)
    enrollment = world.intend(attempt, world.claim(attempt)["lease_epoch"])
    world.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    refusal(world, user)
    world.one("select voice_clone.end_cleanup(%s, 'orphaned', 'voice', 'm', null)", enrollment)
    assert "orphan" in (refusal(world, user).message_hint or "")
    world.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'orphan_grace'")
    assert world.one("select task from voice_clone.begin_cleanup(%s)", enrollment)["task"] == "remove"
    refusal(world, user)
    world.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", enrollment)
    world.open(user, None)


def test_an_attempt_that_comes_to_nothing_gives_its_place_up(world: World) -> None:
    limit(world, 1)
    user = world.user()
    attempt = world.queued(user, None)
    refusal(world, user)
    fail(world, attempt)
    world.open(user, None)


def test_a_failed_attempt_takes_a_place_again_or_stays_failed(world: World) -> None:
    limit(world, 1)
    user = world.user()
    attempt = world.queued(user, None)
    fail(world, attempt)
    retry(world, attempt)
    fail(world, attempt)
    world.open(user, None)
    with pytest.raises(psycopg.Error) as caught:
        retry(world, attempt)
    assert caught.value.sqlstate == "VC007"
    assert world.attempt(attempt)["status"] == "failed"


def test_a_failed_attempt_whose_outcome_is_open_has_kept_its_place(world: World) -> None:
    limit(world, 1)
    user = world.user()
    attempt = world.queued(user, None)
    epoch = world.claim(attempt)["lease_epoch"]
    world.intend(attempt, epoch)
    world.one("select * from voice_clone.fail_attempt(%s, %s, 'bad', 'Bad.', null, null)", attempt, epoch)
    refusal(world, user)
    retry(world, attempt)


def test_a_sample_that_is_cloned_again_takes_a_place(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    sample = world.attempt(world.queued(user, reflection))["sample_id"]
    limit(world, 1)
    with pytest.raises(psycopg.Error) as caught:
        world.one(
            "select * from voice_clone.clone_sample(%s, %s, %s, %s, 'local', '', true, 'Ada')",
            uuid4(), user, sample, reflection,
        )  # fmt: skip
    assert caught.value.sqlstate == "VC007"
    assert world.truth("select count(*) from public.voice_clone_attempts")["count"] == 1


def test_opens_at_once_take_as_many_places_as_there_are(world: World) -> None:
    limit(world, 5)
    users = [world.user() for _ in range(20)]
    consents = [world.consent(user) for user in users]

    def open_one(user: UUID, consent: UUID) -> str:
        with psycopg.connect(world.database.service, autocommit=True) as connection:
            attempt = uuid4()
            try:
                connection.execute(
                    "select voice_clone.open_attempt"
                    "(%s, %s, %s, null, 'local', '', %s, 'audio/wav', 9, true)",
                    (attempt, user, consent, f"{attempt}.wav"),
                )
            except psycopg.Error as error:
                return str(error.sqlstate)
            return "opened"

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(open_one, users, consents))
    assert sorted(outcomes) == ["VC007"] * 15 + ["opened"] * 5
    assert taken(world) == 5
