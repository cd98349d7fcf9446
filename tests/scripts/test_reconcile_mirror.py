"""`likeness reconcile mirror`: lost messages and changes past the guard are found, repaired, and gone."""

import json
import os
from typing import Any
from uuid import UUID

import pytest

from tests.database.test_sweep import lose
from tests.fixture import Fixture
from tests.preloaded import command

CLEAN = '{"compared":%d,"findings":{},"faults":{}}\n'


def run(given: Fixture, *arguments: str, url: str | None = None) -> tuple[int, str]:
    env = os.environ | {"DATABASE_URL": url or given.database.service, "COLUMNS": "200"}
    done = command("reconcile", "mirror", "--older-than", "0s", *arguments, env=env)
    return done.returncode, done.stdout


def found(given: Fixture, *arguments: str) -> dict[str, str]:
    """What differs, by the id of its reflection or employee."""
    code, output = run(given, "--json", *arguments)
    *findings, end = (json.loads(line) for line in output.splitlines())
    assert (code, sum(end["findings"].values())) == (1 if findings else 0, len(findings))
    return {each["id"]: each["finding"] for each in findings}


def consume(given: Fixture) -> None:
    """What the consumer of mirrors does with each message."""
    ids = [UUID(each["message"]["id"]) for each in given.messages("voice_mirror")]
    assert given.one("select voice_clone.mirror_unlocked_reflections(%s) as left", ids)["left"] == []
    lose(given, "voice_mirror")


def past_the_guard(given: Fixture, statement: str, *parameters: Any) -> None:
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(statement.encode(), parameters)


@pytest.fixture
def reflection(given: Fixture) -> UUID:
    """With a voice that is launched and mirrored."""
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    given.mirror(reflection)
    lose(given, "voice_mirror")
    return reflection


@pytest.fixture
def employee(given: Fixture) -> UUID:
    admin = given.user()
    employee = given.employee(given.organization(admin))
    given.employee_consent(employee, admin)
    given.enroll(given.clone_recording(employee, admin))
    given.one("select voice_clone.mirror_reflections(%s)", [employee])
    lose(given, "voice_mirror")
    return employee


def test_mirrors_that_are_as_their_attempts_are_no_findings(
    given: Fixture, reflection: UUID, employee: UUID
) -> None:
    given.reflection(given.user())  # without a voice, so without anything to compare
    assert run(given, "--json") == (0, CLEAN % 2)
    assert found(given, "--apply") == {}
    assert given.messages("voice_mirror") == []
    given.superuser.execute("set timezone = 'Asia/Tokyo'")
    given.superuser.execute("select voice_clone.mirror_reflections(%s)", ([reflection],))
    assert found(given) == {}, "the text of a time is no difference"


def test_a_lost_message_is_sent_again_and_the_second_run_finds_nothing(
    given: Fixture, reflection: UUID
) -> None:
    before = given.voice(reflection)
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, owner(given, reflection))
    lose(given, "voice_mirror")
    given.superuser.execute("delete from voice_clone.deadlines")  # the sweep would find it as well
    assert found(given) == {str(reflection): "behind"}
    assert (given.voice(reflection), given.messages("voice_mirror")) == (before, []), "nothing was changed"
    assert found(given, "--apply") == {str(reflection): "behind"}
    assert given.voice(reflection) == before, "only the consumer writes"
    consume(given)
    assert given.voice(reflection)["cloneStatus"] == "none"
    assert found(given) == {}


def test_content_that_was_changed_past_the_guard_is_repaired(
    given: Fixture, reflection: UUID, employee: UUID
) -> None:
    right, voice = given.voice(reflection), employee_voice(given, employee)
    past_the_guard(
        given, """update public.reflections set voice = voice || '{"cloneStatus": "failed", "mine": 1}'"""
    )
    past_the_guard(given, "update public.employees set voice_id = 'of another'")
    assert found(given, "--apply") == {str(reflection): "different", str(employee): "different"}
    consume(given)
    assert (given.voice(reflection), employee_voice(given, employee)) == (right | {"mine": 1}, voice)
    assert found(given) == {}


def test_a_mirror_that_is_ahead_is_named_and_never_goes_back(given: Fixture, reflection: UUID) -> None:
    past_the_guard(given, """update public.reflections set voice = voice || '{"version": 1000}'""")
    assert found(given, "--apply") == {str(reflection): "ahead"}
    assert given.messages("voice_mirror") == []
    code, output = run(given)
    assert (code, "ahead: 1." in output, "Nothing was changed" in output) == (1, True, True)


def test_what_changed_a_moment_ago_is_left_to_its_message(given: Fixture, reflection: UUID) -> None:
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, owner(given, reflection))
    assert run(given, "--json", "--older-than", "1m") == (0, CLEAN % 0)


def test_many_are_compared_page_by_page(given: Fixture, reflection: UUID) -> None:
    user = given.user()
    others = {given.reflection(user) for _ in range(3)}
    for other in others:
        given.queued(user, other)
    lose(given, "voice_mirror")
    assert found(given, "--page", "1") == dict.fromkeys(map(str, others), "behind")


def test_a_project_that_cannot_be_reached_is_a_fault_and_no_finding(given: Fixture) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/postgres"
    assert run(given, url=nowhere)[0] == 2


def owner(given: Fixture, reflection: UUID) -> UUID:
    return given.truth("select user_id from public.reflections where id = %s", reflection)["user_id"]


def employee_voice(given: Fixture, employee: UUID) -> str:
    return given.truth("select voice_id from public.employees where id = %s", employee)["voice_id"]
