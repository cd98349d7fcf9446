"""After a storm every attempt has a correct final state; database, mirrors and providers agree."""

import psycopg
import pytest

from scripts.local.bench.storm import FAULTS, Storm, storm
from scripts.local.bench.user_actions import USER_ACTIONS
from tests.clusters import temporary_directory
from tests.lifecycle.snapshot import PROOF, Row, Snapshot
from tests.storms.accounting import check

FULL = 200


async def run_storm(attempts: int, disruptions: int, seed: int) -> None:
    with temporary_directory() as directory:
        async with storm(directory, seed) as made:
            with psycopg.connect(made.stack.cluster.dsn(), autocommit=True) as superuser:
                superuser.execute(PROOF.read_bytes())  # from now on each acknowledged message is copied
            await made.queue_and_disrupt(attempts, disruptions)
            await made.recover()
            for number in range(len(USER_ACTIONS)):  # once more, of voices that are ready
                made.act_as_user(number)
            await made.recover()
            snapshot, calls = await check(made)
            assert any(j["status"] == "succeeded" for j in snapshot.speeches)
            if attempts >= FULL:
                check_disruptions(made, snapshot, calls)


async def test_every_attempt_of_a_small_storm_ends_as_it_should() -> None:
    await run_storm(16, disruptions=5, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_every_attempt_of_a_storm_ends_as_it_should(seed: int) -> None:
    await run_storm(FULL, disruptions=50, seed=seed)


def check_disruptions(made: Storm, snapshot: Snapshot, calls: list[Row]) -> None:
    """It was a storm: each disruption and each fault came, and attempts took every way out of processing."""
    assert all(made.disruptions.values()), made.disruptions
    assert all(made.done.values()), made.done
    assert made.taken_down
    assert {fault["fault"] for fault in FAULTS} <= {fault for call in calls for fault in call["met"]}
    taken = {name for event in snapshot.events for name in event["events"]}
    assert {"requeued", "enrolled", "verification_awaited", "verified", "cancelled"} <= taken
