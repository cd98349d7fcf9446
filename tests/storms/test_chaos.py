"""After each scenario of chaos every attempt has a correct final state, and every voice has an owner."""

import psycopg
import pytest

from scripts.local.bench.chaos import ATTEMPTS, SCENARIOS, NoDiskError, act, scene
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
                ends = {(a["status"], a["runtime_status"]) for a in snapshot.attempts}
                assert ends == {("ready", "synced")}, "no disaster uses up the budget of an attempt"
        except NoDiskError:
            pytest.skip("a small disk cannot be mounted without root")
