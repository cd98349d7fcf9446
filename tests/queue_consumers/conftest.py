"""A real queue to consume, and its tables afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from backend.app.queues import LifecycleQueue
from backend.queues.queue import Queue
from backend.settings.database import DatabaseSettings
from queue_consumers.http_steps import http_queue, open_client
from queue_consumers.resident import consume
from queue_consumers.settings import ConsumerSettings, ProcessSettings, ServiceSettings
from tests.clusters import Database

PATIENCE = 30  # seconds before a test gives up; no test waits for them to pass

# Acknowledged messages are deleted; in these tests they go to the archive of their queue.
KEEP_DELETED = b"""
create or replace function public.keep_deleted() returns trigger language plpgsql security definer as $$
begin
  execute format(
    'insert into pgmq.%I (msg_id, read_ct, enqueued_at, vt, message) values ($1, $2, $3, $4, $5)',
    'a' || substr(tg_table_name, 2)) using old.msg_id, old.read_ct, old.enqueued_at, old.vt, old.message;
  return null;
end $$;
do $$
declare
  v_queue text;
begin
  for v_queue in select q.name from voice_clone.queues q loop
    execute format('create or replace trigger keep_deleted after delete on pgmq.%I for each row'
      ' execute function public.keep_deleted()', 'q_' || v_queue);
  end loop;
end $$;
"""


class Queued:
    """One queue of a migrated database. Sends as the service, reads its tables as the superuser."""

    def __init__(self, database: str, superuser: str, name: str = "voice_preview") -> None:
        self.database = database
        self.superuser = superuser
        self.name = name
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(KEEP_DELETED)

    def send(self, *bodies: object, delay: int = 0) -> list[int]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            sent = connection.execute(
                "select voice_clone.send_messages(%s, %s, %s)",
                [self.name, [Jsonb(body) for body in bodies], delay],
            ).fetchone()
        assert sent is not None
        return sent[0]

    def send_many(self, count: int) -> list[UUID]:
        ids = [uuid4() for _ in range(count)]
        self.send(*(body(each) for each in ids))
        return ids

    def rows(self, query: LiteralString, *parameters: object) -> list[Any]:
        """`{queue}` and `{archive}` are replaced by the tables of this queue."""
        tables = {
            "queue": sql.Identifier("pgmq", f"q_{self.name}"),
            "archive": sql.Identifier("pgmq", f"a_{self.name}"),
        }
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute(sql.SQL(query).format(**tables), parameters or None).fetchall()

    def live(self) -> list[int]:
        return [row[0] for row in self.rows("select msg_id from {queue} order by msg_id")]

    def archived(self) -> list[int]:
        return [row[0] for row in self.rows("select msg_id from {archive} order by msg_id")]

    def dead(self) -> dict[int, str]:
        """Reasons by the message's id in its own queue."""
        letters = "select message_id, reason from voice_clone.dead_letters where queue = %s"
        return dict(self.rows(letters, self.name))


@pytest.fixture
def queued(database: Database) -> Queued:
    return Queued(database.service, database.superuser)


def body(id_: UUID | None = None, **more: object) -> dict[str, object]:
    message: dict[str, object] = {
        "event": "tested",
        "id": str(id_ or uuid4()),
        "version": 1,
        "enqueued_at": "2026-11-21T00:00:00+00:00",
    }
    return message | more


@asynccontextmanager
async def consuming(
    database_url: str,
    *queues: Queue | LifecycleQueue,
    service: ServiceSettings | None = None,
    **settings: Any,
) -> AsyncIterator[None]:
    """The runtime in this process; drained when the block ends."""
    stop = asyncio.Event()
    process = ProcessSettings(
        database=DatabaseSettings(url=database_url), service=service, consumer=ConsumerSettings(**settings)
    )

    async def run() -> None:
        async with open_client(service, process.consumer.max_jobs) as http:
            handled = [
                http_queue(queue, http) if isinstance(queue, LifecycleQueue) else queue for queue in queues
            ]
            await consume(process, handled, stop)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        stop.set()
        await running


async def until(condition: Callable[[], object]) -> None:
    """For what only the database knows, which sends no event."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()
