"""The operator's view of attempts: each reason to stand still has its word and its remedy."""

import json
import os
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from backend.page.operations.findings import EXPLANATIONS
from scripts.migrations import ROOT
from tests.database.situations import fail, fail_step
from tests.fixture import Fixture
from tests.preloaded import command


def run(given: Fixture, *arguments: str, login: str = "") -> tuple[int, Any]:
    env = os.environ | {"DATABASE_URL": login or given.database.service, "COLUMNS": "300"}
    done = command("attempts", *arguments, env=env)
    return done.returncode, done.stdout or done.stderr


def shown(given: Fixture, attempt: UUID) -> Any:
    code, output = run(given, "show", str(attempt), "--json")
    assert code == 0, output
    return json.loads(output)


def finding(given: Fixture, attempt: UUID) -> str:
    return given.truth(
        "select (voice_clone.diagnose(a)).finding from public.voice_clone_attempts a where a.id = %s", attempt
    )["finding"]


def queued(given: Fixture) -> UUID:
    user = given.user()
    return given.queued(user, given.reflection(user))


def age(given: Fixture, attempt: UUID, interval: str) -> None:
    """As if nothing had happened to it for so long."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set updated_at = now() - %s::interval where id = %s",
            (interval, attempt),
        )


def consume(given: Fixture, *queues: str) -> None:
    """A consumer that is alive reads these queues."""
    given.one(
        "select voice_clone.report_consumer(%s, 'here', %s, false)", uuid4(), list(queues) or ["webhooks"]
    )


def read_by_a_consumer(given: Fixture) -> UUID:
    consume(given, "voice_clone_process")
    return queued(given)


def read_by_no_consumer(given: Fixture) -> UUID:
    consume(given)
    attempt = queued(given)
    age(given, attempt, "2 minutes")
    return attempt


def in_work(given: Fixture) -> UUID:
    attempt = queued(given)
    given.claim(attempt)
    return attempt


def left_by_its_worker(given: Fixture) -> UUID:
    attempt = in_work(given)
    given.superuser.execute("update voice_clone.deadlines set lease_expires_at = now() - interval '1 s'")
    return attempt


def not_swept(given: Fixture) -> UUID:
    attempt = in_work(given)
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now() - interval '2 minutes'")
    return attempt


def not_sweepable(given: Fixture) -> UUID:
    attempt = queued(given)
    given.superuser.execute("select voice_clone.postpone_row('attempt', %s, 'no', 'XX000')", (attempt,))
    return attempt


def dead(given: Fixture) -> UUID:
    attempt = queued(given)
    (message,) = given.messages("voice_clone_process")
    given.service.execute(
        "select voice_clone.dead_letter_messages('voice_clone_process', %s, %s, %s, %s)",
        ([message["msg_id"]], [Jsonb(message["message"])], [5], ["budget_used"]),
    )
    return attempt


def waiting_for_a_slot(given: Fixture) -> UUID:
    attempt = queued(given)
    given.superuser.execute(
        "insert into voice_clone.waiting_jobs (job_id, user_id, queue, awaits, turn_at, max_jobs)"
        " select id, user_id, 'voice_clone_process', 'slot', now(), 10"
        " from public.voice_clone_attempts where id = %s",
        (attempt,),
    )
    return attempt


def of_unknown_outcome(given: Fixture) -> UUID:
    attempt = queued(given)
    epoch = given.claim(attempt)["lease_epoch"]
    given.intend(attempt, epoch)
    given.one(
        "select * from voice_clone.requeue_attempt(%s, %s, 30, 'provider_timeout', 'No answer.', null)",
        attempt, epoch,
    )  # fmt: skip
    return attempt


def waiting_to_retry(given: Fixture) -> UUID:
    attempt = queued(given)
    epoch = given.claim(attempt)["lease_epoch"]
    given.one(
        "select * from voice_clone.requeue_attempt(%s, %s, 30, 'provider_unavailable', 'Away.', null)",
        attempt, epoch,
    )  # fmt: skip
    return attempt


def awaiting_upload(given: Fixture) -> UUID:
    user = given.user()
    return given.open(user, given.reflection(user))


def failed(given: Fixture) -> UUID:
    attempt = queued(given)
    fail(given, attempt)
    return attempt


def failed_step(step: str) -> Callable[[Fixture], UUID]:
    def make(given: Fixture) -> UUID:
        attempt = queued(given)
        given.enroll(attempt)
        fail_step(given, attempt, step)
        return attempt

    return make


def complete(given: Fixture) -> UUID:
    user = given.user()
    return given.launchable(user, given.reflection(user))


def replaced(given: Fixture) -> UUID:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    given.queued(user, reflection)
    return attempt


def unheard(given: Fixture) -> UUID:
    attempt = queued(given)
    given.enroll(attempt)
    given.one(
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
        attempt, given.step(attempt, "runtime"),
    )  # fmt: skip
    given.one(
        "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p.wav', null, null, 0, null)",
        attempt, given.step(attempt, "preview"),
    )  # fmt: skip
    return attempt


REASONS: dict[str, Callable[[Fixture], UUID]] = {
    "queued": read_by_a_consumer,
    "no_consumer": read_by_no_consumer,
    "in_work": in_work,
    "lease_ended": left_by_its_worker,
    "sweep_overdue": not_swept,
    "sweep_error": not_sweepable,
    "dead_letter": dead,
    "waits_for_slot": waiting_for_a_slot,
    "outcome_unknown": of_unknown_outcome,
    "waits_to_retry": waiting_to_retry,
    "awaits_upload": awaiting_upload,
    "failed": failed,
    "runtime_failed": failed_step("runtime"),
    "preview_failed": failed_step("preview"),
    "nothing_awaited": complete,
    "cancelled": replaced,
    "awaits_listening": unheard,
}
NO_WORDS = {"intended", "unknown", "verifying", "lost_message", "awaiting_upload", "upload", "rendered", "id"}
STUCK = {"dead_letter", "no_consumer", "lease_ended", "sweep_overdue", "sweep_error"}


@pytest.mark.parametrize("expected", REASONS)
def test_each_reason_has_its_word(given: Fixture, expected: str) -> None:
    attempt = REASONS[expected](given)
    assert finding(given, attempt) == expected
    stuck = given.one("select coalesce(array_agg(id), '{}') as ids from operations.stuck_attempts()")["ids"]
    assert stuck == ([attempt] if expected in STUCK else [])


def test_each_word_of_the_database_has_an_explanation(given: Fixture) -> None:
    source = given.truth(
        "select string_agg(prosrc, ' ') as text from pg_proc where proname in ('diagnose', 'diagnose_wait')"
    )["text"]
    words = {*re.findall(r"'([a-z_]+)'", source)} - NO_WORDS
    assert words == EXPLANATIONS.keys()


def test_one_is_shown_with_its_timeline_and_what_would_help(given: Fixture) -> None:
    attempt = of_unknown_outcome(given)
    found = shown(given, attempt)
    assert [event["events"][0] for event in found["events"]] == ["opened", "queued", "claimed", "requeued"]
    (enrollment,) = found["enrollments"]
    assert enrollment["status"] == "intended"
    assert (found["finding"]["finding"], found["finding"]["until"]) == (
        "outcome_unknown",
        enrollment["settles_at"],
    )
    assert "until then no other is made" in found["explanation"]
    assert "Reason: provider_timeout." in found["explanation"]
    code, output = run(given, "show", str(attempt))
    assert code == 0
    for text in (str(attempt), "The next try looks it up", "1 of 5 tries", enrollment["label"], "requeued"):
        assert text in output


def test_no_name_and_no_path_of_a_person_is_shown(given: Fixture) -> None:
    attempt = complete(given)
    given.superuser.execute("set session_replication_role = replica")
    given.superuser.execute("update public.voice_clone_attempts set name = 'Ada Lovelace'")
    given.superuser.execute("reset session_replication_role")
    _, output = run(given, "show", str(attempt), "--json")
    assert "Lovelace" not in output
    assert "p.wav" not in output
    assert run(given, "--json")[1].count("Lovelace") == 0


def test_the_list_is_filtered_and_read_page_by_page(given: Fixture) -> None:
    users = [given.user() for _ in range(3)]
    made = [given.queued(user, given.reflection(user)) for user in users]
    fail(given, made[0])

    def listed(*arguments: str) -> list[UUID]:
        code, output = run(given, *arguments, "--json")
        assert code == 0, output
        return [UUID(row["id"]) for row in json.loads(output)]

    newest = made[::-1]
    assert listed() == newest
    assert listed("--limit", "2") == newest[:2]
    assert listed("--limit", "2", "--before", str(newest[1])) == newest[2:]
    assert listed("--status", "failed") == listed("--error", "sample_rejected") == made[:1]
    assert listed("--owner", str(users[1])) == [made[1]]
    assert listed("--provider", "nowhere") == listed("--since", "2999-01-01") == []
    code, output = run(given, "--limit", "2")
    assert (code, f"--before {newest[1]}" in output) == (0, True)


def test_those_that_stand_still_are_listed_with_the_remedy_and_none_after_it(given: Fixture) -> None:
    assert run(given, "--stuck") == (0, "Attempts that stand still: none.\n")
    attempt = left_by_its_worker(given)
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    code, output = run(given, "--stuck")
    assert (code, str(attempt) in output, "`likeness sweep` does it at once" in output) == (0, True, True)
    env = os.environ | {"DATABASE_URL": given.database.service}
    assert command("sweep", env=env).returncode == 0
    assert given.attempt(attempt)["status"] == "queued"
    assert run(given, "--stuck") == (0, "Attempts that stand still: none.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show",), 2, "likeness attempts show ATTEMPT"),
        (("show", "nonsense"), 2, "valid UUID"),
        (("show", str(UUID(int=1))), 1, "There is no attempt 00000000"),
        (("--since", "yesterday-ish"), 1, "The database refused"),
        (("--stuck", "--provider", "qwen"), 2, "leave out the other filters"),
    ],
)
def test_wrong_usage_says_what_is_right(
    given: Fixture, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, output = run(given, *arguments)
    assert (ended, said in output) == (code, True), output


def test_an_id_is_whole_on_a_narrow_terminal(given: Fixture) -> None:
    attempt = queued(given)
    env = os.environ | {"DATABASE_URL": given.database.service, "COLUMNS": "90"}
    assert str(attempt) in command("attempts", env=env).stdout


def test_the_runbook_has_each_word() -> None:
    runbook = (ROOT / "docs/runbooks/diagnose-a-stuck-attempt.md").read_text()
    table = runbook[runbook.index("| finding |") :].partition("\n\n")[0]
    named = [word for line in table.splitlines() for word in re.findall(r"`([a-z_]+)`", line.split("|")[1])]
    assert sorted(named) == sorted(EXPLANATIONS)
