"""What must hold of deliveries to webhooks after every step."""

from datetime import datetime
from itertools import groupby

from tests.lifecycle.checks import BOOKKEEPING, Step, check, new_events
from tests.lifecycle.snapshot import Snapshot

QUEUE = "webhooks"


def check_deliveries(before: Snapshot, after: Snapshot, step: Step) -> None:
    """Each transition is queued for its owner's webhook, once, and delivered in order for each attempt."""
    there = {w["user_id"]: w["id"] for w in before.webhooks if w["status"] == "enabled"}
    now = {w["id"]: w for w in after.webhooks}
    queued = {(d["webhook_id"], d["event_id"]) for d in after.deliveries}
    told = {m["id"] for m in after.messages if m["queue"] == QUEUE}
    for event, _, new in new_events(before, after):
        webhook = there.get(new.get("user_id") or "")
        if webhook in now and not set(event["events"]) <= BOOKKEEPING:
            check(3, (webhook, event["id"]) in queued, f"{step.name}: {event['events']} is not queued")
            check(3, webhook in told, f"{step.name}: {event['events']} sent no message to a webhook")
    for w in before.webhooks:
        grown = now.get(w["id"], w)["lease_epoch"] - w["lease_epoch"]
        check(4, grown >= 0, f"{step.name}: the epoch of a webhook shrank")
    if step.name == "replays an event":
        return
    old = {(d["webhook_id"], d["event_id"]): d for d in before.deliveries}
    held = {w["id"]: w["leased_at"] for w in before.webhooks}
    own = sorted(after.deliveries, key=lambda d: (d["webhook_id"], d["attempt_id"], d["event_id"]))
    for _, deliveries in groupby(own, key=lambda d: (d["webhook_id"], d["attempt_id"])):
        waits = False  # whether an earlier event waited when this step began
        for d in deliveries:
            was = old.get((d["webhook_id"], d["event_id"]), d)
            is_new = was is d or was["status"] == "pending"
            overtakes = waits and is_new and d["status"] == "delivered"
            check(3, not overtakes, f"{step.name}: an event overtakes an earlier one of its attempt")
            waits = waits or (is_new and not is_later(was["queued_at"], held.get(d["webhook_id"])))


def is_later(queued_at: str, leased_at: str | None) -> bool:
    """Replayed after a worker had taken the webhook: what that worker sent meanwhile was sent before."""
    return leased_at is not None and datetime.fromisoformat(queued_at) > datetime.fromisoformat(leased_at)
