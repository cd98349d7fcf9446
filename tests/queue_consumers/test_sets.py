"""Set-based handlers: the effect and the archive are one transaction."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection, connect

from backend.app.queues import QUEUES
from backend.lifecycle.mirror import retry_after
from backend.queues.outcomes import Cancel, Done, Outcome, Retry
from backend.queues.queue import Message, Queue
from tests.clusters import Database
from tests.queue_consumers.conftest import Queued, body, consuming, soon, until


@pytest.fixture
def queued(database: Database) -> Queued:
    with connect(database.superuser, autocommit=True) as connection:
        connection.execute("create table public.effects (id uuid)")
        connection.execute("grant all on public.effects to voice_clone_service")
    return Queued(database.service, database.superuser, "voice_mirror")


def effects(queued: Queued) -> set[UUID]:
    return {row[0] for row in queued.rows("select id from public.effects")}


async def affect(connection: AsyncConnection, messages: Sequence[Message]) -> None:
    await connection.execute(
        "insert into public.effects select unnest(%s::uuid[])", [[message.id for message in messages]]
    )


async def test_a_set_is_handled_and_archived_together(queued: Queued) -> None:
    sets: list[int] = []

    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        sets.append(len(messages))
        await affect(connection, messages)
        return [Done() for _ in messages]

    sent = set(queued.send_many(250))
    queue = Queue(name=queued.name, handle_batch=handle_batch, batch_size=100, concurrency=1)
    async with consuming(queued.database, queue):
        await until(lambda: not queued.live())
    assert effects(queued) == sent
    assert len(queued.archived()) == 250
    assert len(sets) < 10


async def test_a_handler_that_fails_leaves_neither_effect_nor_archive(queued: Queued) -> None:
    failed = asyncio.Event()

    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        await affect(connection, messages)
        if len(messages) == 1:
            failed.set()
        raise ZeroDivisionError

    ids = queued.send(body(), body())
    queue = Queue(name=queued.name, handle_batch=handle_batch)
    async with consuming(queued.database, queue):
        await soon(failed)
    assert effects(queued) == set()
    assert queued.archived() == []
    assert queued.live() == ids


async def test_an_archive_that_fails_takes_the_effect_back(queued: Queued) -> None:
    """A trigger refuses the archive of the first try; the second finds no effect and no archive."""
    seen: list[set[UUID]] = []
    with connect(queued.superuser, autocommit=True) as connection:
        connection.execute(
            "create function public.refuse() returns trigger language plpgsql as "
            "$$ begin if old.read_ct = 1 then raise 'refused'; end if; return old; end $$"
        )
        connection.execute(
            "create trigger refuse before delete on pgmq.q_voice_mirror "
            "for each row execute function public.refuse()"
        )

    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        seen.append(effects(queued))
        await affect(connection, messages)
        return [Done() for _ in messages]

    (sent,) = queued.send_many(1)
    queue = Queue(name=queued.name, handle_batch=handle_batch)
    async with consuming(queued.database, queue, retry_base_seconds=0):
        await until(lambda: not queued.live())
    assert seen == [set(), set()]
    assert effects(queued) == {sent}


async def test_one_message_that_fails_spoils_no_other(queued: Queued) -> None:
    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        await affect(connection, messages)
        if any(message.event == "poison" for message in messages):
            raise ZeroDivisionError("poison")
        return [Done() for _ in messages]

    *good, poison = queued.send(body(), body(), body(), body(event="poison"))
    async with consuming(queued.database, Queue(name=queued.name, handle_batch=handle_batch), budget=1):
        await until(lambda: not queued.live())
    assert len(effects(queued)) == len(good)
    assert queued.dead() == {poison: "ZeroDivisionError: poison (tried 1 times)"}


async def test_each_message_of_a_set_has_its_own_outcome(queued: Queued) -> None:
    async def handle_batch(_: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {
            "done": Done(),
            "cancel": Cancel("stale"),
            "retry": Retry(reason="away"),
        }
        return [outcomes[message.event] for message in messages]

    done, cancelled, dead = queued.send(body(event="done"), body(event="cancel"), body(event="retry"))
    async with consuming(queued.database, Queue(name=queued.name, handle_batch=handle_batch), budget=1):
        await until(lambda: not queued.live())
    assert queued.archived() == [done, cancelled, dead]
    assert queued.dead() == {dead: "away (tried 1 times)"}


@pytest.fixture
def reflection(queued: Queued) -> UUID:
    """One with an active attempt at version 3, whose mirror is not written yet."""
    with connect(queued.superuser) as connection:
        connection.execute(
            "set local session_replication_role = replica"
        )  # the attempt alone, without its past
        row = connection.execute(
            "insert into public.reflections (user_id, name) values (gen_random_uuid(), 'Ada') returning id"
        ).fetchone()
        assert row is not None
        connection.execute(
            "insert into public.voice_clone_attempts (id, user_id, reflection_id, source, status,"
            " preview_status, is_active, activated_at, version, provider) values (gen_random_uuid(),"
            " gen_random_uuid(), %s, 'legacy_outbox', 'queued', 'required', true, now(), 3, 'local')",
            [row[0]],
        )
        return row[0]


async def test_many_messages_of_a_reflection_are_one_mirroring(queued: Queued, reflection: UUID) -> None:
    queued.send(*(body(reflection, event="mirror", version=version) for version in (3, 1, 2)), body())
    async with consuming(queued.database, QUEUES["voice_mirror"]):
        await until(lambda: not queued.live())
    assert len(queued.archived()) == 4
    mirrors = queued.rows("select voice ->> 'cloneStatus', voice -> 'version' from public.reflections")
    assert mirrors == [("queued", 3)]


async def test_a_locked_reflection_keeps_no_other_waiting_and_uses_no_try(
    queued: Queued, reflection: UUID
) -> None:
    """Its message comes back until the lock is released, also where one try is all that a message has."""
    others = queued.rows("select gen_random_uuid() from generate_series(1, 3)")
    with connect(queued.superuser) as application:
        application.execute("select from public.reflections where id = %s for update", [reflection])
        sent_at = datetime.now(UTC) - timedelta(seconds=2)
        locked = body(reflection, version=3, enqueued_at=sent_at.isoformat())
        queued.send(locked, *(body(other[0]) for other in others))
        async with consuming(queued.database, QUEUES["voice_mirror"], budget=1):
            await until(lambda: len(queued.archived()) >= 4)  # its own was sent again, with the same tries
            assert queued.rows("select message -> 'tries' from pgmq.q_voice_mirror") == [(0,)]
            assert queued.rows("select voice from public.reflections") == [({},)]
            application.rollback()
            await until(lambda: not queued.live())
    assert queued.rows("select voice -> 'version' from public.reflections") == [(3,)]
    assert queued.dead() == {}


def test_the_wait_for_a_locked_reflection_grows_with_the_age_of_its_message() -> None:
    ages = (0, 2, 20, 40, 4000)
    sent = [datetime.now(UTC) - timedelta(seconds=age) for age in ages]
    messages = [Message(event="VOICE_MIRROR", id=uuid4(), version=1, enqueued_at=at) for at in sent]
    assert [retry_after(message) for message in messages] == [0, 1, 1, 5, 5]
