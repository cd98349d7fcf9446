"""Whether a failed attempt states its true reason."""

from typing import Any

from tests.lifecycle.snapshot import Row, Snapshot

# Reasons that pass: one may end an attempt only when its budget is used up, and only where something caused
# it: one of these faults in a call to its provider, or, where none is named, a strike at our own side.
REASONS: dict[str, set[str]] = {
    "provider_throttled": {"throttled"},
    "provider_unavailable": {"internal_error", "bad_gateway"},
    "provider_outcome_unknown": {"internal_error", "bad_gateway", "hang"},
    "outcome_unknown": {"internal_error", "bad_gateway", "hang", "list_lag"},
    "worker_lost": set(),
    "deadline_exceeded": set(),
    "sample_unavailable": set(),
    "storage_unavailable": set(),
}


def untrue_reasons(snapshot: Snapshot, calls: list[Row]) -> list[Any]:
    """The failures whose reason is none of these, came too early, or has no cause."""
    met = {
        provider: {fault for call in calls if call["provider"] == provider for fault in call["met"]}
        for provider in ("qwen", "elevenlabs")
    }
    untrue = []
    for a in snapshot.attempts:
        causes = REASONS.get(a["error_code"])
        for step, status in (
            ("process", "status"),
            ("sync", "runtime_status"),
            ("preview", "preview_status"),
        ):
            if a[status] == "failed":
                used_up = a[f"{step}_count"] == a[f"{step}_budget"]
                caused = causes is not None and (not causes or causes & met[a["provider"]])
                if not (used_up and caused):
                    untrue.append((step, a[f"{step}_count"], a["error_code"], a["error_message"]))
    return untrue
