"""What the words for the state of an attempt mean, and what would help (`voice_clone.diagnose`)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

EXPLANATIONS = {
    "dead_letter": "Its message used up its budget. "
    "Remove the reason, then run `likeness dead-letters redrive --apply`.",
    "waits_for_slot": "As many jobs run as may at once, or as its user may have. It starts when one ends.",
    "outcome_unknown": "It is not known yet if the provider made the voice. "
    "The next try looks it up, and until then no other is made. Wait.",
    "waits_to_retry": "The last try failed, and the next one waits. Wait, or remove the reason.",
    "waits_for_verification": "The provider has not verified the speaker yet, and is polled again. Wait.",
    "no_consumer": "No consumer reads its queue. Start `likeness work`; "
    "where pg_cron drains the queues, read cron.job_run_details.",
    "queued": "Its message is in the queue. If its time is over, others are before it: `likeness stats`.",
    "sweep_error": "The sweep cannot process it, and Postgres's log says why. "
    "Remove the reason: it is tried again by itself.",
    "sweep_overdue": "The sweep does not run. Start `likeness work`, or run `likeness sweep`.",
    "in_work": "A worker has it. Wait.",
    "lease_ended": "Its worker died. The sweep queues it again soon; `likeness sweep` does it at once.",
    "awaits_upload": "Its user has not finished the upload. Nothing is to be done.",
    "cancelled": "It was cancelled. Nothing more happens.",
    "expired": "Its upload was not finished in time. The user starts again.",
    "failed": "It failed. The user retries it when the reason is gone.",
    "not_active": "Another attempt of the same reflection or employee is active. Look at that one.",
    "runtime_failed": "The runtime sync used its budget. The user retries it when the reason is gone.",
    "preview_failed": "The preview used its budget. The user asks for it again when the reason is gone.",
    "awaits_listening": "Its owner has not confirmed that they heard the preview. Nothing is to be done.",
    "nothing_awaited": "It is complete, and nothing is awaited.",
}


def explain(finding: str, found: Mapping[str, Any] | None = None) -> str:
    """In words; with the reason and the time of this attempt where they are known."""
    sentences = [EXPLANATIONS[finding]]
    if found and (reason := found["attempt"]["error_code"]):
        sentences.append(f"Reason: {reason}.")
    if found and (until := found["finding"]["until"]):
        sentences.append(f"Time: {datetime.fromisoformat(until).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.")
    return " ".join(sentences)
