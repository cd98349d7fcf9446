"""The operator's counts: attempts by state and error, queues, and the slots of each provider."""

import json
import os
from typing import Any

from tests.database.situations import fail
from tests.fixture import Fixture
from tests.preloaded import command


def run(given: Fixture, *arguments: str) -> tuple[int, str]:
    env = os.environ | {"DATABASE_URL": given.database.service, "COLUMNS": "200"}
    done = command(*arguments, env=env)
    return done.returncode, done.stdout + done.stderr


def read(given: Fixture, *arguments: str) -> Any:
    return json.loads(run(given, *arguments, "--json")[1])


def test_attempts_are_counted_by_state_error_and_time(given: Fixture) -> None:
    users = [given.user() for _ in range(3)]
    given.launchable(users[0], given.reflection(users[0]))
    fail(given, given.queued(users[1], given.reflection(users[1])))
    given.open(users[2], None)
    found = read(given, "stats")
    assert found["attempts"] == {"ready": 1, "failed": 1, "awaiting_upload": 1}
    (error,) = found["errors"]
    assert (error["error_code"], error["count"]) == ("sample_rejected", 1)
    (times,) = found["seconds_to_ready"].values()
    assert times["count"] == 1
    assert 0 <= times["p50"] <= times["p99"]
    assert {queue["queue"] for queue in found["queues"]} >= {"voice_clone_process", "webhooks"}
    assert found["consumers"]["alive"] == 0
    assert read(given, "stats", "--since", "2999-01-01")["attempts"] == {}
    code, output = run(given, "stats")
    assert (code, "sample_rejected" in output, "0 attempts overdue" in output) == (0, True, True)


def test_a_provider_that_is_full_ends_with_1(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    given.enroll(attempt)
    provider = given.attempt(attempt)["provider"]
    (row,) = read(given, "slots")
    assert (row["provider"], row["slots"], row["taken"], row["orphans"]) == (provider, None, 1, 0)
    assert run(given, "slots")[0] == 0
    given.superuser.execute("select voice_clone.set_slots(%s, %s, 1)", (provider, row["region"]))
    code, output = run(given, "slots")
    assert (code, "is full" in output) == (1, True), output
