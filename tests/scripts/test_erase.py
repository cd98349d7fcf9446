"""The operator's erasure: nothing without --apply, receipts, and a ledger that is applied after a restore."""

import json
import os
from pathlib import Path
from uuid import uuid4

from tests.database.test_erasing import empty_folders, every_row, remove_voices
from tests.fixture import Fixture
from tests.preloaded import command


def run(given: Fixture, *arguments: str) -> tuple[int, str, str]:
    env = os.environ | {"DATABASE_URL": given.database.postgres, "COLUMNS": "200"}
    done = command("erase", *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


def test_nothing_is_erased_without_apply_and_a_receipt_is_partial_until_all_is_confirmed(
    given: Fixture,
) -> None:
    user = given.user()
    attempt = given.launchable(user, given.reflection(user))
    code, output, _ = run(given, "user", str(user))
    assert (code, "Nothing was erased. Add --apply" in output) == (0, True)
    assert given.attempt(attempt)["user_id"] == user
    code, output, errors = run(given, "user", str(user), "--apply", "--json")
    (receipt,) = json.loads(output)
    assert (code, receipt["status"], "follows by itself" in errors) == (1, "partial", True)
    code, output, _ = run(given, "show", receipt["erasure_id"])
    assert (code, "partial" in output, "voice-samples" in output) == (1, True, True)
    remove_voices(given)
    empty_folders(given)
    code, output, _ = run(given, "show", receipt["erasure_id"])
    assert (code, "complete" in output) == (0, True)


def test_a_saved_ledger_erases_what_a_restored_backup_brought_back(given: Fixture, tmp_path: Path) -> None:
    user, other = given.user(), given.user()
    given.launchable(user, given.reflection(user))
    kept = given.launchable(other, given.reflection(other))
    run(given, "user", str(user), "--apply")
    code, saved, _ = run(given, "ledger", "--json")
    assert code == 0
    assert str(user) not in saved
    (tmp_path / "ledger.json").write_text(saved)
    back = given.launchable(user, given.reflection(user))  # as a backup brings it back
    given.superuser.execute("delete from voice_clone.erasure_places")
    given.superuser.execute("delete from voice_clone.erasures")
    code, output, _ = run(given, "again", str(tmp_path / "ledger.json"))
    assert (code, str(user) in output, str(other) in output) == (0, True, False)
    assert given.attempt(back)["user_id"] == user
    code, output, _ = run(given, "again", str(tmp_path / "ledger.json"), "--apply", "--json")
    assert (code, json.loads(output)[0]["requested_by"]) == (1, "ledger")
    assert given.attempt(back)["user_id"] is None
    assert given.attempt(kept)["user_id"] == other
    assert str(back) in every_row(given)
    assert run(given, "again", str(tmp_path / "ledger.json"), "--apply")[0] == 0, "nobody is there again"


def test_wrong_usage_says_what_is_right(given: Fixture, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("nonsense")
    assert run(given, "show", str(uuid4())) == (0, "There is nothing to erase, or no such erasure.\n", "")
    for arguments, said in (
        (("user", "Ada", "--apply"), "an id is needed"),
        (("again",), "likeness erase ledger --json"),
        (("again", str(tmp_path / "none.json")), "likeness erase ledger --json"),
        (("reflection", str(uuid4())), "reflection"),
    ):
        code, _, errors = run(given, *arguments)
        assert (code, said in errors) == (2, True), errors
