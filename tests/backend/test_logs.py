"""Logs: secrets are removed in linear time, long values are cut, and nothing reaches a terminal unescaped."""

import logging
import time

import pytest
import structlog

from backend.web.logs import (
    LONGEST_VALUE,
    POOL_SECONDS,
    REDACTED,
    Seldom,
    bound_values,
    configure_logging,
    escape_control,
    redact_text,
)

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"a {TOKEN} b",
        f'{{"a":"\\n{TOKEN}"}}',
        f"x{TOKEN}",
        TOKEN.replace(".", ".eyJ"),
        TOKEN.split(".")[0],
    ],
)
def test_a_token_is_redacted_wherever_it_begins(text: str) -> None:
    redacted = redact_text(None, "", text)
    assert REDACTED in redacted
    for part in TOKEN.split("."):
        assert part not in redacted


@pytest.mark.parametrize("text", ["heyjude-and-more-than-sixteen", "eyJ", "the keyJoint"])
def test_what_only_looks_like_a_token_stays(text: str) -> None:
    assert redact_text(None, "", text) == text


@pytest.mark.parametrize(
    "part", ["eyJ", "eyJa.", "sk-", "Bearer ", "://a:", "://a", "?token", "&-", "?a-token=", "sk-eyJ?://"]
)
def test_the_search_for_secrets_takes_linear_time(part: str) -> None:
    def seconds(length: int) -> float:
        text = part * (length // len(part))
        started = time.thread_time()
        redact_text(None, "", text)
        return time.thread_time() - started

    short, long = 16_000, 256_000
    ratio = min(seconds(long) for _ in range(3)) / min(seconds(short) for _ in range(3))
    assert ratio < 5 * long / short


def test_a_long_value_is_cut_and_keeps_its_end() -> None:
    event = bound_values(
        None, "", {"event": "x", "reason": "a" * 1_000_000 + "the end", "body": b"b" * 100_000}
    )
    assert len(event["reason"]) <= LONGEST_VALUE
    assert event["reason"].endswith("the end")
    assert len(event["body"]) <= LONGEST_VALUE


def test_a_terminal_gets_no_control_characters() -> None:
    event = escape_control(None, "", {"event": "x", "reason": "a\r\x1b[2Jb\u2028\x9bc\n"})
    assert event["reason"] == "a\\x0d\\x1b[2Jb\\x2028\\x9bc\n"


@pytest.mark.parametrize("layout", ["json", "console"])
def test_every_log_line_goes_through_these_steps(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", layout)
    try:
        log = structlog.stdlib.get_logger("likeness")
        log.info("probe", reason=f"\x1b[2J {TOKEN}", more="x" * 100_000)
    finally:
        structlog.reset_defaults()
    line = capsys.readouterr().err
    assert "\x1b[2J" not in line
    assert "eyJ" not in line
    assert len(line) < 2 * LONGEST_VALUE


def test_a_pool_that_tries_to_connect_warns_once_in_a_while() -> None:
    seldom = Seldom()

    def passes(template: str, parameter: str, at: float) -> bool:
        record = logging.LogRecord("psycopg.pool", logging.WARNING, "", 0, template, (parameter,), None)
        record.created = at
        return seldom.filter(record)

    assert passes("error connecting: %s", "refused", 1000.0)
    assert not passes("error connecting: %s", "no route", 1001.0)
    assert passes("discarding connection: %s", "closed", 1002.0)
    assert passes("error connecting: %s", "refused", 1000.0 + POOL_SECONDS)
