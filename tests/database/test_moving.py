"""A voice is moved: another one of the same sample, at another provider. A voice that works keeps working."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.database.situations import (
    custom_voice,
    fail,
    fail_step,
    meanwhile,
    refused,
    retry,
    revoke,
    superseded,
)
from tests.fixture import Fixture, Row


def voice_of(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from public.voices where attempt_id = %s", attempt)


def move(
    given: Fixture,
    attempt: UUID,
    user: UUID,
    provider: str = "modal",
    *,
    switch: bool = False,
    per_day: int | None = None,
    operator: bool = False,
) -> Row:
    return given.one(
        "select * from voice_clone.move_voice(%s, %s, %s, %s, '', '{here}', %s, true, %s, %s)",
        uuid4(), voice_of(given, attempt)["id"], user, provider, switch, per_day, operator,
    )  # fmt: skip


def standing(given: Fixture, attempt: UUID, provider: str = "modal") -> str:
    return given.truth(
        "select voice_clone.move_standing(v, %s, '', '{here}') as standing from public.voices v"
        " where v.attempt_id = %s", provider, attempt,
    )["standing"]  # fmt: skip


def launched(given: Fixture) -> tuple[UUID, UUID, UUID]:
    user = given.user()
    reflection = given.reflection(user)
    return user, reflection, given.launchable(user, reflection)


def library(given: Fixture) -> tuple[UUID, UUID]:
    user = given.user()
    attempt = given.queued(user, None)
    given.enroll(attempt)
    return user, attempt


def gate(given: Fixture, reflection: UUID, user: UUID) -> Row:
    return given.one("select * from voice_clone.launch_gate(%s, %s)", reflection, user)


def test_a_voice_of_the_library_is_made_again_of_the_same_sample(given: Fixture) -> None:
    user, attempt = library(given)
    old, before = given.attempt(attempt), voice_of(given, attempt)
    new = move(given, attempt, user)
    assert (new["provider"], new["status"], new["source"], new["reflection_id"]) == (
        "modal", "queued", "sample", None,
    )  # fmt: skip
    for kept in ("sample_id", "name", "language"):
        assert new[kept] == old[kept], kept
    assert new["moved_from"] == before["id"]
    assert voice_of(given, attempt) == {**before, "moved_to": new["voice_id"]}
    given.enroll(new["id"])
    made = voice_of(given, new["id"])
    assert (made["id"], made["name"], made["tts_provider"]) == (new["voice_id"], before["name"], "modal")
    assert given.truth("select * from voice_clone.replay(%s)", new["id"]) == given.attempt(new["id"])


def test_a_reflection_that_can_be_launched_keeps_its_voice(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    before, mirror = given.attempt(attempt), given.mirror(reflection)
    new = move(given, attempt, user)
    assert (new["reflection_id"], new["preview_status"]) == (None, "not_required")
    given.enroll(new["id"])
    assert given.attempt(attempt) == before
    assert given.mirror(reflection) == mirror
    assert gate(given, reflection, user)["launchable"]
    assert standing(given, attempt) == "ready_beside"
    with refused("VC007", "already_moved"):
        move(given, attempt, user)


def test_the_reflection_changes_over_to_the_voice_that_was_made_beside_it(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    made = move(given, attempt, user)
    given.enroll(made["id"])
    new = move(given, attempt, user, switch=True)
    assert (new["source"], new["reflection_id"], new["status"]) == ("custom_voice", reflection, "queued")
    assert new["provider_voice_id"] == voice_of(given, made["id"])["provider_voice_id"]
    assert new["sample_id"] == given.attempt(attempt)["sample_id"], "so that a revocation finds it"
    assert new["preview_status"] == "required"
    assert (given.attempt(attempt)["status"], given.attempt(attempt)["cancel_reason"]) == (
        "cancelled",
        "superseded",
    )
    assert not gate(given, reflection, user)["launchable"]
    assert voice_of(given, attempt)["moved_to"] == made["voice_id"]
    assert standing(given, attempt) == "already_moved"
    with refused("VC007", "already_moved"):
        move(given, attempt, user, switch=True)


def test_a_reflection_that_is_told_to_change_over_gets_the_new_attempt(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    new = move(given, attempt, user, switch=True)
    assert (new["reflection_id"], new["is_active"], new["preview_status"]) == (reflection, True, "required")
    assert given.attempt(attempt)["cancel_reason"] == "superseded"
    assert gate(given, reflection, user)["blockers"] == ["clone_queued"]


def test_a_reflection_that_cannot_be_launched_gets_the_new_attempt(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    fail_step(given, attempt, "runtime")
    new = move(given, attempt, user)
    assert (new["reflection_id"], new["is_active"]) == (reflection, True)
    assert given.attempt(attempt)["cancel_reason"] == "superseded"


def test_what_was_not_heard_is_not_launched(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    new = move(given, attempt, user, switch=True)["id"]
    given.enroll(new)
    assert gate(given, reflection, user)["blockers"] == ["runtime_pending", "preview_required"]
    given.one(
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
        new, given.step(new, "runtime"),
    )  # fmt: skip
    assert gate(given, reflection, user)["blockers"] == ["preview_required"]


def test_a_move_that_failed_can_be_repeated_and_keeps_the_reflection(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    first = move(given, attempt, user, switch=True)["id"]
    fail(given, first)
    second = move(given, attempt, user, "elsewhere")
    assert (second["reflection_id"], second["is_active"]) == (reflection, True)
    assert given.attempt(first)["status"] == "cancelled"
    assert voice_of(given, attempt)["moved_to"] == second["voice_id"]


def test_the_voice_that_worked_is_restored_where_a_move_failed(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    fail(given, move(given, attempt, user, switch=True)["id"])
    given.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)
    assert gate(given, reflection, user)["launchable"]


def test_a_voice_that_its_reflection_no_longer_has_is_moved_in_the_library(given: Fixture) -> None:
    user, reflection, older, newer = superseded(given)
    before = given.attempt(newer)
    assert move(given, older, user, switch=True)["reflection_id"] is None
    assert given.attempt(newer) == before
    assert given.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("fate", ["deleted", "given away"])
def test_a_voice_whose_reflection_is_gone_is_moved_in_the_library(given: Fixture, fate: str) -> None:
    user, reflection, attempt = launched(given)
    if fate == "deleted":
        given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
    else:
        give = "update public.reflections set user_id = %s where id = %s"
        given.superuser.execute(give, (given.user(), reflection))
    assert move(given, attempt, user, switch=True)["reflection_id"] is None


def test_one_move_of_a_voice_runs_at_a_time(given: Fixture) -> None:
    user, attempt = library(given)
    first = move(given, attempt, user)
    for status in ("queued", "processing"):
        assert given.attempt(first["id"])["status"] == status
        with refused("VC007", "move_in_progress"):
            move(given, attempt, user, "elsewhere")
        if status == "queued":
            given.claim(first["id"])


def test_two_moves_at_once_make_one_voice(given: Fixture) -> None:
    user, attempt = library(given)
    voice = voice_of(given, attempt)["id"]
    sql = "select * from voice_clone.move_voice(%s, %s, %s, 'modal', '', '{here}', false, true)"
    with meanwhile(given, lambda: given.one(sql, uuid4(), voice, user)) as second:
        given.superuser.execute(sql.encode(), (uuid4(), voice, user))
    with refused("VC007", "move_in_progress"):
        second[0].result(30)


def test_a_new_voice_that_is_deleted_leaves_the_old_one_movable(given: Fixture) -> None:
    user, attempt = library(given)
    new = move(given, attempt, user)
    given.enroll(new["id"])
    assert given.one("select voice_clone.delete_voice(%s, %s) as done", new["voice_id"], user)["done"]
    assert given.truth("select removed_at from public.voice_samples where id = %s", new["sample_id"]) == {
        "removed_at": None
    }, "the old voice has the sample"
    assert move(given, attempt, user)["status"] == "queued"


def test_the_sample_stays_for_the_new_voice_when_the_old_one_is_deleted(given: Fixture) -> None:
    user, attempt = library(given)
    new = move(given, attempt, user)
    given.enroll(new["id"])
    given.one("select voice_clone.delete_voice(%s, %s)", voice_of(given, attempt)["id"], user)
    assert given.truth("select removed_at from public.voice_samples where id = %s", new["sample_id"]) == {
        "removed_at": None
    }


def test_a_revocation_ends_the_old_voice_and_the_new_one(given: Fixture) -> None:
    user, attempt = library(given)
    new = move(given, attempt, user)["id"]
    given.enroll(new)
    revoke(given, attempt, user)
    for each in (attempt, new):
        assert voice_of(given, each)["deleted_at"] is not None


def test_a_custom_voice_without_a_sample_cannot_be_moved(given: Fixture) -> None:
    user = given.user()
    attempt = custom_voice(given, user, given.reflection(user))
    with refused("VC007", "voice_without_sample"):
        move(given, attempt, user)


def test_a_custom_use_of_an_own_voice_is_moved_with_its_sample(given: Fixture) -> None:
    user, original = library(given)
    attempt = custom_voice(
        given, user, given.reflection(user), voice_of(given, original)["provider_voice_id"]
    )
    new = move(given, attempt, user)
    assert new["sample_id"] == given.attempt(original)["sample_id"]
    assert (new["source"], new["provider_voice_id"]) == ("sample", None)


def test_a_voice_whose_sample_was_removed_cannot_be_moved(given: Fixture) -> None:
    user, attempt = library(given)
    sample = given.attempt(attempt)["sample_id"]
    update = "update public.voice_samples set status = 'removed', removed_at = now() where id = %s"
    given.superuser.execute(update, (sample,))
    assert standing(given, attempt) == "sample_missing"
    with refused("VC007", "sample_missing"):
        move(given, attempt, user)


def test_a_sample_that_goes_while_its_voice_is_about_to_be_moved_forbids_the_move(given: Fixture) -> None:
    """As if it went between the look at the voice and the lock of the sample."""
    user, attempt = library(given)
    given.replace("voice_clone.move_standing", "when s.status <> 'ready'", "when false")
    update = "update public.voice_samples set status = 'removed', removed_at = now() where id = %s"
    given.superuser.execute(update, (given.attempt(attempt)["sample_id"],))
    assert standing(given, attempt) == "movable"
    with refused("VC007", "sample_missing"):
        move(given, attempt, user)


def test_a_consent_that_does_not_cover_the_voice_any_more_forbids_the_move(given: Fixture) -> None:
    """The reflection that the consent was for is gone, so the consent covers nothing."""
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.open(user, reflection, given.consent(user, reflection))
    given.queue(attempt, user)
    given.enroll(attempt)
    assert standing(given, attempt) == "movable"
    given.superuser.execute("delete from public.reflections where id = %s", (reflection,))
    with refused("VC003"):
        move(given, attempt, user)


def test_a_consent_for_one_reflection_covers_the_voice_that_is_made_beside_it(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.consents[user] = given.consent(user, reflection)
    attempt = given.launchable(user, reflection)
    new = move(given, attempt, user)
    given.enroll(new["id"])
    assert move(given, attempt, user, switch=True)["reflection_id"] == reflection


@pytest.mark.parametrize("account", ["", "here"])
def test_a_voice_is_not_moved_to_where_it_is(given: Fixture, account: str) -> None:
    user, attempt = library(given)
    update = "update public.voices set provider_account = %s where attempt_id = %s"
    given.superuser.execute(update, (account, attempt))
    with refused("VC007", "already_there"):
        move(given, attempt, user, "local")


@pytest.mark.parametrize("column", ["provider_account", "provider_region"])
def test_a_voice_is_moved_to_another_account_or_region_of_its_provider(given: Fixture, column: str) -> None:
    user, attempt = library(given)
    update = f"update public.voices set {column} = 'elsewhere' where attempt_id = %s"  # noqa: S608 - our own text
    given.superuser.execute(update.encode(), (attempt,))
    assert move(given, attempt, user, "local")["provider"] == "local"


@pytest.mark.parametrize("whose", ["another's", "deleted", "unknown"])
def test_a_voice_that_is_not_the_callers_is_not_there(given: Fixture, whose: str) -> None:
    user, attempt = library(given)
    voice = uuid4() if whose == "unknown" else voice_of(given, attempt)["id"]
    if whose == "deleted":
        given.one("select voice_clone.delete_voice(%s, %s)", voice, user)
    caller = given.user() if whose == "another's" else user
    with refused("VC004"):
        given.one(
            "select * from voice_clone.move_voice(%s, %s, %s, 'modal', '', '{here}', false, true)",
            uuid4(), voice, caller,
        )  # fmt: skip


def test_another_is_told_nothing_of_a_voice(given: Fixture) -> None:
    """Nor that it is at the provider already."""
    _, attempt = library(given)
    with refused("VC004"):
        move(given, attempt, given.user(), "local")


def test_a_move_of_the_user_counts_towards_the_day_and_one_of_an_operator_does_not(given: Fixture) -> None:
    user, attempt = library(given)
    with refused("VC008", "too_many_attempts"):
        move(given, attempt, user, per_day=1)
    by_operator = move(given, attempt, user, operator=True)
    assert by_operator["source"] == "operator_move"
    fail(given, by_operator["id"])
    assert move(given, attempt, user, per_day=2)["source"] == "sample", "one attempt of the user's so far"


def test_an_operators_move_takes_a_place_among_the_users_unfinished_attempts(given: Fixture) -> None:
    user, attempt = library(given)
    for _ in range(20):
        given.queued(user, None)
    for operator in (False, True):
        with refused("VC008", "too_many_open_uploads"):
            move(given, attempt, user, operator=operator)


def test_a_move_takes_a_slot_of_the_new_provider(given: Fixture) -> None:
    user, attempt = library(given)
    given.one("select voice_clone.set_slots('modal', '', 0)")
    before = voice_of(given, attempt)
    with refused("VC007", "provider_full"):
        move(given, attempt, user)
    assert voice_of(given, attempt) == before


def test_a_refused_move_changes_nothing(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    before: list[Any] = [given.attempt(attempt), voice_of(given, attempt), given.mirror(reflection)]
    with refused("VC007", "already_there"):
        move(given, attempt, user, "local", switch=True)
    assert [given.attempt(attempt), voice_of(given, attempt), given.mirror(reflection)] == before


def test_a_failed_move_is_retried_at_the_new_provider(given: Fixture) -> None:
    user, reflection, attempt = launched(given)
    new = move(given, attempt, user, switch=True)["id"]
    fail(given, new)
    assert retry(given, reflection, user)["id"] == new
    given.enroll(new)
    assert standing(given, attempt) == "already_moved"


def test_an_operator_reads_the_voices_of_a_provider_page_by_page(given: Fixture) -> None:
    user, moved = library(given)
    new = move(given, moved, user)["id"]
    _, other = library(given)
    given.launchable(user, given.reflection(user))
    sql = "select * from voice_clone.voices_to_move('local', 'modal', '', '{here}', %s, 2)"
    first = given.service.execute(sql, (None,)).fetchall()
    rest = given.service.execute(sql, (first[-1]["voice_id"],)).fetchall()
    found = {row["voice_id"]: row["standing"] for row in first + rest}
    assert (len(first), len(rest), len(found)) == (2, 1, 3)
    assert found[voice_of(given, moved)["id"]] == "move_in_progress"
    assert found[voice_of(given, other)["id"]] == "movable"
    given.enroll(new)
    from_modal = "select * from voice_clone.voices_to_move('modal', 'modal', '', '{here}', null, 9)"
    assert given.service.execute(from_modal).fetchall() == [], "they are there"


def test_the_voices_are_counted_by_where_they_are(given: Fixture) -> None:
    user, attempt = library(given)
    given.enroll(move(given, attempt, user)["id"])
    _, deleted = library(given)
    sql = "select * from voice_clone.voices_by_place()"
    assert [row["voices"] for row in given.service.execute(sql)] == [2, 1]
    voice = voice_of(given, deleted)
    given.one("select voice_clone.delete_voice(%s, %s)", voice["id"], voice["user_id"])
    assert [row["voices"] for row in given.service.execute(sql)] == [1, 1]
