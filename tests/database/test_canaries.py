"""Canaries: which voices are made to speak, what is noted of a try, and what a stale worker cannot note."""

from typing import LiteralString
from uuid import UUID, uuid4

import pytest

from tests.database.situations import custom_voice, refused
from tests.database.test_takedowns import take_down
from tests.database.test_voice_checks import account, become_due, claim, ready
from tests.fixture import Fixture, Row

TO_CHECK = "select * from voice_clone.voices_to_check('local', '', '', null, 100, %s)"
"""The last is how many days a provider keeps what is not used."""


def voice(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from public.voices where attempt_id = %s", attempt)


def silent_for(given: Fixture, attempt: UUID, days: int) -> None:
    """As if it had been made so long ago."""
    given.superuser.execute(
        "update public.voices set created_at = now() - make_interval(days => %s) where attempt_id = %s",
        (days, attempt),
    )


def spoke(given: Fixture, attempt: UUID, days: int) -> None:
    """Made long ago, and so many days ago it spoke last."""
    silent_for(given, attempt, 800)
    given.superuser.execute(
        "update public.voices set spoken_at = now() - make_interval(days => %s) where attempt_id = %s",
        (days, attempt),
    )


def due(given: Fixture, unused_days: int | None = None) -> set[UUID]:
    rows = given.service.execute(TO_CHECK, (unused_days,)).fetchall()
    return {row["voice_id"] for row in rows if row["canary_is_due"]}


def silent(given: Fixture, unused_days: int | None = None) -> set[UUID]:
    rows = given.service.execute(TO_CHECK, (unused_days,)).fetchall()
    return {row["voice_id"] for row in rows if row["is_silent"]}


def claimed(given: Fixture) -> tuple[UUID, int]:
    become_due(given)
    return account(given)["id"], claim(given)["lease_epoch"]


def begin(given: Fixture, lease: tuple[UUID, int], of: UUID) -> Row | None:
    return given.service.execute(
        "select * from voice_clone.begin_canary(%s, %s, %s)", (*lease, of)
    ).fetchone()


def end(given: Fixture, lease: tuple[UUID, int], of: UUID, has_spoken: bool, former: object = None) -> None:
    given.one("select voice_clone.end_canary(%s, %s, %s, %s, %s)", *lease, of, has_spoken, former)


def test_only_a_voice_that_has_not_spoken_for_long_is_due(given: Fixture) -> None:
    young, old, used, used_long_ago = ready(given, 4)
    silent_for(given, old, 181)
    spoke(given, used, 179)
    spoke(given, used_long_ago, 181)
    assert due(given) == {voice(given, each)["id"] for each in (old, used_long_ago)}
    given.superuser.execute("update voice_clone.timeouts set value = null where name = 'canary'")
    assert due(given) == set()
    assert voice(given, young)["canary_at"] is None


def test_a_provider_that_deletes_sooner_makes_it_due_sooner(given: Fixture) -> None:
    """With a quarter of its time left."""
    late, early = ready(given, 2)
    silent_for(given, late, 76)
    silent_for(given, early, 74)
    assert due(given, 100) == {voice(given, late)["id"]}
    assert due(given) == set()


def test_what_is_near_its_end_and_may_not_speak_is_announced(given: Fixture) -> None:
    late, early = ready(given, 2)
    silent_for(given, late, 276)
    silent_for(given, early, 272)
    assert silent(given, 365) == set(), "it will be made to speak"
    given.superuser.execute("update voice_clone.timeouts set value = null where name = 'canary'")
    assert silent(given, 365) == {voice(given, late)["id"]}


def test_a_voice_that_spoke_is_neither_due_nor_silent(given: Fixture) -> None:
    (attempt,) = ready(given)
    silent_for(given, attempt, 200)
    lease, id_ = claimed(given), voice(given, attempt)["id"]
    begun = begin(given, lease, id_)
    assert begun is not None
    assert begun["provider_voice_id"] == voice(given, attempt)["provider_voice_id"]
    assert silent(given) == {id_}, "nothing is known of a call whose worker died"
    assert due(given) == set(), "and it is not repeated at once"
    end(given, lease, id_, has_spoken=True)
    assert (silent(given), due(given)) == (set(), set())
    assert voice(given, attempt)["spoken_at"] is not None


def test_a_voice_that_was_refused_is_silent_and_is_tried_again_a_week_later(given: Fixture) -> None:
    (attempt,) = ready(given)
    silent_for(given, attempt, 200)
    id_ = voice(given, attempt)["id"]
    assert begin(given, claimed(given), id_) is not None
    assert silent(given) == {id_}
    given.superuser.execute("update public.voices set canary_at = now() - interval '8 days'")
    assert (silent(given), due(given)) == ({id_}, {id_})


def test_a_failure_that_says_nothing_of_the_voice_leaves_it_as_it_was(given: Fixture) -> None:
    (attempt,) = ready(given)
    silent_for(given, attempt, 200)
    lease, id_ = claimed(given), voice(given, attempt)["id"]
    begun = begin(given, lease, id_)
    assert begun is not None
    end(given, lease, id_, has_spoken=False, former=begun["former_at"])
    assert (silent(given), due(given)) == (set(), {id_})


@pytest.mark.parametrize("what", ["deleted", "taken_down", "lost", "of_another_account", "not_ours"])
def test_a_voice_that_must_not_speak_does_not(given: Fixture, what: str) -> None:
    (attempt,) = ready(given)
    lease, id_ = claimed(given), voice(given, attempt)["id"]
    change: dict[str, LiteralString] = {
        "lost": "update public.voices set lost_at = now(), enrollment_id = null",
        "of_another_account": "update public.voices set provider_account = 'there'",
        "not_ours": "update public.voices set enrollment_id = null",
    }
    if what == "deleted":
        given.one("select voice_clone.delete_voice(%s, %s)", id_, voice(given, attempt)["user_id"])
    elif what == "taken_down":
        take_down(given, id_)
    else:
        given.superuser.execute(change[what])
    assert begin(given, lease, id_) is None
    assert voice(given, attempt)["canary_at"] is None


def test_a_stock_voice_is_never_due(given: Fixture) -> None:
    user = given.user()
    attempt = custom_voice(given, user, given.reflection(user))
    silent_for(given, attempt, 800)
    assert (due(given, 365), silent(given, 365)) == (set(), set())


def test_a_worker_without_the_lease_notes_nothing(given: Fixture) -> None:
    (attempt,) = ready(given)
    silent_for(given, attempt, 200)
    stale, id_ = claimed(given), voice(given, attempt)["id"]
    lease = claimed(given)
    with refused("VC002"):
        begin(given, stale, id_)
    assert begin(given, lease, id_) is not None
    with refused("VC002"):
        end(given, stale, id_, has_spoken=True)
    assert voice(given, attempt)["spoken_at"] is None


def test_speech_is_noted_once_a_day_and_only_for_its_user(given: Fixture) -> None:
    (attempt,) = ready(given)
    row = voice(given, attempt)
    note = "select voice_clone.note_speech_of(%s, %s)"
    given.one(note, row["id"], uuid4())
    assert voice(given, attempt)["spoken_at"] is None
    given.one(note, row["id"], row["user_id"])
    first = voice(given, attempt)["spoken_at"]
    assert first is not None
    given.one(note, row["id"], row["user_id"])
    assert voice(given, attempt)["spoken_at"] == first
    spoke(given, attempt, 2)
    given.one(note, row["id"], row["user_id"])
    assert voice(given, attempt)["spoken_at"] > first


def test_a_preview_is_speech(given: Fixture) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    assert voice(given, attempt)["spoken_at"] is not None


def test_the_silent_of_a_round_are_counted_over_its_groups(given: Fixture) -> None:
    (first, *_) = attempts = ready(given, 3)
    record = "select voice_clone.record_voice_check(%s, %s, %s, %s, null, %s, null)"
    assert first in attempts
    middle = voice(given, first)["id"]
    id_, epoch = claimed(given)
    given.one(record, id_, epoch, middle, None, 2)
    assert account(given)["silent"] == 0, "the round goes on"
    id_, epoch = claimed(given)
    given.one(record, id_, epoch, middle, "provider_unavailable", 0)
    id_, epoch = claimed(given)
    given.one(record, id_, epoch, None, None, 1)
    assert account(given)["silent"] == 3
    id_, epoch = claimed(given)
    given.one(record, id_, epoch, None, None, 0)
    assert account(given)["silent"] == 0
    (row,) = given.service.execute("select * from voice_clone.voice_checks_state()").fetchall()
    assert row["silent"] == 0


MUTANTS = {
    "a voice that was taken down": (
        "begin_canary", "and a.taken_down_at is null", "",
        lambda given: test_a_voice_that_must_not_speak_does_not(given, "taken_down"),
    ),
    "a voice of another account": (
        "begin_canary", "c.region, c.account)", "c.region, v.provider_account)",
        lambda given: test_a_voice_that_must_not_speak_does_not(given, "of_another_account"),
    ),
    "a stock voice": (
        "canary_is_due", "v.enrollment_id is not null and", "", test_a_stock_voice_is_never_due,
    ),
    "a call that is repeated at once": (
        "canary_is_due", "coalesce(v.canary_at < now() - p_retry, true)", "true",
        test_a_voice_that_spoke_is_neither_due_nor_silent,
    ),
    "an early end that is not seen": (
        "canary_is_due", "or voice_clone.is_hardly_used(v, p_unused_days)", "",
        test_a_provider_that_deletes_sooner_makes_it_due_sooner,
    ),
    "a write a speech": ("note_speech", "v.spoken_at > now() - interval '1 day'", "false",
        test_speech_is_noted_once_a_day_and_only_for_its_user,
    ),
    "the speech of another user": ("note_speech_of", "x.user_id = p_user", "true",
        test_speech_is_noted_once_a_day_and_only_for_its_user,
    ),
    "silent voices of one group only": (
        "record_voice_check", "case when c.after_voice is null then 0 else c.silent_so_far end", "0",
        test_the_silent_of_a_round_are_counted_over_its_groups,
    ),
}  # fmt: skip


@pytest.mark.one_postgres
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(given: Fixture, mutant: str) -> None:
    function, old, new, test = MUTANTS[mutant]
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises((Exception, pytest.fail.Exception)):  # a statement fails, or the test
        test(given)
