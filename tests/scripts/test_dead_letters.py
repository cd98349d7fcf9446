"""The operator's dead letters: listed with their reason, sent again once, or forgotten."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.fixture import Fixture
from tests.preloaded import command


def run(given: Fixture, *arguments: str) -> tuple[int, str]:
    env = os.environ | {"DATABASE_URL": given.database.service, "COLUMNS": "200"}
    done = command("dead-letters", *arguments, env=env)
    return done.returncode, done.stdout + done.stderr


def listed(given: Fixture, *arguments: str) -> list[dict[str, Any]]:
    code, output = run(given, *arguments, "--json")
    assert code == 0, output
    return json.loads(output)


def bury(given: Fixture, queue: str, *subjects: str) -> None:
    """Dead letters about these, the first the oldest."""
    bodies = [{"event": queue.upper(), "id": subject, "version": 1} for subject in subjects]
    sent = given.one(
        "select voice_clone.send_messages(%s, %s, 0) as ids", queue, [Jsonb(body) for body in bodies]
    )["ids"]
    given.service.execute(
        "select voice_clone.dead_letter_messages(%s, %s, %s, %s, %s)",
        (queue, sent, [Jsonb(body) for body in bodies], [5 for _ in sent], ["budget_used" for _ in sent]),
    )


def test_they_are_listed_the_newest_first_with_their_reason(given: Fixture) -> None:
    assert run(given) == (0, "Dead letters: none.\n")
    bury(given, "voice_preview", "first", "second")
    bury(given, "voice_mirror", "third")
    letters = listed(given)
    assert [letter["subject"] for letter in letters] == ["third", "second", "first"]
    assert {(letter["reason"], letter["reads"]) for letter in letters} == {("budget_used", 5)}
    assert [letter["subject"] for letter in listed(given, "--queue", "voice_mirror")] == ["third"]
    assert [letter["subject"] for letter in listed(given, "--limit", "1")] == ["third"]
    code, output = run(given)
    assert (code, "budget_used" in output, "voice_preview" in output) == (0, True, True)
    code, output = run(given, "show", str(letters[0]["id"]))
    assert (code, json.loads(output)[0]["message"]["event"]) == (0, "VOICE_MIRROR")


def test_redrive_changes_nothing_before_apply_and_sends_each_once(given: Fixture) -> None:
    bury(given, "voice_preview", "first", "second")
    assert "Nothing was changed. Add --apply" in run(given, "redrive")[1]
    assert (len(listed(given)), given.messages("voice_preview")) == (2, [])
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: listed(given, "redrive", "--apply"), range(2)))
    assert sorted(letter["subject"] for done in both for letter in done) == ["first", "second"]
    sent = [message["message"]["id"] for message in given.messages("voice_preview")]
    assert sorted(sent) == ["first", "second"]
    assert listed(given) == []
    assert run(given, "redrive", "--apply") == (0, "Dead letters that were sent again: none.\n")


def test_drop_forgets_those_that_are_named_and_sends_nothing(given: Fixture) -> None:
    bury(given, "voice_preview", "first", "second", "third")
    chosen = [str(letter["id"]) for letter in listed(given)[:2]]
    assert "these are forgotten" in run(given, "drop", *chosen)[1]
    assert [letter["subject"] for letter in listed(given, "drop", *chosen, "--apply")] == ["second", "third"]
    assert [letter["subject"] for letter in listed(given)] == ["first"]
    assert given.messages("voice_preview") == []


def test_a_redriven_message_is_about_the_same_and_a_consumer_reads_it(given: Fixture) -> None:
    subject = str(uuid4())
    bury(given, "voice_mirror", subject)
    run(given, "redrive", "--queue", "voice_mirror", "--apply")
    (message,) = given.messages("voice_mirror")
    assert message["message"].pop("enqueued_at"), "it is not older than its way back"
    assert message["message"] == {"event": "VOICE_MIRROR", "id": subject, "version": 1}


def test_hundreds_are_sent_page_by_page(given: Fixture) -> None:
    bury(given, "voice_mirror", *(f"subject {number}" for number in range(1200)))
    code, output = run(given, "redrive", "--limit", "5000", "--apply", "--json")
    assert (code, "1200 of 1200 letters" in output) == (0, True)
    assert given.truth("select count(*) from pgmq.q_voice_mirror")["count"] == 1200
    assert listed(given) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show",), 2, "show needs ids"),
        (("redrive", "7", "--apply"), 1, "There is no dead letter 7."),
        (("--queue", "nowhere"), 1, "there is no queue nowhere"),
        (("burn",), 2, "burn"),
    ],
)
def test_wrong_usage_says_what_is_right(
    given: Fixture, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, output = run(given, *arguments)
    assert (ended, said in output) == (code, True), output
