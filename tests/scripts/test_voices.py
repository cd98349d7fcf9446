"""The operator moves the voices of a provider: the listing, a run, a repeated and an interrupted one."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec import to_builtins
from psycopg.types.json import Jsonb

from backend.audio.inspect import AudioInspector
from scripts.migrations import ROOT
from tests.database.situations import custom_voice, fail
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture, Row
from tests.preloaded import command
from tests.simulators import spoken_sample

NOWHERE = "http://127.0.0.1:1"  # the command calls no provider and no Storage
REGION = "singapore"
SETTINGS = {
    "SUPABASE_URL": NOWHERE,
    "SUPABASE_SECRET_KEY": "sb_secret_of_this_very_test",
    "SUPABASE_JWT_SECRET": "a secret of more than thirty-two letters",
    "INTERNAL_TOKEN": "internal-token-of-forty-letters-or-so-00",
    "MODAL_URL": NOWHERE,
    "MODAL_API_KEY": "sim-modal-0123456789",
}
QWEN = {"QWEN_API_KEY": "sk-sim-0123456789", "QWEN_REGION": REGION, "QWEN_BASE_URL": NOWHERE}
STATEMENT = ("voices", "move", "--from", "qwen", "--to", "modal")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.wav"
    path.write_bytes(spoken_sample(8.0))
    return path


@pytest.fixture(scope="session")
async def measures(sample: Path) -> dict[str, Any]:
    """What is stored of a sample that passed."""
    inspector = AudioInspector()
    found = to_builtins(await inspector.inspect(sample))
    await inspector.aclose()
    return found


class Voices:
    """Voices at Qwen, and the command."""

    def __init__(self, given: Fixture, measures: dict[str, Any]) -> None:
        self.given = given
        self.measures = measures

    def launched(self, user: UUID | None = None) -> tuple[UUID, UUID]:
        """The attempt's reflection can be launched; (attempt, reflection)."""
        user = user or self.given.user()
        reflection = self.given.reflection(user)
        return self.at_qwen(self.given.launchable(user, reflection)), reflection

    def library(self) -> UUID:
        attempt = self.given.queued(self.given.user(), None)
        self.given.enroll(attempt)
        return self.at_qwen(attempt)

    def custom(self) -> UUID:
        """A stock voice, of which there is no sample."""
        user = self.given.user()
        return self.at_qwen(custom_voice(self.given, user, self.given.reflection(user)))

    def at_qwen(self, attempt: UUID, **changed: Any) -> UUID:
        execute = self.given.superuser.execute
        execute(
            "update public.voices set tts_provider = 'qwen', provider_region = %s where attempt_id = %s",
            (REGION, attempt),
        )
        with self.given.superuser.transaction():
            execute("set local session_replication_role = replica")  # what was measured never changes
            execute(
                "update public.voice_samples set measures = %s"
                " where id = (select sample_id from public.voice_clone_attempts where id = %s)",
                (Jsonb({**self.measures, **changed}), attempt),
            )
        return attempt

    def voice(self, attempt: UUID) -> Row:
        return self.given.truth("select * from public.voices where attempt_id = %s", attempt)

    def new_attempt(self, attempt: UUID) -> Row:
        return self.given.truth(
            "select * from public.voice_clone_attempts where voice_id = %s", self.voice(attempt)["moved_to"]
        )

    async def start(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts", *STATEMENT, *arguments),
            cwd=ROOT,
            env=self.environment(settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, **settings: str) -> tuple[int | None, str]:
        env = self.environment(settings)
        done = await asyncio.to_thread(command, *STATEMENT, *arguments, env=env)
        return done.returncode, done.stdout or done.stderr

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        database = {"DATABASE_URL": self.given.database.service, "COLUMNS": "240"}
        return os.environ | database | SETTINGS | QWEN | settings

    async def outcomes(self, *arguments: str, **settings: str) -> tuple[int | None, dict[UUID, str]]:
        """By voice; with the code where there is one."""
        code, output = await self.run("--json", *arguments, **settings)
        rows: list[dict[str, Any]] = json.loads(output)
        told = {row["voice_id"]: f"{row['outcome']} {row.get('code') or ''}".strip() for row in rows}
        return code, {UUID(voice): outcome for voice, outcome in told.items()}

    async def outcome(self, attempt: UUID, *arguments: str, **settings: str) -> tuple[int | None, str]:
        code, found = await self.outcomes(*arguments, **settings)
        return code, found[self.voice(attempt)["id"]]


@pytest.fixture
def voices(given: Fixture, measures: dict[str, Any]) -> Voices:
    return Voices(given, measures)


async def test_without_apply_it_lists_and_changes_nothing(voices: Voices) -> None:
    assert await voices.run() == (0, "No voice is there.\n")
    attempt, _ = voices.launched()
    before = voices.voice(attempt)
    code, output = await voices.run()
    assert code == 0
    for text in (str(before["id"]), "movable: 1 (would be moved)", "Nothing was changed. Add --apply"):
        assert text in output
    assert voices.voice(attempt) == before
    assert voices.given.truth("select count(*) from public.voice_clone_attempts")["count"] == 1


async def test_a_run_moves_them_beside_and_a_repeated_one_says_where_each_stands(voices: Voices) -> None:
    attempt, reflection = voices.launched()
    single = voices.library()
    code, found = await voices.outcomes("--apply")
    assert (code, Counter(found.values())) == (0, Counter({"queued": 2}))
    new = voices.new_attempt(attempt)
    assert (new["provider"], new["source"], new["reflection_id"]) == ("modal", "operator_move", None)
    assert voices.given.attempt(attempt)["is_active"], "what works keeps working"
    code, found = await voices.outcomes("--apply")
    assert (code, Counter(found.values())) == (0, Counter({"moving": 2}))
    for each in (attempt, single):
        voices.given.enroll(voices.new_attempt(each)["id"])
    code, found = await voices.outcomes("--apply")
    assert (code, found) == (
        0, {voices.voice(attempt)["id"]: "beside", voices.voice(single)["id"]: "moved"},
    )  # fmt: skip
    assert voices.given.attempt(attempt)["reflection_id"] == reflection


async def test_reflections_change_over_once_the_provider_is_not_set_up(voices: Voices) -> None:
    attempt, reflection = voices.launched()
    await voices.outcomes("--apply")
    voices.given.enroll(voices.new_attempt(attempt)["id"])
    unmoved, other = voices.launched()
    away = dict.fromkeys(QWEN, "")
    code, found = await voices.outcomes(**away)
    assert code == 0
    assert found == {voices.voice(attempt)["id"]: "switchable", voices.voice(unmoved)["id"]: "movable"}
    code, found = await voices.outcomes("--apply", **away)
    assert code == 0
    assert found == {voices.voice(attempt)["id"]: "switched", voices.voice(unmoved)["id"]: "queued"}
    active = "select * from public.voice_clone_attempts where reflection_id = %s and is_active"
    assert voices.given.truth(active, reflection)["source"] == "custom_voice"
    assert voices.given.truth(active, other)["id"] == voices.new_attempt(unmoved)["id"]
    for each in (reflection, other):
        assert voices.given.truth(active, each)["preview_status"] == "required", "it was not heard yet"


async def test_reflections_change_over_when_told_so(voices: Voices) -> None:
    attempt, reflection = voices.launched()
    assert await voices.outcome(attempt, "--apply", "--switch-now") == (0, "queued")
    assert voices.new_attempt(attempt)["reflection_id"] == reflection


async def test_a_voice_that_cannot_be_moved_says_why_and_stops_no_other(voices: Voices) -> None:
    good = voices.library()
    removed, short, foreign = voices.library(), voices.library(), voices.custom()
    voices.at_qwen(short, seconds=1.0)
    execute = voices.given.superuser.execute
    execute(
        "update public.voice_samples set status = 'removed', removed_at = now()"
        " where id = (select sample_id from public.voice_clone_attempts where id = %s)", (removed,),
    )  # fmt: skip
    code, found = await voices.outcomes("--apply")
    assert code == 1
    assert found == {
        voices.voice(good)["id"]: "queued",
        voices.voice(removed)["id"]: "refused sample_missing",
        voices.voice(short)["id"]: "refused sample_too_short",
        voices.voice(foreign)["id"]: "refused voice_without_sample",
    }


async def test_what_exceeds_the_limit_waits_for_the_next_run(voices: Voices) -> None:
    for _ in range(3):
        voices.library()
    code, found = await voices.outcomes("--apply", "--limit", "2")
    assert (code, Counter(found.values())) == (3, Counter({"queued": 2, "later limit": 1}))
    code, found = await voices.outcomes("--apply", "--limit", "2")
    assert (code, Counter(found.values())) == (0, Counter({"moving": 2, "queued": 1}))


async def test_a_provider_that_is_full_is_tried_again_in_the_next_run(voices: Voices) -> None:
    for _ in range(3):
        voices.library()
    voices.given.one("select voice_clone.set_slots('modal', '', 1)")
    code, found = await voices.outcomes("--apply")
    assert (code, Counter(found.values())) == (3, Counter({"queued": 1, "later provider_full": 2}))
    voices.given.one("select voice_clone.set_slots('modal', '', null)")
    code, found = await voices.outcomes("--apply")
    assert (code, Counter(found.values())) == (0, Counter({"moving": 1, "queued": 2}))


async def test_a_user_with_too_many_unfinished_attempts_waits_and_no_other(voices: Voices) -> None:
    attempt, other = voices.library(), voices.library()
    user = voices.given.attempt(attempt)["user_id"]
    for _ in range(20):
        voices.given.queued(user, None)
    code, found = await voices.outcomes("--apply")
    assert code == 3
    assert found[voices.voice(attempt)["id"]] == "later too_many_open_uploads"
    assert found[voices.voice(other)["id"]] == "queued"


async def test_a_move_that_failed_is_listed_with_the_reason_and_made_again(voices: Voices) -> None:
    attempt = voices.library()
    await voices.outcomes("--apply")
    failed = voices.new_attempt(attempt)["id"]
    fail(voices.given, failed)
    assert await voices.outcome(attempt) == (0, "movable sample_rejected")
    assert await voices.outcome(attempt, "--apply") == (0, "queued")
    assert voices.new_attempt(attempt)["id"] != failed


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGKILL])
async def test_a_run_that_is_interrupted_or_killed_is_continued_by_the_next(
    voices: Voices, ended: signal.Signals
) -> None:
    """Ids decide the order, so that the voice of the locked user is the last."""
    attempts = {voices.voice(attempt)["id"]: attempt for attempt in (voices.library() for _ in range(3))}
    last = attempts[max(attempts)]
    user = voices.given.attempt(last)["user_id"]
    with voices.given.superuser.transaction():
        voices.given.superuser.execute("select from auth.users where id = %s for update", (user,))
        process = await voices.start("--apply")
        waiting = "select from pg_locks where not granted"
        while voices.given.superuser.execute(waiting).fetchone() is None:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.send_signal(ended)
        _, errors = await process.communicate()
    if ended == signal.SIGINT:
        assert process.returncode == 130, errors
        assert b"Run the command again" in errors
    else:
        assert process.returncode == -ended
    code, found = await voices.outcomes("--apply")
    rest = found.pop(voices.voice(last)["id"])
    assert (code, Counter(found.values())) == (0, Counter({"moving": 2}))
    # Postgres may end the statement of a client that was killed.
    assert rest == "queued" or (ended == signal.SIGKILL and rest == "moving")
    code, found = await voices.outcomes("--apply")
    assert (code, Counter(found.values())) == (0, Counter({"moving": 3}))


async def test_two_runs_at_once_move_each_voice_once(voices: Voices) -> None:
    attempts = [voices.library() for _ in range(6)]
    runs = await asyncio.gather(*(voices.outcomes("--apply") for _ in range(2)))
    assert [code for code, _ in runs] == [0, 0]
    assert sum(Counter(found.values())["queued"] for _, found in runs) == len(attempts)
    made = voices.given.truth("select count(*) from public.voice_clone_attempts where moved_from is not null")
    assert made["count"] == len(attempts)


async def test_it_says_what_is_not_set(voices: Voices) -> None:
    code, output = await voices.run(SUPABASE_SECRET_KEY="")
    assert code == 2
    assert "SUPABASE_SECRET_KEY is missing" in output
    code, output = await voices.run(MODAL_URL="", MODAL_API_KEY="")
    assert code == 2
    assert "not set up here" in output
    code, output = await voices.run("--apply", DATABASE_URL="postgresql://nobody@127.0.0.1:1/postgres")
    assert code == 1
    assert "The database refused" in output
    assert "can be repeated" in output
    code, output = await voices.run("--apply", DATABASE_URL="")
    assert code == 1
    assert "cannot be reached" in output
    assert "can be repeated" in output
    code, output = await voices.run(PREVIEW_REQUIRED="perhaps")
    assert code == 2
    assert "PREVIEW_REQUIRED" in output


async def test_voices_of_employees_are_moved_in_the_same_run(given: Fixture, voices: Voices) -> None:
    acme = Staffed(given)
    superseded, working = (voices.at_qwen(acme.launchable()) for _ in range(2))
    attempt, _ = voices.launched()
    given.superuser.execute(
        "update public.voice_clone_attempts set provider = 'qwen', region = %s where employee_id = %s",
        (REGION, acme.employee),
    )
    code, found = await voices.outcomes("--apply")
    users, former, own = (voices.voice(each)["id"] for each in (attempt, superseded, working))
    assert code == 1
    assert found == {users: "queued", former: "refused voice_superseded", own: "refused switch_required"}
    assert (await voices.outcomes("--apply", "--switch-now"))[1][own] == "queued"
    made = voices.new_attempt(working)
    assert (made["employee_id"], made["org_id"]) == (acme.employee, acme.id)
    assert (made["provider"], made["status"], made["source"]) == ("modal", "queued", "operator_move")
    assert given.attempt(working)["cancel_reason"] == "superseded"
