"""Any two operations may run at once: none deadlocks, and each ends with a result or an error of ours."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack

import psycopg
import pytest
from psycopg import AsyncConnection

from backend.errors import AppError, DatabaseUnavailable, from_postgres
from tests.clusters import Database
from tests.database.operation import Operation, Situation
from tests.database.operation_situations import STATES, situation
from tests.database.operations import OPERATIONS
from tests.database.service_operations import SERVICE_OPERATIONS
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

# A trigger on each table that waits a moment after each write of a racing session, so that two transactions
# overlap.
PAUSES = """
create function public.pause() returns trigger language plpgsql set search_path = '' as $$
begin
  if pg_catalog.current_setting('test.pauses', true) = 'on' then
    perform pg_catalog.pg_sleep(pg_catalog.random() * 0.003);
  end if;
  return null;
end $$;
grant execute on function public.pause() to public;
do $$
declare t regclass;
begin
  foreach t in array '{public.reflections,public.voice_consents,public.voice_samples,public.voices,
    public.voice_clone_attempts,public.voice_sessions,public.speech_jobs,
    voice_clone.enrollments,public.webhooks,public.webhook_deliveries,voice_clone.erasures,
    voice_clone.object_removals,voice_clone.idempotency_keys}'::regclass[] loop
    execute format('create trigger zz_pause after insert or update or delete on %s'
      ' for each row execute function public.pause()', t);
  end loop;
  execute format('alter database %I set deadlock_timeout = ''10ms''', current_database());
end $$
"""
# There are fifty job slots, and the jobs of earlier situations never end.
FREE_SLOTS = "update voice_clone.job_slots set job_id = null, user_id = null"
OF_VOICES = [operation for operation in OPERATIONS if operation not in SERVICE_OPERATIONS]
TAKEDOWN = ("55P03", "a voice is being taken down")  # its client is told to try again (share_takedowns)
FEW = 4  # operations that race with each other one in the ordinary run
COMMITTED = {"delete reflection", "delete user", "revoke_consent"}  # the other one goes on without the row
OF_ALL = {"set_slots", "require_spoken_consent", "set_retention"}  # they would refuse the next situations
ROUNDS = 6  # of each pair in the long test
Connections = Sequence[dict[str, AsyncConnection]]  # two of each role


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[Connections]:
    with psycopg.connect(database.superuser, autocommit=True) as superuser:
        superuser.execute(PAUSES.encode())
    options = "-c test.pauses=on -c lock_timeout=0"
    async with AsyncExitStack() as stack:
        roles = {operation.role for operation in OPERATIONS}
        yield [
            {
                role: await stack.enter_async_context(
                    await AsyncConnection.connect(database.dsn(role), autocommit=True, options=options)
                )
                for role in roles
            }
            for _ in range(2)
        ]


async def run(
    connection: AsyncConnection, operation: Operation, parameters: Situation, commit: bool
) -> str | None:
    """An error that is no answer to a client, or a deadlock."""
    await asyncio.sleep(random.random() * 0.002)
    try:
        async with connection.transaction(force_rollback=not commit):
            await connection.execute(operation.sql.encode(), parameters)
    except psycopg.Error as error:
        if (error.sqlstate, error.diag.message_primary) == TAKEDOWN:
            return None
        mapped = from_postgres(error)
        if not isinstance(mapped, AppError) or isinstance(mapped, DatabaseUnavailable):
            return f"{operation.name}: {error.sqlstate} {error}"
    return None


async def race(
    connections: Connections, pair: Sequence[Operation], parameters: Situation, commit: bool
) -> list[str]:
    found = await asyncio.gather(
        *(
            run(own[operation.role], operation, parameters, commit)
            for own, operation in zip(connections, pair, strict=True)
        )
    )
    return [each for each in found if each]


async def races(
    given: Fixture,
    connections: Connections,
    first: Operation,
    others: Sequence[Operation],
    rounds: int,
    is_committed: Callable[[int, set[str]], bool],
) -> str:
    """The first operation beside each other one, in the states of both. A rollback keeps the situation."""
    situations: dict[str, Situation] = {}
    problems: list[str] = []
    for second in others:
        for turn in range(rounds):
            state = random.choice(random.choice((first, second)).states or list(STATES))
            if state not in situations:
                given.superuser.execute(FREE_SLOTS)
                situations[state] = situation(given, STATES[state])
            commit = is_committed(turn, {first.name, second.name})
            found = await race(connections, (first, second), situations[state], commit)
            problems += [f"{first.name} beside {second.name}, {state}: {each}" for each in found]
            if commit:
                del situations[state]
    return "\n".join(problems)


@pytest.mark.parametrize("first", OF_VOICES, ids=lambda operation: operation.name)
async def test_two_operations_at_once_do_not_deadlock(
    given: Fixture, connections: Connections, first: Operation
) -> None:
    """Beside a few operations, others in each run; the long test takes all pairs."""
    others = random.sample(OPERATIONS, FEW)
    assert not await races(given, connections, first, others, 1, lambda turn, names: bool(names & COMMITTED))


@pytest.mark.long
@pytest.mark.parametrize("first", OPERATIONS, ids=lambda operation: operation.name)
async def test_two_operations_at_once_do_not_deadlock_in_many_rounds(
    given: Fixture, connections: Connections, first: Operation
) -> None:
    """All pairs: a few rounds that are undone, and for some pairs one that is not."""
    others = OPERATIONS[OPERATIONS.index(first) :]

    def may_commit(turn: int, names: set[str]) -> bool:
        return turn == ROUNDS - 1 and not names & OF_ALL and random.random() < 0.5

    assert not await races(given, connections, first, others, ROUNDS, may_commit)
