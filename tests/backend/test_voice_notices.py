"""Notices of ElevenLabs: signed, and believed about the voice that they name."""

import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.backend.conftest import Served, served
from tests.database.test_lost_voices import gate, voice_of
from tests.fixture import Fixture

SECRET = "wsec_of_this_test"
PATH = "/elevenlabs/voices"
SETTINGS = {"ELEVENLABS_API_KEY": "a-key-of-nobody", "ELEVENLABS_WEBHOOK_SECRET": SECRET}
AT_ELEVENLABS = """
set local session_replication_role = replica;
update public.voice_clone_attempts set provider = 'elevenlabs', region = 'global';
update public.voices set tts_provider = 'elevenlabs', provider_region = 'global';
update voice_clone.enrollments set provider = 'elevenlabs', region = 'global'
"""
OLD = "update public.voice_clone_attempts set ready_at = ready_at - interval '5 minutes'"


def signature(body: bytes, at: float | None = None, secret: str = SECRET) -> str:
    seconds = int(time.time() if at is None else at)
    return f"t={seconds},v0={hmac.digest(secret.encode(), b'%d.' % seconds + body, 'sha256').hex()}"


def notice(voice: str, kind: str = "voice_removed") -> bytes:
    return json.dumps({"type": kind, "event_timestamp": "1", "data": {"voice_id": voice}}).encode()


async def send(service: Served, body: bytes, header: str | None = None) -> httpx.Response:
    given = {} if header == "" else {"elevenlabs-signature": header or signature(body)}
    return await service.http.post(PATH, content=body, headers={"content-type": "application/json", **given})


@asynccontextmanager
async def launched(given: Fixture, logs: Path) -> AsyncIterator[tuple[Served, UUID, UUID, UUID, str]]:
    """A service, and the user, reflection, attempt and provider voice of a launchable voice at ElevenLabs."""
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    with given.superuser.transaction():
        for statement in (*AT_ELEVENLABS.split(";"), OLD):
            given.superuser.execute(statement.encode())
    async with served(logs, given.database.service, **SETTINGS) as service:
        yield service, user, reflection, attempt, voice_of(given, attempt)["provider_voice_id"]


async def test_a_removed_voice_closes_its_gate_at_once_and_once(given: Fixture, tmp_path: Path) -> None:
    async with launched(given, tmp_path) as (service, user, reflection, attempt, voice):
        for kind in ("voice_removal_notice", "voice_removal_notice_withdrawn", "post_call_transcription"):
            assert (await send(service, notice(voice, kind))).status_code == 204
        assert (await send(service, notice("another"))).status_code == 204
        assert gate(given, reflection, user) == []
        for _ in range(2):
            answer = await send(service, notice(voice))
            assert (answer.status_code, answer.content) == (204, b"")
            assert gate(given, reflection, user) == ["clone_failed", "voice_lost"]
        assert given.attempt(attempt)["error_code"] == "voice_lost"
        events = given.superuser.execute(
            "select count(*) from voice_clone.events where 'voice_lost' = any (events)"
        )
        assert events.fetchall() == [{"count": 1}]


async def test_a_notice_says_nothing_of_a_voice_that_was_made_after_it(
    given: Fixture, tmp_path: Path
) -> None:
    async with launched(given, tmp_path) as (service, user, reflection, _, voice):
        body = notice(voice)
        assert (await send(service, body, signature(body, time.time() - 600))).status_code == 204
        assert gate(given, reflection, user) == []


async def test_what_is_not_signed_by_this_webhook_changes_nothing(given: Fixture, tmp_path: Path) -> None:
    async with launched(given, tmp_path) as (service, user, reflection, _, voice):
        body, now = notice(voice), time.time()
        right = signature(body)
        forged = [
            "", "t=1", "v0=", ",,,", "t=,v0=", right.replace("v0=", "v1="), right[:-1], "=" * 5000,
            signature(body, secret="another"), signature(b"{}"), signature(body, now - 3600),
            signature(body, now + 3600), right.replace("t=", "t=0"),
        ]  # fmt: skip
        for header in forged:
            answer = await send(service, body, header)
            assert (answer.status_code, answer.json()["code"]) == (403, "signature_refused"), header
        assert gate(given, reflection, user) == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"type":1}', b'{"type":"voice_removed","data":{"voice_id":7}}', b"\xff"]
)
async def test_what_is_signed_and_no_notice_is_refused(tmp_path: Path, given: Fixture, body: bytes) -> None:
    async with served(tmp_path, given.database.service, **SETTINGS) as service:
        answer = await send(service, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


async def test_a_notice_that_names_no_voice_changes_nothing(given: Fixture, tmp_path: Path) -> None:
    async with launched(given, tmp_path) as (service, user, reflection, _, _):
        for data in ({}, {"data": {}}, {"data": {"voice_id": None}}):
            body = json.dumps({"type": "voice_removed", **data}).encode()
            assert (await send(service, body)).status_code == 204
        assert gate(given, reflection, user) == []


async def test_without_the_secret_there_is_no_such_route(given: Fixture, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SETTINGS, "ELEVENLABS_WEBHOOK_SECRET": ""}
    async with served(tmp_path, given.database.service, **settings) as service:
        answer = await send(service, notice("x"), signature(notice("x"), secret=""))
        assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
