"""A listener that cannot connect says so once, and not with each try."""

import asyncio

from structlog.testing import capture_logs

from backend.database.backoff import Backoff
from backend.database.listener import listen
from backend.settings.database import DatabaseSettings

TRIES = 6


async def test_a_listener_that_is_refused_again_and_again_says_it_once() -> None:
    tries = asyncio.Semaphore(0)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        tries.release()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = DatabaseSettings(url=f"postgresql://somebody@127.0.0.1:{port}/postgres?sslmode=disable")
        with capture_logs() as entries:
            listening = asyncio.create_task(listen(settings, "channel", "test", lambda _: None, lambda: None))
            async with asyncio.timeout(30):
                for _ in range(TRIES):
                    await tries.acquire()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    assert [entry["event"] for entry in entries] == ["listen_failed"]


def test_the_first_failure_after_a_success_is_news_again() -> None:
    backoff = Backoff()
    said = []
    for is_success in (False, False, False, True, False, False):
        if is_success:
            backoff.reset()
        else:
            backoff.next_delay()
            said.append(backoff.is_news())
    assert said == [True, False, False, True, False]
