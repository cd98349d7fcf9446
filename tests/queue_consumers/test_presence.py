"""A consumer writes that it is alive, and that it stops."""

import psycopg
from structlog.testing import capture_logs
from structlog.typing import EventDict

from backend.app.queues import QUEUES
from tests.queue_consumers.conftest import Queued, consuming, until


def consumers(queued: Queued) -> list[tuple[list[str], bool]]:
    return queued.rows("select queues, is_stopped from voice_clone.consumers")


def reported(entries: list[EventDict]) -> list[EventDict]:
    return [entry for entry in entries if entry["event"] == "presence_not_reported"]


async def test_a_consumer_is_alive_while_it_runs_and_says_when_it_stops(queued: Queued) -> None:
    async with consuming(queued.database, QUEUES["voice_mirror"]):
        await until(lambda: consumers(queued))
        assert consumers(queued) == [(["voice_mirror"], False)]
    assert consumers(queued) == [(["voice_mirror"], True)]


async def test_a_database_that_refuses_the_report_stops_no_consumer(queued: Queued) -> None:
    with psycopg.connect(queued.superuser, autocommit=True) as connection:
        connection.execute("drop function voice_clone.report_consumer")
    (sent,) = queued.send({"event": "unreadable"})
    with capture_logs() as entries:
        async with consuming(queued.database, QUEUES["voice_preview"]):
            await until(lambda: sent not in queued.live())
            await until(lambda: reported(entries))
    assert queued.dead()
    assert len(reported(entries)) == 2, "once while it runs, and once when it stops"
