"""The accounting after a storm: attempts, provider voices, failure reasons, messages, mirrors, replays."""

from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from scripts.local.bench.storm import Storm
from tests.lifecycle.checks import Step, check_all
from tests.lifecycle.snapshot import Row, Snapshot, watch
from tests.storms.failure_reasons import untrue_reasons


async def check(made: Storm, attempts: int, *, superseded: int = 0) -> tuple[Snapshot, list[Row]]:
    providers = await made.control("GET", "/state")
    with psycopg.Connection[Row].connect(made.stack.cluster.dsn(), row_factory=dict_row) as superuser:
        snapshot = watch(superuser, str(uuid4()))
    check_attempts(snapshot, attempts, superseded, made)
    check_voices(snapshot, providers["voices"])
    assert untrue_reasons(snapshot, providers["calls"]) == []
    assert made.unsettled() == [], "no message is left, no mirror is behind"
    assert made.bench.run("select sum(dead_length) from voice_clone.queue_metrics()", {}) == [0]
    # Replays and mirrors, column by column, are among these.
    check_all(Snapshot(), snapshot, Step("the storm", queue_hold=5))
    return snapshot, providers["calls"]


def check_attempts(snapshot: Snapshot, attempts: int, superseded: int, made: Storm) -> None:
    statuses = [a["status"] for a in snapshot.attempts]
    assert len(statuses) == attempts
    assert set(statuses) <= {"ready", "failed", "cancelled"}
    assert statuses.count("cancelled") == superseded, "superseded, and nothing else"
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
