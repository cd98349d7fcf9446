"""The voice of an employee at another provider: retried there, moved there, restored; by an admin only."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import fail, meanwhile, refused
from tests.database.test_employee_consents import REVOKE
from tests.database.test_employee_recovery import RETRY
from tests.database.test_employee_voices import VOICE, Staffed
from tests.fixture import Fixture, Row

ELSEWHERE = "select * from voice_clone.retry_employee_elsewhere(%s, %s, %s, %s, %s, '', true)"
MOVE = "select * from voice_clone.move_employee_voice(%s, %s, %s, %s, '', '{here}', %s, true, %s)"
MOVE_BY_OPERATOR = (
    "select * from voice_clone.move_employee_voice(%s, %s, null, %s, '', '{here}', %s, true, null, true)"
)
RESTORE = "select * from voice_clone.restore_employee_attempt(%s, %s)"
DELETE = "select voice_clone.delete_voice(%s, %s) as deleted"
COUNT = "select count(*) from public.voice_clone_attempts where employee_id = %s"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def elsewhere(acme: Staffed, failed: UUID, provider: str = "qwen", user: UUID | None = None) -> Row:
    return acme.given.one(ELSEWHERE, uuid4(), acme.employee, user or acme.admin, failed, provider)


def moved(acme: Staffed, provider: str = "qwen", *, switch: bool = True, per_day: int | None = None) -> Row:
    return acme.given.one(MOVE, uuid4(), acme.employee, acme.admin, provider, switch, per_day)


def voice_of(given: Fixture, attempt: UUID) -> Row:
    return given.truth("select * from public.voices where attempt_id = %s", attempt)


def is_launchable(acme: Staffed) -> bool:
    return acme.given.one(VOICE, acme.employee, acme.admin)["gate"]["launchable"]


def test_the_same_sample_is_cloned_at_another_provider(given: Fixture, acme: Staffed) -> None:
    fail(given, attempt := acme.queued())
    answer, old = elsewhere(acme, attempt), given.attempt(attempt)
    assert (answer["provider"], answer["status"], answer["source"]) == ("qwen", "queued", "recording")
    assert (answer["is_active"], answer["user_retry_count"]) == (True, 1)
    for kept in ("sample_id", "name", "language", "employee_id", "org_id"):
        assert answer[kept] == old[kept], kept
    assert (old["status"], old["cancel_reason"]) == ("cancelled", "superseded")
    mirror = acme.row()["voice"]
    assert (mirror["provider"], mirror["cloneStatus"], mirror["error"]) == ("qwen", "queued", None)
    given.enroll(answer["id"])
    assert acme.row()["voice_id"] == given.attempt(answer["id"])["provider_voice_id"]
    assert given.truth("select * from voice_clone.replay(%s)", answer["id"]) == given.attempt(answer["id"])


def test_another_provider_is_no_new_budget(given: Fixture, acme: Staffed) -> None:
    fail(given, attempt := acme.queued())
    for count in range(1, 6):
        attempt = elsewhere(acme, attempt, "qwen" if count % 2 else "elevenlabs")["id"]
        assert given.attempt(attempt)["user_retry_count"] == count
        fail(given, attempt)
    with refused("VC007", "retry_budget_used"):
        elsewhere(acme, attempt, "cartesia")
    with refused("VC007", "retry_budget_used"):
        given.one(RETRY, acme.employee, acme.admin)


def test_a_retry_where_it_failed_is_the_same_attempt(given: Fixture, acme: Staffed) -> None:
    fail(given, attempt := acme.queued())
    assert elsewhere(acme, attempt, "local")["id"] == attempt
    assert given.truth(COUNT, acme.employee)["count"] == 1


def test_only_the_attempt_that_was_seen_and_failed_is_retried(given: Fixture, acme: Staffed) -> None:
    with refused("VC007", "nothing_to_retry"):
        elsewhere(acme, uuid4())
    seen = acme.queued()
    with refused("VC007", "nothing_to_retry"):
        elsewhere(acme, seen)
    fail(given, newer := acme.queued())
    with refused("VC007", "attempt_superseded"):
        elsewhere(acme, seen)
    assert given.attempt(newer)["is_active"]


def test_a_voice_that_works_is_moved_when_an_admin_says_so(given: Fixture, acme: Staffed) -> None:
    old = acme.launchable()
    with refused("VC007", "switch_required"):
        moved(acme, switch=False)
    assert is_launchable(acme)
    new = moved(acme)
    assert (new["status"], new["provider"], new["source"]) == ("queued", "qwen", "recording")
    assert new["moved_from"] == voice_of(given, old)["id"]
    assert voice_of(given, old)["moved_to"] == new["voice_id"]
    assert given.attempt(old)["cancel_reason"] == "superseded"
    assert (acme.row()["voice_id"], is_launchable(acme)) == (None, False)
    with refused("VC007", "move_in_progress"):
        moved(acme, "elevenlabs")
    given.enroll(new["id"])
    assert acme.row()["voice_id"] == given.attempt(new["id"])["provider_voice_id"]
    with refused("VC007", "already_there"):
        moved(acme, "qwen")
    assert voice_of(given, old)["deleted_at"] is None, "it is kept until it is deleted"
    assert given.one(DELETE, voice_of(given, old)["id"], acme.admin)["deleted"]
    assert acme.row()["voice_id"] == given.attempt(new["id"])["provider_voice_id"]
    assert given.sample(new["sample_id"])["status"] == "ready", "the new voice uses it"


def test_a_voice_that_is_not_heard_yet_is_moved_at_once(given: Fixture, acme: Staffed) -> None:
    given.enroll(acme.queued())
    assert moved(acme, switch=False)["status"] == "queued"


def test_the_voice_before_comes_back_where_the_new_one_fails(given: Fixture, acme: Staffed) -> None:
    with refused("VC007", "nothing_to_restore"):
        given.one(RESTORE, acme.employee, acme.admin)
    old = acme.launchable()
    with refused("VC007", "latest_not_failed"):
        given.one(RESTORE, acme.employee, acme.admin)
    fail(given, new := moved(acme)["id"])
    assert given.one(RESTORE, acme.employee, acme.admin)["id"] == old
    assert (given.attempt(new)["cancel_reason"], is_launchable(acme)) == ("restored", True)
    row, version = acme.row(), given.attempt(new)["version"]
    assert row["voice_id"] == given.attempt(old)["provider_voice_id"]
    assert row["voice"]["version"] > version, "the mirror never goes back"
    file = "select wanted > written as is_wanted from voice_clone.employee_files where employee_id = %s"
    assert given.truth(file, acme.employee)["is_wanted"]


def test_a_voice_whose_consent_is_revoked_is_neither_moved_nor_restored(
    given: Fixture, acme: Staffed
) -> None:
    acme.launchable()
    fail(given, moved(acme)["id"])
    given.one(REVOKE, acme.employee, acme.token)
    with refused("VC007", "nothing_to_restore"):
        given.one(RESTORE, acme.employee, acme.admin)
    given.employee_consent(acme.employee, acme.admin)
    for call in (lambda: given.one(RESTORE, acme.employee, acme.admin), lambda: moved(acme)):
        with pytest.raises(psycopg.Error):
            call()
    assert acme.row()["voice_id"] is None, "another consent brings no voice of the former one back"


def test_a_revocation_during_a_move_cancels_it(given: Fixture, acme: Staffed) -> None:
    acme.launchable()
    new = uuid4()
    with meanwhile(given, lambda: given.one(REVOKE, acme.employee, acme.token)) as second:
        given.superuser.execute(MOVE.encode(), (new, acme.employee, acme.admin, "qwen", True, None))
    assert second[0].result(10)
    row = given.attempt(new)
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "consent_revoked")


def test_a_move_that_waited_for_a_revocation_moves_nothing(given: Fixture, acme: Staffed) -> None:
    acme.launchable()
    with meanwhile(given, lambda: moved(acme)) as second:
        given.superuser.execute(REVOKE.encode(), (acme.employee, acme.token))
    with refused("VC004"):
        second[0].result(10)


def test_a_voice_whose_sample_was_removed_cannot_be_moved(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.superuser.execute(
        "update public.voice_samples set status = 'removed', removed_at = now() where id = %s",
        (given.attempt(attempt)["sample_id"],),
    )
    with refused("VC007", "sample_missing"):
        moved(acme)
    assert is_launchable(acme)


def test_an_admins_move_counts_towards_the_day_and_that_of_an_operator_does_not(
    given: Fixture, acme: Staffed
) -> None:
    acme.launchable()
    with refused("VC008", "too_many_attempts"):
        moved(acme, per_day=1)
    new = given.one(MOVE_BY_OPERATOR, uuid4(), acme.employee, "qwen", True)
    assert new["source"] == "operator_move"
    given.enroll(new["id"])
    assert moved(acme, "elevenlabs", switch=False, per_day=2)["status"] == "queued"


def test_an_operators_move_takes_a_place_among_the_unfinished_attempts(given: Fixture, acme: Staffed) -> None:
    given.enroll(acme.queued())
    for _ in range(20):
        other = given.employee(acme.id)
        given.employee_consent(other, acme.admin)
        given.clone_recording(other, acme.admin)
    with refused("VC008", "too_many_attempts"):
        given.one(MOVE_BY_OPERATOR, uuid4(), acme.employee, "qwen", True)


def test_only_an_admin_moves_restores_and_deletes(given: Fixture, acme: Staffed) -> None:
    voice = voice_of(given, acme.launchable())["id"]
    strangers = Staffed(given)
    for user, sqlstate in ((acme.member, "VC009"), (strangers.admin, "VC004"), (given.user(), "VC004")):
        calls: list[Callable[[], Row]] = [
            lambda user=user: given.one(MOVE, uuid4(), acme.employee, user, "qwen", True, None),
            lambda user=user: given.one(RESTORE, acme.employee, user),
            lambda user=user: elsewhere(acme, uuid4(), user=user),
        ]
        for call in calls:
            with refused(sqlstate):
                call()
        assert not given.one(DELETE, voice, user)["deleted"]
    assert is_launchable(acme)


def test_a_voice_that_the_employee_no_longer_has_stands_as_superseded(given: Fixture, acme: Staffed) -> None:
    old = acme.launchable()
    acme.launchable()
    rows = given.service.execute(
        "select * from voice_clone.voices_to_move('local', 'qwen', '', '{here}', null, 10)"
    ).fetchall()
    standings = {row["voice_id"]: (row["employee_id"], row["standing"]) for row in rows}
    assert standings.pop(voice_of(given, old)["id"]) == (acme.employee, "voice_superseded")
    assert list(standings.values()) == [(acme.employee, "movable")]


# A guard, what is left without it, and the test that then fails.
GUARDS: dict[str, tuple[str, str, str, Callable[[Fixture, Staffed], None]]] = {
    "of a voice that works": (
        "voice_clone.move_employee_voice",
        "if not p_switch and",
        "if false and",
        test_a_voice_that_works_is_moved_when_an_admin_says_so,
    ),
    "while it is made": (
        "voice_clone.move_employee_voice",
        "if a.status in ('queued', 'processing', 'verifying')",
        "if false",
        test_a_voice_that_works_is_moved_when_an_admin_says_so,
    ),
    "by a member": (
        "voice_clone.move_employee_voice",
        "perform voice_clone.require_employee(p_employee, p_user, true) where not p_is_operator;",
        "",
        test_only_an_admin_moves_restores_and_deletes,
    ),
    "past the limits": (
        "voice_clone.move_employee_voice",
        "perform voice_clone.check_organization_limits(e.org_id, p_per_day) from public.employees e"
        " where e.id = p_employee;",
        "",
        test_an_operators_move_takes_a_place_among_the_unfinished_attempts,
    ),
    "of a sample that was removed": (
        "voice_clone.move_employee_voice",
        "perform voice_clone.refuse_move(v, voice_clone.move_standing(v, p_provider, p_region, p_accounts));",
        "",
        test_a_voice_that_works_is_moved_when_an_admin_says_so,
    ),
    "without its consent": (
        "voice_clone.is_covered",
        "else exists (select from voice_clone.employee_consents(a.employee_id) c where c = v_consent)",
        "else true",
        lambda given, acme: test_the_consent_of_another_voice_covers_no_restored_one(given, acme),
    ),
    "a voice of another organization deleted": (
        "voice_clone.delete_voice",
        "and m.role::text = 'admin'",
        "",
        test_only_an_admin_moves_restores_and_deletes,
    ),
}


def test_the_consent_of_another_voice_covers_no_restored_one(given: Fixture, acme: Staffed) -> None:
    """An entry that ends nothing, as by a trigger that was disabled: the check itself refuses."""
    acme.launchable()
    fail(given, moved(acme)["id"])
    given.superuser.execute(
        "alter table public.voice_consents disable trigger voice_consents_apply_revocation"
    )
    given.one(REVOKE, acme.employee, acme.token)
    with refused("VC007", "nothing_to_restore"):
        given.one(RESTORE, acme.employee, acme.admin)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.one_postgres
def test_each_guard_is_needed(given: Fixture, acme: Staffed, guard: str) -> None:
    function, old, new, check = GUARDS[guard]
    given.replace(function, old, new)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        check(given, acme)
