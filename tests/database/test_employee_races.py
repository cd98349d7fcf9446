"""Any two operations on one employee may run at once: none deadlocks."""

import asyncio
import random
from collections.abc import Iterable
from itertools import combinations_with_replacement
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.database.pauses import add_pauses
from tests.database.test_employee_voices import Staffed
from tests.database.test_recordings import ACCOUNT, call_of, claim, received, sid
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

TABLES = (
    "auth.users",
    "public.organizations",
    "public.employees",
    "public.voice_consents",
    "public.voice_clone_attempts",
    "public.voice_samples",
    "public.voices",
    "voice_clone.enrollments",
    "voice_clone.employee_files",
    "voice_clone.recording_clones",
    "voice_clone.recordings",
    "voice_clone.object_removals",
)
ADD = "select * from voice_clone.add_recording(gen_random_uuid(), {})"
ADDED = "%(employee)s, {}, 'en', gen_random_uuid()::text, 'audio/wav', 1000, null"
CLONE = (
    "select * from voice_clone.clone_recording(gen_random_uuid(), %(sample)s, %(employee)s, %(admin)s, {})"
)
AS = "'local', '', true, null"
OPERATIONS = {
    "invite": "select * from voice_clone.invite_employee(%(employee)s, %(admin)s, sha256('x'), 60)",
    "sign": "select * from voice_clone.sign_invitation(%(employee)s, %(open)s, 'en', %(signer)s, 1)",
    "revoke": "select * from voice_clone.revoke_by_invitation(%(employee)s, %(token)s)",
    "add a recording": ADD.format(ADDED.format("%(admin)s")),
    "clone": CLONE.format(AS),
    "clone by itself": f"select voice_clone.queue_recording_clone(%(clone)s, %(employee)s, {AS}, null)",
    "end a clone": "select voice_clone.end_recording_clone(%(clone)s, 'refused', 'c', 'm', null)",
    "delete the voice": "select voice_clone.delete_employee_voice(%(employee)s, %(admin)s)",
    "complete the preview": "select * from voice_clone.complete_employee_preview(%(employee)s, %(admin)s)",
    "mirror": "select voice_clone.mirror_reflections(array[%(employee)s, %(colleague)s])",
    "claim the attempt": "select * from voice_clone.claim_attempt(%(waiting)s, 'w', 60, 4, true)",
    "attach the voice": "select * from voice_clone.attach_voice(%(attempt)s, %(epoch)s, %(enrollment)s,"
    " 'v' || gen_random_uuid(), 'm', 'r', '{}', null, false)",
    "claim the file": "select * from voice_clone.claim_employee_file(%(employee)s)",
    "confirm the file": "select voice_clone.confirm_employee_file(%(employee)s, 1, 1, null)",
    "receive": "select voice_clone.receive_recording(%(account)s, %(call)s, %(sid)s, now(), 1, 1, null)",
    "complete the recording": "select voice_clone.complete_recording(%(recording)s, 1, 100)",
    "remove the recording": "select * from voice_clone.begin_object_removal(%(removal)s)",
    "sweep": "select * from operations.sweep(100)",
    "begin a clone": "select * from voice_clone.begin_recording_clone(%(clone)s)",
    "postpone a clone": "select voice_clone.postpone_recording_clone(%(clone)s, 'c', 'm')",
    "check a clone": "select voice_clone.check_employee_clone(%(employee)s, %(admin)s, 100)",
    "drop a recording": "select voice_clone.drop_recording(%(sample)s, %(employee)s)",
    "read the invitation": "select * from voice_clone.read_invitation(%(employee)s, %(open)s, 'en')",
    "release the file": "select voice_clone.release_employee_file(%(employee)s, 1, 'c', false)",
    "remove what came late": "select voice_clone.remove_late_recording(%(employee)s)",
    "request the preview": "select * from voice_clone.request_employee_preview(%(employee)s, %(admin)s)",
    "reset": "select * from voice_clone.reset_employee_attempt(%(employee)s, %(admin)s)",
    "retry": "select * from voice_clone.retry_employee_attempt(%(employee)s, %(admin)s)",
    "restore": "select * from voice_clone.restore_employee_attempt(%(employee)s, %(admin)s)",
    "retry elsewhere": "select * from voice_clone.retry_employee_elsewhere"
    "(gen_random_uuid(), %(employee)s, %(admin)s, %(attempt)s, 'elsewhere', '', true)",
    "move": "select * from voice_clone.move_employee_voice"
    "(gen_random_uuid(), %(employee)s, %(admin)s, 'elsewhere', '', '{x}', true, true)",
    "erase the employee": "select operations.erase('employee', %(employee)s)",
    "hold the employee": "select * from operations.place_hold(%(employee)s, 'x')",
    "rename the employee": "update public.employees set full_name = 'Di' where id = %(employee)s",
    "leave the organization": "update public.employees set org_id = %(other)s where id = %(employee)s",
    "delete the employee": "delete from public.employees where id = %(employee)s",
    "delete the organization": "delete from public.organizations where id = %(organization)s",
    "delete the account that signed": "delete from auth.users where id = %(signer)s",
}


def situation(given: Fixture) -> dict[str, object]:
    """A voice is ready and a worker has the next attempt; two samples and a recording wait."""
    acme, other, signer = Staffed(given), Staffed(given), given.user()
    acme.launchable()
    given.one("select voice_clone.claim_employee_file(%s)", acme.employee)
    clone = prepared_clone(given, acme)
    received(given, acme.employee)
    given.superuser.execute(
        "select voice_clone.request_object_removal('recordings', %s)", (str(acme.employee),)
    )
    newer = received(given, acme.employee)
    claim(given, newer)
    sample, opened = given.recording(acme.employee, acme.admin), acme.queued()
    epoch = given.claim(opened)["lease_epoch"]
    colleague = given.employee(acme.id)
    given.employee_consent(colleague, acme.admin, signer)
    waiting = given.clone_recording(colleague, acme.admin)
    given.superuser.execute("update voice_clone.employee_files set sweep_at = now()")
    given.superuser.execute("update voice_clone.recording_clones set sweep_at = now()")
    return {
        "account": ACCOUNT,
        "admin": acme.admin,
        "attempt": opened,
        "call": call_of(given, acme.employee),
        "clone": clone,
        "colleague": colleague,
        "employee": acme.employee,
        "enrollment": given.intend(opened, epoch),
        "epoch": epoch,
        "open": given.invitation(acme.employee, acme.admin),
        "organization": acme.id,
        "other": other.id,
        "recording": newer,
        "removal": given.truth(
            "select id from voice_clone.object_removals where folder = %s", str(acme.employee)
        )["id"],
        "sample": sample,
        "sid": sid("RE"),
        "signer": signer,
        "token": acme.token,
        "waiting": waiting,
    }


def prepared_clone(given: Fixture, acme: Staffed) -> UUID:
    given.superuser.execute(
        "update public.organizations set clone_recordings = true where id = %s", (acme.id,)
    )
    clone = given.truth(
        "insert into voice_clone.recording_clones (employee_id, object_version, sweep_at)"
        " values (%s, 'x', now()) returning id", acme.employee,
    )["id"]  # fmt: skip
    path = f"{acme.employee}/{uuid4()}/sample.wav"
    given.one(
        "select * from voice_clone.add_recording(%s, %s, null, 'en', %s, 'audio/wav', 1000, null)",
        clone, acme.employee, path,
    )  # fmt: skip
    given.complete(clone, given.claim_sample(clone, inline=True)["lease_epoch"], f"{path}.x")
    return clone


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


async def deadlocks(given: Fixture, pairs: Iterable[tuple[str, str]], rounds: int) -> list[str]:
    """Up to the first."""
    parameters = situation(given)
    connect, dsn = AsyncConnection.connect, given.database.superuser
    add_pauses(given, *TABLES)
    found: list[str] = []
    async with await connect(dsn, autocommit=True) as one, await connect(dsn, autocommit=True) as other:
        for first, second in pairs:
            for _ in range(rounds):
                errors = await asyncio.gather(run(one, first, parameters), run(other, second, parameters))
                found += [f"{first} beside {second}: {error}" for error in errors if error]
                if found:
                    return found
    return found


PAIRS = [*combinations_with_replacement(OPERATIONS, 2)]


async def test_two_operations_at_once_do_not_deadlock(given: Fixture) -> None:
    found = await deadlocks(given, random.sample(PAIRS, 180), 1)  # the long test has all of them
    assert not found, "\n".join(found)


@pytest.mark.long
async def test_two_operations_at_once_do_not_deadlock_however_often(given: Fixture) -> None:
    found = await deadlocks(given, PAIRS, 10)
    assert not found, "\n".join(found)


async def test_a_deletion_that_locks_the_consents_last_is_found(given: Fixture) -> None:
    given.replace("voice_clone.release_employee", "k.employee_id = old.id", "false")
    found = await deadlocks(given, [("revoke", "delete the employee")], 30)
    assert any("40P01" in each for each in found)
