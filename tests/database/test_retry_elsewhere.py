"""The owner tries the same consented sample at another provider; nobody else does."""

from uuid import UUID, uuid4

import pytest

from tests.database.moves import fail, meanwhile, refused, retry, revoke
from tests.world import Row, World


def elsewhere(world: World, reflection: UUID, user: UUID, failed: UUID | None, provider: str = "qwen") -> Row:
    return world.one(
        "select * from voice_clone.retry_elsewhere(%s, %s, %s, %s, %s, '', true)",
        uuid4(), reflection, user, failed, provider,
    )  # fmt: skip


def failed(world: World) -> tuple[UUID, UUID, UUID]:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    return user, reflection, attempt


def test_the_same_sample_is_cloned_at_another_provider(world: World) -> None:
    user, reflection, attempt = failed(world)
    before = world.mirror(reflection)
    answer = elsewhere(world, reflection, user, attempt)
    assert (answer["provider"], answer["status"], answer["source"]) == ("qwen", "queued", "sample")
    old = world.attempt(attempt)
    for kept in ("sample_id", "name", "language", "reflection_id"):
        assert answer[kept] == old[kept], kept
    assert (old["status"], old["cancel_reason"]) == ("cancelled", "superseded")
    mirror = world.mirror(reflection)
    assert (mirror["provider"], mirror["cloneStatus"], mirror["error"]) == ("qwen", "queued", None)
    assert mirror["version"] > before["version"]
    assert world.claim(answer["id"])["outcome"] == "claimed"
    assert world.one("select * from voice_clone.claimed_work(%s)", answer["id"])["transcript"] == "hello"
    assert world.truth("select * from voice_clone.replay(%s)", answer["id"]) == world.attempt(answer["id"])


def test_another_provider_is_no_new_budget(world: World) -> None:
    user, reflection, attempt = failed(world)
    retry(world, reflection, user)
    fail(world, attempt)
    for count in range(2, 6):
        provider = "qwen" if count % 2 else "elevenlabs"
        attempt = elsewhere(world, reflection, user, attempt, provider)["id"]
        assert world.attempt(attempt)["user_retry_count"] == count
        fail(world, attempt)
    for again in (
        lambda: elsewhere(world, reflection, user, attempt),
        lambda: retry(world, reflection, user),
    ):
        with refused("VC007", "retry_budget_used"):
            again()


def test_the_same_provider_is_the_same_attempt(world: World) -> None:
    user, reflection, attempt = failed(world)
    assert elsewhere(world, reflection, user, attempt, "local")["id"] == attempt
    assert (
        world.truth("select count(*) from public.voice_clone_attempts where reflection_id = %s", reflection)[
            "count"
        ]
        == 1
    )


def test_where_nothing_failed_no_other_provider_is_tried(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    with refused("VC007", "nothing_to_retry"):
        elsewhere(world, reflection, user, None)
    attempt = world.queued(user, reflection)
    world.claim(attempt)
    before = world.attempt(attempt)
    with refused("VC007", "nothing_to_retry"):
        elsewhere(world, reflection, user, attempt)
    assert world.attempt(attempt) == before
    with refused("VC004"):
        elsewhere(world, reflection, world.user(), attempt)


def test_an_attempt_that_took_its_place_is_left_alone(world: World) -> None:
    user, reflection, attempt = failed(world)
    newer = world.queued(user, reflection)
    fail(world, newer)
    with refused("VC007", "attempt_superseded"):
        elsewhere(world, reflection, user, attempt)
    assert world.attempt(newer)["is_active"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_sample_whose_consent_is_withdrawn_goes_nowhere(world: World, when: str) -> None:
    user, reflection, attempt = failed(world)
    if when == "before":
        revoke(world, attempt, user)
        with refused("VC007", "nothing_to_retry"):
            elsewhere(world, reflection, user, attempt)
    else:
        with meanwhile(world, lambda: elsewhere(world, reflection, user, attempt)) as second:
            world.superuser.execute(
                "select voice_clone.revoke_consent(s.consent_id, s.user_id) from public.voice_samples s"
                " where s.id = %s",
                (world.attempt(attempt)["sample_id"],),
            )
        with refused("VC007", "nothing_to_retry"):
            second[0].result(10)
    assert (
        world.truth("select count(*) from public.voice_clone_attempts where reflection_id = %s", reflection)[
            "count"
        ]
        == 1
    )
    assert world.attempt(attempt)["cancel_reason"] == "consent_revoked"


def test_a_withdrawal_that_meets_the_retry_stops_it(world: World) -> None:
    user, reflection, attempt = failed(world)
    newer = uuid4()
    consent = world.truth(
        "select consent_id from public.voice_samples where id = %s", world.attempt(attempt)["sample_id"]
    )["consent_id"]
    withdrawal = "select * from voice_clone.revoke_consent(%s, %s)"
    with meanwhile(world, lambda: world.one(withdrawal, consent, user)) as second:
        world.superuser.execute(
            "select voice_clone.retry_elsewhere(%s, %s, %s, %s, 'qwen', '', true)",
            (newer, reflection, user, attempt),
        )
    assert second[0].result(10)["revokes"] == consent
    assert (world.attempt(newer)["status"], world.attempt(newer)["cancel_reason"]) == (
        "cancelled", "consent_revoked",
    )  # fmt: skip


def test_a_voice_without_a_sample_has_nothing_to_take_elsewhere(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    custom = world.one(
        "select * from voice_clone.use_custom_voice"
        "(%s, %s, %s, 'local', '', 'stock', null, 'm', 'Stock', 'en', true)",
        uuid4(), user, reflection,
    )["id"]  # fmt: skip
    fail(world, custom, "voice_not_found")
    with refused("VC007", "sample_missing"):
        elsewhere(world, reflection, user, custom)
