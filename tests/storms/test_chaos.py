"""After each scenario of chaos each attempt, sample and speech has its right end, each voice an owner."""

import psycopg
import pytest

from scripts.local.bench.chaos import ATTEMPTS, DISK_FULL, SCENARIOS, NoDiskError, act, scene
from tests.clusters import temporary_directory
from tests.lifecycle.snapshot import PROOF
from tests.storms.accounting import check


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_accounting_is_exact_after(name: str) -> None:
    with temporary_directory() as directory:
        try:
            async with scene(directory, name) as made:
                with psycopg.connect(made.stack.cluster.dsn(), autocommit=True) as superuser:
                    superuser.execute(PROOF.read_bytes())
                await act(made, name)
                assert len(made.attempts) >= ATTEMPTS / 2
                snapshot, _ = await check(made)
                assert {a["status"] for a in snapshot.attempts} == {"ready"}, "no disaster uses up a budget"
                synced = {a["runtime_status"] for a in snapshot.attempts if a["reflection_id"]}
                assert synced == {"synced"}
                stored = made.samples and snapshot.speeches
                assert stored or name == DISK_FULL, "on a full disk nothing may be stored"
                assert {j["status"] for j in snapshot.speeches} <= {"succeeded"}
        except NoDiskError:
            pytest.skip("a small disk cannot be mounted without root")
