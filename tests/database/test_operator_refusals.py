"""What the commands of an operator are refused, and what they find."""

from typing import LiteralString
from uuid import UUID, uuid4

import pytest

from tests.database.situations import refused
from tests.fixture import Fixture

ADD = "select operations.add_listed_voices(%s, %s, null, %s, %s, %s, '{}', null) as phase"
FINDINGS = "select operations.compare_voices(%s, 'voice') -> 'findings' as found"
HOLD = "select * from operations.place_hold(%s, 'Case 17')"
DUPLICATE = "select voice_clone.record_duplicate(%s, 'voice-2', 'model-1')"


def test_a_bucket_that_is_not_ours_is_not_compared(given: Fixture) -> None:
    with refused("VC004"):
        given.truth("select operations.compare_storage('avatars', 'rows')")


@pytest.mark.parametrize(
    "call",
    [
        "select operations.compare_voices(%s, 'voice')",
        "select operations.add_listed_voices(%s, 'list', null, '{}', '{}', '{}', '{}', null)",
    ],
    ids=["compare", "list"],
)
def test_a_run_that_another_command_has_replaced_goes_no_further(given: Fixture, call: LiteralString) -> None:
    with refused("VC007"):
        given.truth(call, uuid4())


@pytest.mark.parametrize("apply", [True, False])
def test_a_takedown_names_a_voice_or_an_attempt(given: Fixture, apply: bool) -> None:
    with refused("VC004"):
        given.superuser.execute("select * from operations.take_down(%s, 'Notice 17', %s)", (uuid4(), apply))


def findings(given: Fixture, label: str) -> list[str]:
    """What a new run says about a voice with this label."""
    run = given.truth("select operations.begin_reconciliation('local', '', '{}', true) ->> 'id' as id")["id"]
    given.truth(ADD, run, "list", ["voice-1"], [label], ["model-1"])
    given.truth(ADD, run, "confirm", [], [], [])
    return [each["finding"] for each in given.truth(FINDINGS, run)["found"]]


def test_a_voice_of_an_open_enrollment_is_found_when_its_worker_is_gone(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    enrollment = given.intend(attempt, given.claim(attempt)["lease_epoch"])
    label = given.truth("select label from voice_clone.enrollments where id = %s", enrollment)["label"]
    assert findings(given, label) == []
    given.superuser.execute(
        "update voice_clone.deadlines set lease_expires_at = now() where attempt_id = %s", (attempt,)
    )
    assert findings(given, label) == ["unknown"]


def test_a_duplicate_waits_until_the_outcome_of_its_enrollment_is_known(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment: UUID = given.intend(attempt, epoch)
    with refused("VC007"):
        given.truth(DUPLICATE, enrollment)
    given.attach(attempt, epoch, enrollment)
    given.truth(DUPLICATE, enrollment)
    kept = given.truth(
        "select status from voice_clone.enrollments where provider_voice_id = 'voice-2'",
    )
    assert kept["status"] == "orphaned"


def test_a_voice_that_an_earlier_system_left_without_an_owner_is_not_imported(given: Fixture) -> None:
    given.superuser.execute("alter table public.reflections alter column user_id drop not null")
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "insert into public.reflections (user_id, name, voice) values (null, 'R',"
            """ '{"cloneStatus": "ready", "provider": "qwen", "voiceId": "v", "targetModel": "m"}')"""
        )
    row = given.truth("select outcome, error from operations.import_legacy_voices(null, 10)")
    assert row == {"outcome": "error", "error": "the reflection has no owner (VC004)"}


def test_a_hold_is_placed_on_a_user_or_an_employee_who_is_there(given: Fixture) -> None:
    user = given.user()
    for subject in (user, given.employee(given.organization(user))):
        assert given.truth(HOLD, subject)["subject_id"] == subject
    with refused("VC004"):
        given.truth(HOLD, uuid4())
