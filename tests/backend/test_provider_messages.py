"""What a provider says in an error reaches operators: bounded, in one line, without secrets and people."""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import structlog

from backend.lifecycle.cleanup import clean_up
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.providers.base import ErrorKind, ProviderError, new_label
from backend.providers.http import Call, Failure, opaque
from backend.providers.messages import LONGEST, for_operators
from backend.web.http_client import HttpClient
from tests.backend.adapters import ADAPTERS, SELF_HOSTED, enrolling
from tests.backend.storages import embedded_storage
from tests.backend.workers import PROVIDER, Workers, workers
from tests.fixture import Fixture
from tests.preloaded import command
from tests.simulators import CARTESIA_KEY, ELEVENLABS_KEY, MODAL_KEY, QWEN_KEY, Simulator

KEYS = {
    "qwen": QWEN_KEY,
    "elevenlabs": ELEVENLABS_KEY,
    "cartesia": CARTESIA_KEY,
    "modal": MODAL_KEY,
    "pipecat": "sk-of-another-account-1",
}
NAME, TRANSCRIPT = "Ada Lovelace", "My grandmother kept bees behind the old mill in Ghent."
SIGNED = "https://abc.supabase.co/storage/v1/object/sign/voice-samples/u/s.wav?token=eyJhbGciOi.eyJ1cmwi.c2ln"
PRIVATE = (
    "supabase.co",
    "eyJhbGciOi",
    "ada@example.org",
    "Lovelace",
    "grandmother",
    "4917012345678",
    "10.1.2.3",
)
CONTROL = re.compile(r"[^\x20-\x7e…]")


def hostile(key: str, words: str = "") -> str:
    """All that such a message may hold, with something to read in front, and 100,000 characters in all."""
    told = (
        f"\x1b[31mThe sample is refused\x1b[0m\x1b]0;owned\x07 \x00\u202e\u2028by\r\nrule 7. "
        f"key={key} {key} {SIGNED} ada@example.org +4917012345678 10.1.2.3 {words} "
    )
    return told + "x" * 100_000 + key


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


async def error_of(
    providers: Simulator, client: HttpClient, name: str, fault: str, **how: object
) -> ProviderError:
    providers.reset()
    adapter = ADAPTERS[name](providers, client)
    providers.fault(name, "check" if name in SELF_HOSTED else "create", fault, **how)
    with pytest.raises(ProviderError) as raised:
        await adapter.enroll(enrolling(new_label(), name=NAME, transcript=TRANSCRIPT))
    return raised.value


@pytest.mark.parametrize("name", ADAPTERS)
async def test_a_hostile_message_is_one_short_line_without_secrets_and_people(
    providers: Simulator, client: HttpClient, name: str
) -> None:
    key = KEYS[name]
    error = await error_of(
        providers,
        client,
        name,
        "error",
        status=401,
        code=key,
        message=hostile(key, f"{NAME} said '{TRANSCRIPT}'"),
    )
    said = error.provider_message or ""
    assert said.startswith("The sample is refused by rule 7."), said
    assert len(said) <= LONGEST
    assert CONTROL.search(said) is None
    for text in (said, str(error), repr(error), *map(str, error.args)):
        assert key not in text
        assert [part for part in PRIVATE if part in text] == []
    assert key not in error.message
    assert "rule 7" not in error.message  # that is what a client reads


SAID = {
    ("qwen", "throttled"): (
        429,
        "Throttling.RateQuota",
        "Requests rate limit exceeded, please try again later.",
    ),
    ("elevenlabs", "wrong_key"): (401, "invalid_api_key", "Invalid API key"),
    ("elevenlabs", "slots_full"): (
        *(400, "voice_limit_reached"),
        "You have reached your maximum amount of custom voices (10 / 10).",
    ),
    ("cartesia", "throttled"): (
        *(429, "concurrency_limited"),
        "You have exceeded your plan's concurrency limit.",
    ),
    ("cartesia", "wrong_key"): (401, None, "The API key is not valid."),
    ("modal", "unavailable"): (503, "starting", "The model is being loaded."),
    ("pipecat", "throttled"): (429, "overloaded", "Every worker is busy."),
}


@pytest.mark.parametrize(("name", "fault"), SAID)
async def test_what_each_provider_says_is_kept_as_it_was_said(
    providers: Simulator, client: HttpClient, name: str, fault: str
) -> None:
    error = await error_of(providers, client, name, fault)
    assert (error.status, error.provider_code, error.provider_message) == SAID[name, fault]
    assert error.request_id
    assert f"{error.request_id}): {error.provider_message}" in str(error)


@pytest.mark.parametrize("name", ADAPTERS)
async def test_the_page_of_a_gateway_is_read_as_text(
    providers: Simulator, client: HttpClient, name: str
) -> None:
    error = await error_of(providers, client, name, "bad_gateway")
    assert error.status == 502
    assert "502 Bad Gateway" in (error.provider_message or "")
    assert "<" not in str(error)


TEXTS = {
    "Requests rate limit exceeded, please try again later.": None,
    "The audio is too short: 1.2 s of 3 s (24000 Hz).": None,
    "You have reached your maximum amount of custom voices (10 / 10).": None,
    "Incorrect API key provided: hunter2-hunter2": "Incorrect API key provided: [redacted]",
    '{"api_key": "hunter2", "at": 1}': '{"api_key": [redacted]", "at": 1}',
    "See https://u:p@host/a?sig=1 and www.example.org/b.": "See [url] and [url]",
    "No sample in data:audio/wav;base64,UklGRg": "No sample in [url]",
    "Authorization: Bearer 0123456789abcdef": "Authorization: Bearer [redacted]",
    "from 2001:db8:0:0:1::2 or 10.0.0.1": "from [address] or [address]",
    "call 030 123 4567 or +49 (30) 123-4567": "call [number] or [number]",
    "a\tb\u200b\ufeffc \u009b31md": "a bc d",
    "\x1b[": None,
    " \n ": None,
}


@pytest.mark.parametrize("text", TEXTS)
def test_only_what_is_private_is_taken_out(text: str) -> None:
    whole = text if text.isprintable() and text.strip() else None
    assert for_operators(text) == (TEXTS[text] or whole)


def test_what_was_sent_is_not_quoted_and_what_is_no_text_says_nothing() -> None:
    spoken = "Hello, my name is Ada and I live in Ghent."
    assert for_operators(f"Not allowed: {spoken[3:]}", [spoken, None, ""]) == "Not allowed: [quoted]"
    assert for_operators("Not allowed: 你好我是艾达", ["你好我是艾达"]) == "Not allowed: [quoted]"
    for value in (None, 7, ["x"], {"a": "b"}, b"x", ""):
        assert for_operators(value) is None


def test_a_code_and_a_request_id_are_no_way_around_it() -> None:
    call = Call(provider="x", seconds=1, sent=("0123456789abcdef",))
    failure = Failure(ErrorKind.REJECTED, "provider_rejected", "No.")
    error = call.error(failure, provider_code="0123456789abcdef", request_id="sk-0123456789abcdef")
    assert (error.provider_code, error.request_id) == (None, None)
    assert opaque("Audio.DecoderError") == "Audio.DecoderError"
    assert opaque("0f6d4a2e-8d2c-4b0f-9d7e-1f2a3b4c5d6e") is not None


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    providers.reset()
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


def shown(worker: Workers) -> tuple[list[dict[str, Any]], str]:
    """What `attempts show` says of the provider, as JSON and as a table."""
    env = os.environ | {"DATABASE_URL": worker.given.database.service, "COLUMNS": "400"}
    found = [command("attempts", "show", str(worker.attempt), *form, env=env) for form in (["--json"], [])]
    assert [done.returncode for done in found] == [0, 0]
    return json.loads(found[0].stdout)["provider_errors"], found[1].stdout


def being_removed(worker: Workers) -> UUID:
    """The enrollment of the attempt's voice, as a removal leaves it whose outcome is unknown."""
    with worker.given.superuser.transaction():
        worker.given.superuser.execute("set local session_replication_role = replica")
        return worker.given.truth(
            "update voice_clone.enrollments set status = 'removing'"
            " where attempt_id = %s and status = 'attached' returning id",
            worker.attempt,
        )["id"]


async def test_each_step_keeps_what_the_provider_answered_for_attempts_show(
    worker: Workers, providers: Simulator
) -> None:
    """And the log says it; a client and the row that a client reads do not."""
    context, attempt = worker.context, worker.attempt
    said = hostile(ELEVENLABS_KEY)

    def fail(operation: str, times: int, code: str) -> None:
        providers.fault(PROVIDER, operation, "error", times=times, status=429, code=code, message=said)

    with structlog.testing.capture_logs() as logged:
        fail("create", 2, "system_busy")
        fail("get", 1, "rate_limit_exceeded")
        for _ in range(3):
            await process_attempt(context, attempt)
            worker.pass_time()
        assert (worker.row["status"], worker.row["runtime_status"]) == ("ready", "pending")
        await sync_runtime(context, attempt)
        fail("speech", 1, "concurrent_limit_exceeded")
        await render_preview(context, attempt)
        worker.pass_time()
        await render_preview(context, attempt)
        assert worker.row["preview_status"] == "rendered"
        enrollment = being_removed(worker)
        fail("get", 1, "rate_limit_exceeded")
        await clean_up(context, enrollment)
    rows, table = shown(worker)
    assert [(row["step"], row["provider_code"], row["count"]) for row in rows] == [
        ("process", "system_busy", 2),
        ("runtime_sync", "rate_limit_exceeded", 1),
        ("preview", "concurrent_limit_exceeded", 1),
        ("cleanup", "rate_limit_exceeded", 1),
    ]
    for row in rows:
        assert (row["http_status"], row["error_code"], row["provider"]) == (
            429,
            "provider_throttled",
            PROVIDER,
        )
        assert row["request_id"]
        assert row["message"].startswith("The sample is refused by rule 7.")
        assert row["request_id"] in table
    lines = [str(line["error"]) for line in logged if line["event"] in ("provider_failed", "cleanup_failed")]
    assert [line.count("refused by rule 7.") for line in lines] == [1] * 5
    seen = json.dumps([rows, logged], default=str) + table
    assert [part for part in (*PRIVATE, ELEVENLABS_KEY, "\\u001b", "\x1b", "x" * 400) if part in seen] == []
    assert "rule 7" not in json.dumps([worker.row, worker.enrollments()], default=str)


def test_an_attempt_keeps_twenty_and_none_for_ever(given: Fixture) -> None:
    user = given.user()
    attempt, other = given.queued(user, given.reflection(user)), given.open(user, None)
    note = "select voice_clone.note_provider_error(%s, 'process', 'local', 'x', 429, %s, 'm', %s)"
    given.one(note, other, "old", None)
    given.superuser.execute("update voice_clone.provider_errors set last_at = now() - interval '91 d'")
    for number in range(25):
        given.one(note, attempt, str(number), f"r{number}")
    given.one(note, attempt, "24", None)
    rows = given.superuser.execute("select * from voice_clone.provider_errors order by id").fetchall()
    assert [row["provider_code"] for row in rows] == [str(number) for number in range(5, 25)]
    assert (rows[-1]["count"], rows[-1]["request_id"]) == (2, "r24")
    given.superuser.execute("select operations.erase('user', %s)", (user,))
    assert given.truth("select count(*) from voice_clone.provider_errors")["count"] == 0
