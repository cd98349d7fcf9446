"""Any two operations on the recordings of one employee may run at once: none deadlocks."""

import asyncio
import random
from itertools import combinations_with_replacement

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.database.pauses import add_pauses
from tests.database.test_recordings import ACCOUNT, OVER, call_of, claim, employee, receive, received, sid
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

TABLES = (
    "public.organizations",
    "public.calls",
    "public.employees",
    "voice_clone.recordings",
)
OPERATIONS = {
    "receive": "select voice_clone.receive_recording(%(account)s, %(call)s, %(sid)s, now(), 1, 1, null)",
    "match": "insert into public.calls (employee_id, call_sid) values (%(employee)s, %(unmatched_call)s)",
    "assign": "select voice_clone.assign_recording(%(unmatched)s, %(employee)s, %(admin)s)",
    "assign as operator": "select operations.assign_recording(%(unmatched)s, %(employee)s)",
    "add a call": "insert into public.calls (employee_id, call_sid) values (%(employee)s, null)",
    "claim": "select * from voice_clone.claim_recording(%(older)s, 'w')",
    "claim newer": "select * from voice_clone.claim_recording(%(newer)s, 'w')",
    "take over": "select * from voice_clone.claim_recording(%(lost)s, 'w')",
    "renew": "select voice_clone.renew_recording(%(lost)s, 1)",
    "complete": "select voice_clone.complete_recording(%(lost)s, 1, 100)",
    "requeue": "select voice_clone.requeue_recording(%(lost)s, 1, 0, 'c', 'm', true)",
    "fail": "select voice_clone.fail_recording(%(lost)s, 1, 'c', 'm')",
    "move here": "select * from operations.claim_recording_move(%(call)s, %(sid)s, now(), 'w')",
    "end a move": "select operations.complete_recording_move(%(lost)s, 1, %(employee)s, 100)",
    "end a late move": "select operations.complete_recording_move(%(older)s, 7, %(employee)s, 100)",
    "sweep": "select * from voice_clone.sweep_recordings(100)",
    "delete the employee": "delete from public.employees where id = %(employee)s",
    "delete the organization": "delete from public.organizations where id = %(organization)s",
}


def situation(given: Fixture) -> dict[str, object]:
    """One recording is stored, one has a lost worker, two wait, one is unmatched; all are of one employee."""
    admin = given.user()
    of, organization = employee(given, admin)
    lost = received(given, of, hours=1)
    claim(given, lost)
    given.superuser.execute(OVER, (lost,))
    unmatched_call = sid("CA")
    return {
        "account": ACCOUNT,
        "admin": admin,
        "employee": of,
        "organization": organization,
        "call": call_of(given, of),
        "sid": sid("RE"),
        "lost": lost,
        "older": received(given, of, hours=2),
        "newer": received(given, of, hours=3),
        "unmatched_call": unmatched_call,
        "unmatched": receive(given, unmatched_call, organization=organization)["recording_id"],
    }


async def run(connection: AsyncConnection, name: str, parameters: dict[str, object]) -> str | None:
    """The SQLSTATE of an error that is not one of ours."""
    await asyncio.sleep(random.random() * 0.002)
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(OPERATIONS[name].encode(), parameters)
    except psycopg.Error as error:
        state = error.sqlstate or ""
        return None if state.startswith("VC") else f"{name}: {state} {error}"
    return None


async def test_two_operations_at_once_do_not_deadlock(given: Fixture) -> None:
    add_pauses(given, *TABLES)
    parameters = situation(given)
    connect = AsyncConnection.connect
    dsn = given.database.superuser
    async with await connect(dsn, autocommit=True) as one, await connect(dsn, autocommit=True) as other:
        for first, second in combinations_with_replacement(OPERATIONS, 2):
            for _ in range(3):
                found = await asyncio.gather(run(one, first, parameters), run(other, second, parameters))
                assert found == [None, None], f"{first} beside {second}"
