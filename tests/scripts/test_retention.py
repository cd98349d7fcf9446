"""The operator's schedule: read, changed, and legal holds, by the database or the Data API."""

import json
import os
from typing import Any
from uuid import uuid4

import pytest

from tests.database.test_removal import set_time, sweep
from tests.fixture import Fixture
from tests.preloaded import command


def run(given: Fixture, *arguments: str) -> tuple[int, str]:
    env = os.environ | {"DATABASE_URL": given.database.superuser, "COLUMNS": "200"}
    done = command("retention", *arguments, env=env)
    return done.returncode, done.stdout + done.stderr


def schedule(given: Fixture) -> dict[str, Any]:
    code, output = run(given, "--json")
    assert code == 0, output
    return {row["name"]: row for row in json.loads(output)}


def test_the_schedule_says_what_is_due(given: Fixture) -> None:
    user = given.user()
    given.launchable(user, given.reflection(user))
    found = schedule(given)
    assert (found["sample"]["seconds"], found["sample"]["kept"], found["sample"]["due"]) == (2_592_000, 1, 0)
    assert found["upload"]["kept"] is None, "what is not counted is not said to be none"
    set_time(given, "sample", "0")
    assert schedule(given)["sample"]["due"] == 1
    sweep(given)
    assert (schedule(given)["sample"]["kept"], schedule(given)["sample"]["due"]) == (0, 0)
    code, output = run(given)
    assert (code, "kept for" in output, "30 d" in output) == (0, True, True)


def test_a_time_is_set_with_apply_only(given: Fixture) -> None:
    code, output = run(given, "set", "sample", "90d")
    assert (code, "Nothing was changed. Add --apply, and sample is kept for 90 d." in output) == (0, True)
    assert schedule(given)["sample"]["seconds"] == 2_592_000
    code, output = run(given, "set", "sample", "90d", "--apply")
    assert (code, "From now on sample is kept for 90 d." in output) == (0, True)
    assert schedule(given)["sample"]["seconds"] == 90 * 86_400
    assert run(given, "set", "sample", "never", "--apply")[0] == 0
    assert schedule(given)["sample"]["seconds"] is None
    code, output = run(given, "set", "upload", "never", "--apply")
    assert code == 1, "an upload that is not finalized always expires"
    assert "timeouts_never" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["set"],
        ["set", "sample"],
        ["set", "sample", "soon"],
        ["set", "sample", "-1d"],
        ["set", "lost_message", "1d", "--apply"],
        ["hold", "x", "--reason", "y"],
        ["hold", "3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11"],
        ["release"],
    ],
    ids=lambda arguments: " ".join(arguments)[:16],
)
def test_wrong_usage_is_refused(given: Fixture, arguments: list[str]) -> None:
    assert run(given, *arguments)[0] == 2


def test_a_hold_is_placed_listed_and_released(given: Fixture) -> None:
    user = given.user()
    assert run(given, "holds")[1] == "Legal holds: none.\n"
    assert "Nothing was changed" in run(given, "hold", str(user), "--reason", "case 7")[1]
    assert run(given, "holds")[1] == "Legal holds: none.\n"
    for _ in range(2):
        code, output = run(given, "hold", str(user), "--reason", "case 7", "--apply")
        assert (code, "case 7" in output) == (0, True)
    assert len(json.loads(run(given, "holds", "--json")[1])) == 1
    assert "Nothing was changed" in run(given, "release", str(user))[1]
    assert run(given, "release", str(user), "--apply")[0] == 0
    code, output = run(given, "release", str(user), "--apply")
    assert (code, f"Nobody holds {user}." in output) == (1, True)
    (held,) = json.loads(run(given, "holds", "--json")[1])
    assert held["released_at"] is not None, "the record stays"
    code, output = run(given, "hold", str(uuid4()), "--reason", "case 7", "--apply")
    assert (code, "there is no user" in output) == (1, True)
