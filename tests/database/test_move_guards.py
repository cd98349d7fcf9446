"""Each guard of a move is needed: without it, a test of tests/database/test_moving.py fails."""

from collections.abc import Callable

import psycopg
import pytest

from tests.database import test_moving as moving
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

MOVE, STANDING, TAKES = (
    f"voice_clone.{name}" for name in ("move_voice", "move_standing", "moves_with_reflection")
)
Check = Callable[[Fixture], None]
# A guard, what is left without it, and the test that then fails.
GUARDS: dict[str, tuple[str, str, str, Check]] = {
    "to where it is": (
        STANDING,
        "when voice_clone.is_at(v, p_provider, p_region, p_accounts)",
        "when false",
        lambda given: moving.test_a_voice_is_not_moved_to_where_it_is(given, "here"),
    ),
    "while it is moved": (
        STANDING,
        "in ('queued', 'processing', 'verifying')",
        "in ('verifying')",
        moving.test_one_move_of_a_voice_runs_at_a_time,
    ),
    "while it is processed": (
        STANDING,
        "in ('queued', 'processing', 'verifying')",
        "in ('queued', 'verifying')",
        moving.test_one_move_of_a_voice_runs_at_a_time,
    ),
    "twice": (
        STANDING,
        "when v_made.id is not null and",
        "when false and",
        moving.test_a_reflection_that_can_be_launched_keeps_its_voice,
    ),
    "to a voice that was deleted": (
        STANDING,
        "x.id = v.moved_to and x.deleted_at is null",
        "x.id = v.moved_to",
        moving.test_a_new_voice_that_is_deleted_leaves_the_old_one_movable,
    ),
    "without a sample": (
        STANDING,
        "when a.sample_id is null",
        "when false",
        moving.test_a_custom_voice_without_a_sample_cannot_be_moved,
    ),
    "of a sample that was removed": (
        STANDING,
        "when s.status <> 'ready'",
        "when false",
        moving.test_a_voice_whose_sample_was_removed_cannot_be_moved,
    ),
    "without a consent": (
        STANDING,
        "when not voice_clone.is_covered(a)",
        "when false",
        moving.test_a_consent_that_does_not_cover_the_voice_any_more_forbids_the_move,
    ),
    "of another's voice": (
        MOVE,
        "and x.user_id = p_user and x.deleted_at is null",
        "and x.deleted_at is null",
        moving.test_another_is_told_nothing_of_a_voice,
    ),
    "of a deleted voice": (
        MOVE,
        "and x.user_id = p_user and x.deleted_at is null",
        "and x.user_id = p_user",
        lambda given: moving.test_a_voice_that_is_not_the_callers_is_not_there(given, "deleted"),
    ),
    "past the day": (
        MOVE,
        "perform voice_clone.require_daily_allowance(p_user, p_per_day);",
        "",
        moving.test_a_move_of_the_user_counts_towards_the_day_and_one_of_an_operator_does_not,
    ),
    "past the unfinished": (
        MOVE,
        "perform voice_clone.check_unfinished_attempts(p_user);",
        "",
        moving.test_an_operators_move_takes_a_place_among_the_users_unfinished_attempts,
    ),
    "two at once": (
        MOVE,
        "perform voice_clone.check_unfinished_attempts(p_user);",
        "",
        moving.test_two_moves_at_once_make_one_voice,
    ),
    "without what refuses": (
        MOVE,
        "perform voice_clone.refuse_move(v, v_standing);",
        "",
        moving.test_a_refused_move_changes_nothing,
    ),
    "of a voice that works": (
        TAKES,
        "(p_switch or",
        "(true or",
        moving.test_a_reflection_that_can_be_launched_keeps_its_voice,
    ),
    "of a reflection with another voice": (
        TAKES,
        "and (a.id = v.attempt_id or a.voice_id is not distinct from v.moved_to)",
        "",
        moving.test_a_voice_that_its_reflection_no_longer_has_is_moved_in_the_library,
    ),
    "unheard": (
        MOVE,
        "case when p_preview_required and",
        "case when false and",
        moving.test_what_was_not_heard_is_not_launched,
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_of_a_move_is_needed(given: Fixture, guard: str) -> None:
    function, text, without, check = GUARDS[guard]
    given.replace(function, text, without)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        check(given)
