"""The accounting after a storm: attempts, provider voices, failure reasons, messages, mirrors, replays."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from scripts.local.bench.storm import Storm
from tests.lifecycle.checks import Step, check_all
from tests.lifecycle.snapshot import Row, Snapshot, stranger, watch
from tests.storms.causes import causes
from tests.storms.failure_reasons import REASONS, untrue_reasons


async def check(made: Storm) -> tuple[Snapshot, list[Row]]:
    providers = await made.control("GET", "/state")
    dsn = made.stack.cluster.dsn()
    with (
        psycopg.Connection[Row].connect(dsn, row_factory=dict_row) as superuser,
        stranger(dsn) as client,
    ):
        snapshot = watch(superuser, client)
    check_attempts(snapshot, made)
    check_samples(made)
    check_voices(snapshot, made, [voice for each in providers["voices"].values() for voice in each])
    check_speeches(snapshot, made)
    assert untrue_reasons(snapshot) == []
    assert made.unsettled() == [], "no message is left, no mirror is behind"
    assert made.bench.run("select sum(dead_length) from voice_clone.queue_metrics()", {}) == [0]
    # Replays and mirrors, column by column, are among these.
    check_all(Snapshot(), snapshot, Step("the storm", queue_hold=5, is_acknowledging=True))
    return snapshot, providers["calls"]


def check_attempts(snapshot: Snapshot, made: Storm) -> None:
    """Cancelled, with one of its reasons, is exactly what was superseded or taken back."""
    attempts = {a["id"]: a for a in snapshot.attempts}
    assert {str(id_) for id_ in made.attempts} <= set(attempts), "what was queued is there"
    ended = {id_: a["cancel_reason"] for id_, a in attempts.items() if a["status"] == "cancelled"}
    expected = causes(snapshot, made.done, made.reflection_of)
    assert ended.keys() == expected.keys()
    untrue = {id_: (reason, expected[id_]) for id_, reason in ended.items() if reason not in expected[id_]}
    assert untrue == {}, (untrue, made.done)
    others = [a for id_, a in attempts.items() if id_ not in ended]
    assert {a["status"] for a in others} <= {"ready", "failed"}
    assert sum(a["status"] == "ready" for a in others) > len(others) / 2, made.disruptions
    for a in snapshot.attempts:
        for step in ("process", "sync", "preview"):
            assert a[f"{step}_count"] <= a[f"{step}_budget"]
        if a["status"] == "ready":
            is_of_a_reflection = a["is_active"] and a["reflection_id"]
            assert a["runtime_status"] in {"synced", "failed"} or not is_of_a_reflection


def check_samples(made: Storm) -> None:
    """Each is ready with its two files, or its consent is revoked. Then a late worker may leave its WAV."""
    ends = made.sample_ends()
    assert {row["id"] for row in ends} == set(made.samples)
    for row in ends:
        ready = {**row, "status": "ready", "error_code": None, "is_in_budget": True, "objects": 2}
        gone = {**row, "status": "removed", "objects": min(row["objects"], 1)}
        assert row == (ready if row["is_covered"] else gone)


def check_voices(snapshot: Snapshot, made: Storm, listed: list[Row]) -> None:
    """The providers have exactly the voices that rows own or that are known orphans."""
    owned = {v["enrollment_id"] for v in snapshot.voices if not v["removal_requested_at"]}
    states: dict[str, set[Any]] = {"attached": set(), "orphaned": set(), "removed": set()}
    places: dict[str, Any] = {}
    for e in snapshot.enrollments:
        if e["provider_voice_id"] is not None:
            states[e["status"]].add(e["id"])
            places[e["id"]] = (e["provider"], e["region"], e["provider_voice_id"])
    assert states["attached"] == owned, "each voice has its enrollment, and each enrollment its voice"
    kept = [places[id_] for id_ in states["attached"] | states["orphaned"]]
    regions = [v["account"] if v["provider"] == "qwen" else "" for v in listed]
    assert sorted(kept) == sorted(
        (v["provider"], region, v["voice_id"]) for v, region in zip(listed, regions, strict=True)
    )
    labels = {v["label"] for v in listed}
    gone = gone_attempts(snapshot)
    assert [
        e["label"] for e in snapshot.enrollments if e["attempt_id"] in gone and e["label"] in labels
    ] == []
    deleted = {v["id"] for v in snapshot.voices if v["deleted_at"]}
    taken_back = {str(id_) for id_ in made.done["voices_deleted"]}
    assert deleted == taken_back | {v["id"] for v in snapshot.voices if v["attempt_id"] in gone}


def check_speeches(snapshot: Snapshot, made: Storm) -> None:
    """Each job has spoken, or has its true error, or went with its voice; and so did its object."""
    jobs = {j["id"]: j for j in snapshot.speeches}
    # More may be there: Postgres stopped after a commit and before its answer.
    assert {str(id_) for id_ in made.speeches} <= jobs.keys()
    attempts = {a["id"]: a for a in snapshot.attempts}
    taken_down = {str(id_) for id_ in made.taken_down}
    silent = gone_attempts(snapshot) | {v["attempt_id"] for v in snapshot.voices if v["deleted_at"]}
    for j in jobs.values():
        a = attempts[j["attempt_id"]]
        assert (j["removed_at"] is not None) == (a["id"] in silent), j
        if not j["removed_at"]:
            assert j["status"] == "succeeded" or has_true_error(j, a, taken_down), j
    stored = set(made.bench.run("select name from storage.objects where bucket_id = 'speeches'", {}))
    named = {j["path"] for j in jobs.values() if j["path"]}
    assert named <= stored
    # What a late worker uploaded: beside what its job names, or in a folder that is emptied once more.
    emptied = set(made.bench.run("select folder from voice_clone.object_removals", {}))
    kept = {path.rpartition("/")[0] for path in named}
    folders = {path.rpartition("/")[0] for path in stored}
    assert {folder for folder in folders - kept if not {folder, folder.partition("/")[0]} & emptied} <= {
        f"{j['user_id']}/{j['id']}" for j in jobs.values() if j["status"] == "failed" and not j["removed_at"]
    }


def has_true_error(job: Row, attempt: Row, taken_down: set[str]) -> bool:
    if job["error_code"] == "voice_taken_down":
        return attempt["id"] in taken_down
    if attempt["status"] == "failed":
        return job["error_code"] == attempt["error_code"]
    if job["error_code"] == "attempt_cancelled":
        return attempt["status"] == "cancelled"
    used_up = job["try_count"] == job["try_budget"]
    return used_up and job["error_code"] in REASONS


def gone_attempts(snapshot: Snapshot) -> set[str]:
    """Those of deleted users and of revoked consents: nothing of them is left at a provider."""
    revoked = {s["id"] for s in snapshot.samples if s["is_revoked"]}
    return {a["id"] for a in snapshot.attempts if a["user_id"] is None or a["sample_id"] in revoked}
