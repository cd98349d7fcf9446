"""Whether a failed attempt states its true reason."""

from typing import Any

from tests.lifecycle.snapshot import Snapshot

# A storm's faults of providers, Storage and Postgres are outages, which use up no budget. What remains are
# workers that died or took too long.
REASONS = {"worker_lost", "deadline_exceeded"}


def untrue_reasons(snapshot: Snapshot) -> list[Any]:
    """The failures whose reason is none of these, or that came too early."""
    untrue = []
    for a in snapshot.attempts:
        for step, status in (
            ("process", "status"),
            ("sync", "runtime_status"),
            ("preview", "preview_status"),
        ):
            used_up = a[f"{step}_count"] == a[f"{step}_budget"]
            if a[status] == "failed" and not (used_up and a["error_code"] in REASONS):
                untrue.append((step, a[f"{step}_count"], a["error_code"], a["error_message"]))
    return untrue
