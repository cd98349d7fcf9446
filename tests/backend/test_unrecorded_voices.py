"""The database fails after a create: its request id is logged, and kept for the adopting attempt."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from backend.context import AppContext
from backend.database.pool import Database
from backend.errors import DatabaseUnavailable
from backend.lifecycle import enrollment
from backend.lifecycle.attempts import Work
from backend.lifecycle.claim import Step
from backend.providers.base import Enrolled, VoiceProvider
from backend.settings.database import DatabaseSettings
from tests.database.test_sweep import expire
from tests.fixture import Fixture

MADE = Enrolled(
    provider_voice_id="voice-1",
    target_model="model-1",
    request_id="request-of-the-create",
    metadata={"usage": {"count": 1}},
)
FUNCTIONS = {
    "attach_voice": "uuid, int, uuid, text, text, text, jsonb, bigint, boolean",
    "report_enrollment": "uuid, text, text, boolean, text, jsonb",
}


class Made:
    """A worker whose provider has just made a voice."""

    def __init__(self, given: Fixture, database: Database) -> None:
        self.given = given
        self.database = database
        user = given.user()
        self.attempt = given.queued(user, given.reflection(user))
        self.epoch = given.claim(self.attempt)["lease_epoch"]
        self.enrollment = given.intend(self.attempt, self.epoch)
        self.label = given.truth("select label from voice_clone.enrollments")["label"]

    async def attach(self) -> None:
        await enrollment.attach(self.step(), self.enrollment, self.label, MADE)

    async def adopt(self) -> None:
        """The next worker, which has only the enrollment."""
        self.epoch = self.given.claim(self.attempt)["lease_epoch"]
        step = self.step()
        provider = cast(VoiceProvider, SimpleNamespace(target_model="model-1"))
        found = await enrollment.look_up(step, provider)
        assert found is not None
        await enrollment.attach(step, self.enrollment, self.label, found)

    def step(self) -> Step:
        row = self.given.one("select * from voice_clone.claimed_work(%s)", self.attempt)
        context = cast(AppContext, SimpleNamespace(database=self.database, providers={}))
        work = msgspec.convert(row, Work)
        return Step(context=context, work=work, epoch=self.epoch, message_id=None)

    def breaks(self, function: str) -> None:
        """Like a shutdown of Postgres in the middle of the statement."""
        self.given.superuser.execute(
            f"alter function voice_clone.{function}({FUNCTIONS[function]})"
            f" rename to {function}_whole".encode()
        )
        arguments = ", ".join(f"p{i} {kind}" for i, kind in enumerate(FUNCTIONS[function].split(", ")))
        result = "setof public.voice_clone_attempts" if function == "attach_voice" else "text"
        self.given.superuser.execute(
            f"create function voice_clone.{function}({arguments}) returns {result} language plpgsql as"
            " $$ begin raise exception 'shutting down' using errcode = '57P01'; end $$".encode()
        )

    def mends(self, function: str) -> None:
        kinds = FUNCTIONS[function]
        with self.given.superuser.transaction():
            self.given.superuser.execute(f"drop function voice_clone.{function}({kinds})".encode())
            self.given.superuser.execute(
                f"alter function voice_clone.{function}_whole({kinds}) rename to {function}".encode()
            )

    def row(self) -> dict[str, Any]:
        return self.given.truth("select * from voice_clone.enrollments where id = %s", self.enrollment)


@pytest.fixture
async def made(given: Fixture) -> AsyncIterator[Made]:
    settings = DatabaseSettings(url=given.database.service, pool_size=2, timeout=2)
    async with Database(settings) as database:
        yield Made(given, database)


def logged(entries: list[Any]) -> list[tuple[str, str]]:
    found = [entry for entry in entries if entry["event"] == "voice_not_recorded"]
    return [(entry["label"], entry["provider_request_id"]) for entry in found]


async def test_the_request_id_is_logged_once_and_kept_by_the_worker_that_adopts(made: Made) -> None:
    made.breaks("attach_voice")
    with capture_logs() as entries, pytest.raises(DatabaseUnavailable):
        await made.attach()
    assert logged(entries) == [(made.label, "request-of-the-create")]
    kept = made.row()
    assert (kept["status"], kept["provider_voice_id"], kept["request_id"]) == (
        "intended",
        "voice-1",
        "request-of-the-create",
    )
    made.mends("attach_voice")
    expire(made.given, made.attempt)
    await made.adopt()
    voice = made.given.truth("select * from public.voices where attempt_id = %s", made.attempt)
    assert voice["provider_request_id"] == "request-of-the-create"
    assert voice["provider_metadata"] == {"usage": {"count": 1}}
    assert voice["provider_voice_kind"] == "match"
    assert made.given.attempt(made.attempt)["request_id"] == "request-of-the-create"


async def test_it_is_reported_when_the_database_answers_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrollment, "REPORT_BASE_SECONDS", 0.1)
    made.breaks("attach_voice")
    made.breaks("report_enrollment")
    with capture_logs() as entries:
        attaching = asyncio.create_task(made.attach())
        await asyncio.sleep(0.05)
        assert made.row()["request_id"] is None
        made.mends("report_enrollment")
        with pytest.raises(DatabaseUnavailable):
            await attaching
    assert made.row()["request_id"] == "request-of-the-create"
    assert len(logged(entries)) == 1


async def test_the_tries_are_bounded_and_the_log_is_left(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrollment, "REPORT_BASE_SECONDS", 0.0)
    made.breaks("report_enrollment")
    expire(made.given, made.attempt)
    made.given.claim(made.attempt)  # by another worker: the attach is refused, and so the voice is reported
    with capture_logs() as entries, pytest.raises(DatabaseUnavailable):
        await made.attach()
    assert logged(entries) == [(made.label, "request-of-the-create")]
