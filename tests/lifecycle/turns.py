"""Turns: an attempt over its user's cap waits without a message, and gets one when its turn comes."""

from datetime import datetime

from tests.lifecycle.checks import Step, check, new_events
from tests.lifecycle.rows import USER_CAP
from tests.lifecycle.snapshot import Snapshot

QUEUE = "voice_clone_process"


def turns(before: Snapshot, after: Snapshot, step: Step) -> None:
    """A step of a user that ends, or is claimed below the cap, sends their next attempt that waits."""
    known = {(m["queue"], m["number"]) for m in before.messages}
    sent = {m["id"] for m in after.messages
            if m["queue"] == QUEUE and (m["queue"], m["number"]) not in known}  # fmt: skip
    versions = {a["id"]: a["version"] for a in before.attempts}
    users = {a["id"]: a["user_id"] for a in before.attempts}
    for event, old, new in new_events(before, after):
        is_free = (old.get("status") == "processing" and new["status"] != "processing") or (
            old.get("status") == "queued" and new["status"] == "cancelled"
        )
        user, now = users.get(new["id"]), event["recorded_at"]
        is_below_the_cap = new["status"] == "processing" and processing(after, user, now) < USER_CAP
        if not user or not (is_free or is_below_the_cap):
            continue
        waiting = [
            a for a in after.attempts
            if a["user_id"] == user and a["status"] == "queued" and a["is_active"]
            and a["id"] != new["id"] and is_past(a["not_before"] or now, now)
        ]  # fmt: skip
        oldest = min(waiting, key=lambda a: (datetime.fromisoformat(a["queued_at"]), a["id"]), default=None)
        if oldest and oldest["version"] == versions.get(oldest["id"]):  # else it has a message of its own
            step.passed_turns += 1
            check(3, oldest["id"] in sent, f"{step.name}: nothing was sent to the attempt whose turn it is")


def processing(snapshot: Snapshot, user: str | None, now: str) -> int:
    held = {d["attempt_id"] for d in snapshot.deadlines
            if d["lease_expires_at"] and not is_past(d["lease_expires_at"], now)}  # fmt: skip
    return sum(
        a["user_id"] == user and a["status"] == "processing" and a["id"] in held for a in snapshot.attempts
    )


def is_past(time: str, now: str) -> bool:
    return datetime.fromisoformat(time) <= datetime.fromisoformat(now)
