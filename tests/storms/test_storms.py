"""After a storm every attempt has a correct final state; database, mirrors and providers agree."""

from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from scripts.local.bench.storm import FAULTS, Storm, storm
from tests.clusters import temporary_directory
from tests.lifecycle.checks import Step, check_all
from tests.lifecycle.snapshot import PROOF, Row, Snapshot, watch
from tests.storms.failure_reasons import untrue_reasons

FULL = 200


async def run_storm(attempts: int, disruptions: int, seed: int) -> None:
    with temporary_directory() as directory:
        async with storm(directory, seed) as made:
            with psycopg.connect(made.stack.cluster.dsn(), autocommit=True) as superuser:
                superuser.execute(PROOF.read_bytes())  # from now on each acknowledged message is copied
            await made.queue_and_disrupt(attempts, disruptions)
            await made.recover()
            snapshot, calls = await check(made, attempts)
            if attempts >= FULL:
                check_disruptions(made, snapshot, calls)


async def test_every_attempt_of_a_small_storm_ends_as_it_should() -> None:
    await run_storm(30, disruptions=8, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_every_attempt_of_a_storm_ends_as_it_should(seed: int) -> None:
    await run_storm(FULL, disruptions=50, seed=seed)


async def check(made: Storm, attempts: int) -> tuple[Snapshot, list[Row]]:
    providers = await made.control("GET", "/state")
    with psycopg.Connection[Row].connect(made.stack.cluster.dsn(), row_factory=dict_row) as superuser:
        snapshot = watch(superuser, str(uuid4()))
    check_attempts(snapshot, attempts, made)
    check_voices(snapshot, providers["voices"])
    assert untrue_reasons(snapshot, providers["calls"]) == []
    assert made.unsettled() == [], "no message is left, no mirror is behind"
    assert made.bench.run("select sum(dead_length) from voice_clone.queue_metrics()", {}) == [0]
    # Replays and mirrors, column by column, are among these.
    check_all(Snapshot(), snapshot, Step("the storm", queue_hold=5))
    return snapshot, providers["calls"]


def check_disruptions(made: Storm, snapshot: Snapshot, calls: list[Row]) -> None:
    """It was a storm: each disruption and each fault came, and attempts took every way out of processing."""
    assert all(made.disruptions.values()), made.disruptions
    assert {fault["fault"] for fault in FAULTS} <= {fault for call in calls for fault in call["met"]}
    taken = {name for event in snapshot.events for name in event["events"]}
    assert {"requeued", "enrolled", "verification_awaited", "verified", "cancelled"} <= taken


def check_attempts(snapshot: Snapshot, attempts: int, made: Storm) -> None:
    statuses = [a["status"] for a in snapshot.attempts]
    assert len(statuses) == attempts
    assert set(statuses) <= {"ready", "failed", "cancelled"}
    assert statuses.count("cancelled") == attempts // 10, "superseded, and nothing else"
    assert statuses.count("ready") > attempts / 2, made.disruptions
    for a in snapshot.attempts:
        for step in ("process", "sync", "preview"):
            assert a[f"{step}_count"] <= a[f"{step}_budget"]
        if a["status"] == "ready":
            assert a["runtime_status"] in {"synced", "failed"} or not a["is_active"]


def check_voices(snapshot: Snapshot, voices: dict[str, list[Row]]) -> None:
    """The providers have exactly the voices that rows own or that are known orphans."""
    made = sorted((v["provider"], v["voice_id"]) for each in voices.values() for v in each)
    owned = [(v["tts_provider"], v["provider_voice_id"]) for v in snapshot.voices]
    orphans = [
        (e["provider"], e["provider_voice_id"]) for e in snapshot.enrollments if e["status"] == "orphaned"
    ]
    assert made == sorted(owned + orphans)
