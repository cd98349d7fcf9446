"""The fifteen invariants, checked from outside on the rows before and after a step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.lifecycle.rows import TIMES
from tests.lifecycle.snapshot import Row, Snapshot

EDGES = {
    "awaiting_upload": {"queued", "expired", "cancelled"},
    "queued": {"processing", "cancelled"},
    "processing": {"queued", "verifying", "ready", "failed", "cancelled"},
    "verifying": {"ready", "failed", "cancelled"},
    "ready": {"cancelled", "failed"},
    "failed": {"queued", "cancelled"},
    "expired": set(),
    "cancelled": set(),
}
SAMPLE_EDGES = {
    "nothing": {"awaiting_upload"},
    "awaiting_upload": {"pending", "processing", "removed"},
    "pending": {"processing", "removed"},
    "processing": {"pending", "awaiting_upload", "ready", "failed", "removed"},
    "ready": {"removed"},
    "failed": {"removed"},
    "removed": set(),
}
MIRRORED = (
    "cloneStatus", "runtimeStatus", "previewStatus", "previewRequired", "attemptId", "voiceId",
    "provider", "targetModel", "error", "version", "updatedAt",
)  # fmt: skip
FIRST_MIRROR: dict[str, Any] = dict.fromkeys(MIRRORED) | {
    "cloneStatus": "none", "runtimeStatus": "pending", "previewStatus": "not_required",
    "previewRequired": False, "version": 0,
}  # fmt: skip
BOOKKEEPING = {"verification_pending"}
HEARD = ("not_required", "completed")


class BrokenError(AssertionError):
    """An invariant does not hold, or (0) the database and the model differ."""

    def __init__(self, invariant: int, what: str) -> None:
        name = f"invariant {invariant}" if invariant else "the model"
        super().__init__(f"{name} is broken: {what}")
        self.invariant = invariant


@dataclass
class Step:
    """The expected effects of the last step."""

    name: str = ""
    queue_hold: float = TIMES["queue_hold"]  # seconds; a longer wait sends no message
    refused_by: int = 0  # the invariant that had it refused: nothing changed
    is_report: bool = False  # a late completion: nothing that a client sees changed
    mirrored: str = ""  # this reflection's mirror is up to date
    lost_mirrors: set[str] = field(default_factory=set)  # reflections whose message was lost
    archived: tuple[str, int] | None = None  # this message went with the effect
    kept: tuple[str, int] | None = None  # and this one stayed, for there was none
    is_acknowledging: bool = False  # consumers ran meanwhile: a message may be sent and acknowledged in it


def check(number: int, holds: object, what: str) -> None:
    if not holds:
        raise BrokenError(number, what)


def check_all(before: Snapshot, after: Snapshot, step: Step) -> None:
    for each in (
        refusals, actives, edges, traces, epochs, intents, mirrors, gates, orphans, consents, archives,
        replays, strangers, removals, losses, takedowns,
    ):  # fmt: skip
        each(before, after, step)
    samples(before, after, step)


def refusals(before: Snapshot, after: Snapshot, step: Step) -> None:
    if step.refused_by:
        for name in (
            "attempts", "deadlines", "events", "enrollments", "voices", "speeches", "reflections", "samples",
        ):  # fmt: skip
            same = getattr(before, name) == getattr(after, name)
            check(step.refused_by, same, f"{step.name} was refused, and {name} changed")


def samples(before: Snapshot, after: Snapshot, step: Step) -> None:
    """Edges, leases, messages; an active attempt has a sample that is ready."""
    old = {s["id"]: s for s in before.samples}
    known = {(m["queue"], m["number"]) for m in before.messages}
    sent = {m["id"] for m in after.messages if (m["queue"], m["number"]) not in known}
    for s in after.samples:
        was = old.get(s["id"])
        a, b = was["status"] if was else "nothing", s["status"]
        check(
            2,
            a == b or b in SAMPLE_EDGES[a] or step.is_acknowledging,
            f"{step.name}: a sample {a} became {b}",
        )
        check(4, was is None or was["lease_epoch"] <= s["lease_epoch"], f"{step.name}: an epoch shrank")
        check(
            4, (b == "processing") == bool(s["lease_owner"]), f"{step.name}: a sample {b} has a wrong lease"
        )
        if b == "pending" and a != b:
            check(3, s["id"] in sent, f"{step.name}: a sample waits, and has no message")
    ready = {s["id"] for s in after.samples if s["status"] == "ready"}
    expired = {s["id"] for s in after.samples if s["removed_at"] and lifetime(s) >= TIMES["sample"]}
    unready = [
        a["id"] for a in after.attempts
        if a["is_active"] and a["sample_id"] and a["sample_id"] not in ready
        and not (
            (a["status"] in ("ready", "failed") or a["source"] == "custom_voice")
            and a["sample_id"] in expired
        )
    ]  # fmt: skip
    check(9, not unready, f"{step.name}: an active attempt has a sample that is not ready")


def lifetime(sample: Row) -> float:
    """Seconds from its creation to its removal."""
    times = [datetime.fromisoformat(sample[name]) for name in ("created_at", "removed_at")]
    return (times[1] - times[0]).total_seconds()


def actives(_: Snapshot, after: Snapshot, step: Step) -> None:
    active = [a["reflection_id"] for a in after.attempts if a["is_active"] and a["reflection_id"]]
    check(1, len(active) == len(set(active)), f"{step.name}: two active attempts of one reflection")


def new_events(before: Snapshot, after: Snapshot) -> Iterator[tuple[Row, Row, Row]]:
    """Each with the row before it and after it, folded from the events alone."""
    seen = {e["id"] for e in before.events}
    rows: dict[str, Row] = {}
    for event in after.events:
        old = rows.get(event["attempt_id"], {})
        rows[event["attempt_id"]] = new = old | event["changes"]
        if event["id"] not in seen:
            yield event, old, new


def edges(before: Snapshot, after: Snapshot, step: Step) -> None:
    check(2, not after.misfiled, f"{step.name}: an attempt is wrongly counted among those that enroll")
    was = {a["id"]: a["status"] for a in before.attempts}
    for event, old, new in new_events(before, after):
        a, b = old.get("status", "nothing"), new["status"]
        is_edge = a == b or b in EDGES.get(a, {"awaiting_upload"}) or "restored" in event["events"]
        check(2, is_edge, f"{step.name}: {a} became {b}")
        was[event["attempt_id"]] = b
    for a in after.attempts:
        known = was.get(a["id"], "awaiting_upload")
        check(3, known == a["status"], f"{step.name}: {a['status']} without an event")


def awaited(row: Row) -> str | None:
    """The queue whose message this attempt awaits."""
    if not row.get("is_active") or row.get("lease_owner") or row.get("taken_down_at"):
        return None
    if row["status"] in ("queued", "verifying"):
        return {"queued": "voice_clone_process", "verifying": "voice_clone_verify"}[row["status"]]
    if row["status"] == "ready" and row.get("reflection_id"):
        if row["runtime_status"] == "pending":
            return "voice_runtime_sync"
        if row["runtime_status"] == "synced" and row["preview_status"] == "required":
            return "voice_preview"
    return None


def traces(before: Snapshot, after: Snapshot, step: Step) -> None:
    """Each transition has one version, one event, and its messages."""
    sent = {(m["queue"], m["id"], m["version"]) for m in after.messages}
    messages = after.messages if step.is_acknowledging else after.live().values()
    mirrors_sent = {m["id"] for m in messages if m["queue"] == "voice_mirror"}
    versions = {a["id"]: a["version"] for a in before.attempts}
    for event, old, new in new_events(before, after):
        names = set(event["events"])
        if names <= BOOKKEEPING:
            same = "version" not in event["changes"] and "status" not in event["changes"]
            check(3, same, f"{step.name}: {names} is no bookkeeping: {event['changes']}")
            continue
        check(
            3, new["version"] > versions.get(new["id"], 0), f"{step.name}: {names} has no version of its own"
        )
        versions[new["id"]] = new["version"]
        queue = awaited(new)
        is_long = new.get("not_before") and is_later(new["not_before"], event["recorded_at"], step.queue_hold)
        if queue and queue != awaited(old) and not is_long:
            check(
                3, (queue, new["id"], new["version"]) in sent, f"{step.name}: {names} sent nothing to {queue}"
            )
        if new.get("reflection_id") and (new["is_active"] or old.get("is_active")):
            told = new["reflection_id"] in mirrors_sent | step.lost_mirrors
            check(3, told or new["reflection_id"] not in {r["id"] for r in after.reflections},
                  f"{step.name}: {names} did not tell the mirror")  # fmt: skip
    for a in after.attempts:
        check(
            3, versions.get(a["id"]) == a["version"], f"{step.name}: version {a['version']} without an event"
        )
        waits = bool(awaited(a) or a["lease_owner"] or a["status"] == "awaiting_upload")
        deadline = after.deadline(a["id"])
        is_compared = a["activated_at"] and a["reflection_id"]  # until the sweep has seen its mirror
        check(
            3,
            waits == bool(deadline["sweep_at"]) or (is_compared and not waits),
            f"{step.name}: {a['status']} has the wrong deadline: {deadline}",
        )
        epoch = a["lease_epoch"] if a["lease_owner"] else None
        check(
            4, deadline["lease_epoch"] == epoch, f"{step.name}: the deadline is of another lease: {deadline}"
        )


def is_later(time: str, than: str, seconds: float) -> bool:
    """With a small tolerance: the event is written shortly after its transaction began."""
    wait = datetime.fromisoformat(time) - datetime.fromisoformat(than)
    return wait.total_seconds() > seconds - 0.5


def epochs(before: Snapshot, after: Snapshot, step: Step) -> None:
    now = {a["id"]: a["lease_epoch"] for a in after.attempts}
    for a in before.attempts:
        check(4, now[a["id"]] >= a["lease_epoch"], f"{step.name}: an epoch shrank")


def intents(_: Snapshot, after: Snapshot, step: Step) -> None:
    open_ = [e["attempt_id"] for e in after.enrollments if e["status"] in ("intended", "unknown")]
    check(
        5,
        len(open_) == len(set(open_)),
        f"{step.name}: two creates of one attempt, both with an open outcome",
    )
    made = {e["id"] for e in after.enrollments if e["status"] == "attached"}
    made |= {None} if any(a["source"] == "custom_voice" for a in after.attempts) else set()
    check(
        5,
        all(v["enrollment_id"] in made for v in after.voices if not v["deleted_at"] and not v["lost_at"]),
        f"{step.name}: a voice without its enrollment",
    )


def attempt_mirror(a: Row) -> dict[str, Any]:
    error = a["error_code"] and {"code": a["error_code"], "message": a["error_message"], "final": True}
    if not a["is_active"]:
        return FIRST_MIRROR | {
            "version": a["version"], "updatedAt": utc_text(a["updated_at"]),
            "error": error if a["cancel_reason"] == "original_removed" else None,
        }  # fmt: skip
    if a["taken_down_at"]:
        error = {
            "code": "voice_taken_down", "message": "This voice was taken down after a notice.", "final": True,
        }  # fmt: skip
        return attempt_mirror(a | {"taken_down_at": None}) | {
            "cloneStatus": "failed", "voiceId": None, "error": error,
        }  # fmt: skip
    return {
        "cloneStatus": a["status"], "runtimeStatus": a["runtime_status"],
        "previewStatus": a["preview_status"], "previewRequired": a["preview_status"] not in HEARD,
        "attemptId": a["id"], "voiceId": a["voice_id"] if a["status"] == "ready" else None,
        "provider": a["provider"], "targetModel": a["target_model"],
        "error": error if "failed" in (a["status"], a["runtime_status"], a["preview_status"]) else None,
        "version": a["version"], "updatedAt": utc_text(a["updated_at"]),
    }  # fmt: skip


def utc_text(text: str) -> str:
    """The one form in which clients read a time."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def mirrors(before: Snapshot, after: Snapshot, step: Step) -> None:
    was = {r["id"]: r["voice"] for r in before.reflections}
    for r in after.reflections:
        voice = r["voice"]
        old = was.get(r["id"], voice)
        check(6, voice.get("theme") == old.get("theme"), f"{step.name}: a key of others is gone")
        mine = {key: value for key, value in voice.items() if key in MIRRORED}
        shown = [a for a in after.attempts if a["reflection_id"] == r["id"] and a["activated_at"]]
        last = max(
            shown, key=lambda a: (datetime.fromisoformat(a["activated_at"]), a["version"]), default=None
        )
        version = voice.get("version", 0)
        check(6, version >= old.get("version", 0), f"{step.name}: the mirror went back")
        same = {**voice, "updatedAt": None} == {**old, "updatedAt": None}  # which travels in time
        if last is None:
            # Its former owner was erased: what was cleared when it was given away stays as it is.
            is_clear = mine.get("cloneStatus") == "none" and not (mine["attemptId"] or mine["voiceId"])
            check(6, mine == FIRST_MIRROR or (same and is_clear), f"{step.name}: not the first mirror")
        elif version == last["version"]:
            check(6, mine == attempt_mirror(last), f"{step.name}: the mirror is not its attempt's")
        else:
            check(6, same and version < last["version"], f"{step.name}: the mirror is of no attempt")
            check(6, step.mirrored != r["id"], f"{step.name}: the mirror did not converge")


def gates(_: Snapshot, after: Snapshot, step: Step) -> None:
    launchable = {
        (a["reflection_id"], a["user_id"])
        for a in after.attempts
        if a["is_active"]
        and a["status"] == "ready"
        and a["runtime_status"] == "synced"
        and a["preview_status"] in HEARD
        and not a["taken_down_at"]
    }
    for r in after.reflections:
        is_open = (r["id"], r["user_id"]) in launchable
        check(7, r["gate"] == is_open, f"{step.name}: the gate says {r['gate']}")
        strangers = [a for a in after.attempts if a["is_active"] and a["reflection_id"] == r["id"]
                     and a["user_id"] != r["user_id"]]  # fmt: skip
        check(7, not strangers, f"{step.name}: a reflection has the voice of another user")


def orphans(before: Snapshot, after: Snapshot, step: Step) -> None:
    if step.is_report:
        check(8, before.seen_by_clients() == after.seen_by_clients(), f"{step.name} changed what clients see")
    adrift = {e["id"] for e in after.enrollments if e["status"] in ("orphaned", "removed", "closed")}
    check(
        8,
        not adrift & {v["enrollment_id"] for v in after.voices if not v["deleted_at"]},
        f"{step.name}: an orphan is somebody's voice",
    )


def consents(_: Snapshot, after: Snapshot, step: Step) -> None:
    check(9, not after.uncovered, f"{step.name}: a sample without a consent")


def archives(before: Snapshot, after: Snapshot, step: Step) -> None:
    if step.archived:
        check(10, step.archived not in after.live(), f"{step.name}: its message is still there")
    if step.kept and step.kept in before.live():
        check(10, step.kept in after.live(), f"{step.name}: its message is gone, and there was no effect")


def is_same(name: str, folded: Any, value: Any) -> bool:
    """A time is the same in whatever form it is written."""
    if folded == value or not (name.endswith(("_at", "_before")) and folded and value):
        return folded == value
    return datetime.fromisoformat(folded) == datetime.fromisoformat(value)


def replays(_: Snapshot, after: Snapshot, step: Step) -> None:
    check(11, not after.misreplayed, f"{step.name}: the events do not rebuild the row")
    rows: dict[str, Row] = {}
    for event in after.events:
        rows.setdefault(event["attempt_id"], {}).update(event["changes"])
    for a in after.attempts:
        folded = rows.get(a["id"], {})
        wrong = [name for name, value in a.items() if not is_same(name, folded.get(name), value)]
        check(11, not wrong, f"{step.name}: the events do not rebuild {wrong}")


def strangers(_: Snapshot, after: Snapshot, step: Step) -> None:
    check(12, after.strangers == 0, f"{step.name}: a client sees rows of others")


def removals(_: Snapshot, after: Snapshot, step: Step) -> None:
    """What is revoked or erased is silent and goes at once; what is deleted is silent."""
    revoked = {s["id"] for s in after.samples if s["is_revoked"] or s["user_id"] is None}
    left = [s["id"] for s in after.samples if s["id"] in revoked and not s["removed_at"]]
    check(13, not left, f"{step.name}: the recording of a revoked consent stays")
    told = [j["id"] for j in after.speeches if j["sample_id"] in revoked and not j["removed_at"]]
    check(13, not told, f"{step.name}: the speech of a revoked consent stays")
    gone = {a["id"] for a in after.attempts if a["sample_id"] in revoked or a["user_id"] is None}
    live = [a["status"] for a in after.attempts if a["id"] in gone]
    check(13, set(live) <= {"cancelled", "expired"}, f"{step.name}: revoked, and {live}")
    for e in after.enrollments:
        waits = e["status"] == "attached" or (e["status"] == "orphaned" and not e["removal_due_at"])
        check(13, e["attempt_id"] not in gone or not waits, f"{step.name}: a revoked voice is {e['status']}")
    spoken = [v for v in after.voices if not v["deleted_at"] and not v["lost_at"]]
    check(13, not gone & {v["attempt_id"] for v in spoken}, f"{step.name}: a revoked voice speaks")
    owned = {v["enrollment_id"] for v in spoken}
    made = {e["provider_voice_id"]: e["id"] for e in after.enrollments}
    for v in spoken:
        original = made.get(v["provider_voice_id"])
        check(13, original is None or original in owned, f"{step.name}: a use outlives its original")
    attached = {e["id"] for e in after.enrollments if e["status"] == "attached"}
    kept = {v["enrollment_id"] for v in after.voices if v["removal_requested_at"]}
    check(13, not attached & kept, f"{step.name}: a voice whose removal was requested is kept")


def losses(_: Snapshot, after: Snapshot, step: Step) -> None:
    """What is lost at its provider is silent, and only what is lost leaves `ready` for `failed`."""
    lost = {v["attempt_id"] for v in after.voices if v["lost_at"]}
    for a in after.attempts:
        check(14, a["status"] != "ready" or a["id"] not in lost, f"{step.name}: a lost voice is ready")
        failed = a["status"] == "failed" and a["error_code"] == "voice_lost"
        check(14, not failed or a["id"] in lost, f"{step.name}: a voice failed that is not lost")
    waits = {j["attempt_id"] for j in after.speeches if j["status"] == "processing"}
    check(14, not waits & lost, f"{step.name}: a lost voice speaks")
    attached = {e["attempt_id"] for e in after.enrollments if e["status"] == "attached"}
    failed = {a["id"] for a in after.attempts if a["status"] == "failed"}
    check(14, not attached & failed & lost, f"{step.name}: a lost voice has its slot")


def takedowns(before: Snapshot, after: Snapshot, step: Step) -> None:
    """What is taken down is of one piece, is told by an open notice, and neither speaks nor is worked on."""
    frozen = {a["id"] for a in after.attempts if a["taken_down_at"]}
    noticed = {id_ for each in after.takedowns if not each["lifted_at"] for id_ in each["attempts"]}
    check(15, frozen == noticed, f"{step.name}: {frozen} are frozen, by notices about {noticed}")
    speaking = {j["attempt_id"] for j in after.speeches if j["status"] in ("queued", "processing")}
    check(15, not speaking & frozen, f"{step.name}: what was taken down is about to speak")
    samples = {a["sample_id"] for a in after.attempts if a["id"] in frozen} - {None}
    voices = {provider_voice(v) for v in after.voices if v["attempt_id"] in frozen}
    same = {a["id"] for a in after.attempts if a["sample_id"] in samples}
    same |= {v["attempt_id"] for v in after.voices if provider_voice(v) in voices}
    check(15, same <= frozen, f"{step.name}: {same - frozen} are of a sample or voice that was taken down")
    idle = {a["id"] for a in before.attempts if a["taken_down_at"] and not a["lease_owner"]}
    worked_on = {a["id"] for a in after.attempts if a["lease_owner"]} & idle & frozen
    check(15, not worked_on, f"{step.name}: what was taken down is worked on")
    held = {s["job_id"] for s in after.job_slots} | {w["job_id"] for w in after.waiting_jobs}
    waiting = {a["id"] for a in after.attempts if a["status"] == "queued"} & frozen
    check(15, not waiting & held, f"{step.name}: what was taken down keeps a slot from others")


def provider_voice(voice: Row) -> tuple[str, str, str]:
    return voice["tts_provider"], voice["provider_region"], voice["provider_voice_id"]
