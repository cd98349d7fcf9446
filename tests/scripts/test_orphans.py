"""The operator's list of orphans."""

import json
import os

from tests.fixture import Fixture
from tests.preloaded import command
from tests.scripts.test_reconcile_voices import REGION, Enrollment


def run(url: str, *arguments: str) -> tuple[int, str]:
    done = command("orphans", *arguments, env=os.environ | {"DATABASE_URL": url, "COLUMNS": "240"})
    return done.returncode, done.stdout + done.stderr


def test_the_orphans_are_listed_with_when_they_are_removed(given: Fixture) -> None:
    assert run(given.database.service) == (0, "Orphans: none.\n")
    assert run(given.database.service, "--json") == (0, "[]\n")
    orphan = Enrollment(given)
    orphan.orphan("the-voice")
    code, output = run(given.database.postgres, "--json")
    (listed,) = json.loads(output)
    assert (code, listed["provider_voice_id"], listed["enrollment_id"]) == (0, "the-voice", str(orphan.id))
    assert (listed["status"], listed["cancel_reason"]) == ("orphaned", "consent_revoked")
    assert listed["removal_due_at"] == listed["orphaned_at"], "what is revoked is removed at once"
    code, output = run(given.database.service)
    assert code == 0
    for text in ("the-voice", "qwen", REGION, "consent_revoked", orphan.label):
        assert text in output


def test_without_an_address_it_says_what_to_set() -> None:
    code, output = run("")
    assert (code, "DATABASE_URL" in output) == (2, True)
