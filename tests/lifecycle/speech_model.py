"""The part of the model that speaks: jobs, their leases, and what ends them."""

from collections.abc import Container
from dataclasses import dataclass, field

from tests.lifecycle.removals import RemovalModel
from tests.lifecycle.rows import BUDGET, LEASE, STEP, TIMES, Attempt
from tests.lifecycle.upload_model import UploadModel

MAKING = ("awaiting_upload", "queued", "processing", "verifying")
COMPARED_SPEECHES = (
    "user_id", "attempt_id", "status", "lease_epoch", "lease_owner", "try_count", "retry_count", "error_code",
)  # fmt: skip


@dataclass
class Speech:
    """Named like the columns; `None` in `until` means that no worker holds the lease."""

    id: str
    user_id: str | None
    sample: str  # the row's id
    attempt_id: str
    status: str = "queued"
    lease_epoch: int = 0
    lease_owner: str | None = None
    until: float | None = None
    since: float = 0.0
    not_before: float | None = None
    waiting_since: float | None = None
    try_count: int = 0
    retry_count: int = 0
    error_code: str | None = None
    is_removed: bool = False

    def end(self, status: str, code: str | None = None) -> None:
        self.status, self.error_code = status, code
        self.lease_owner = self.until = self.not_before = self.waiting_since = None


@dataclass
class SpeechModel(UploadModel):
    speeches: dict[str, Speech] = field(default_factory=dict)

    def speakers(self, user: str | None, samples: dict[str, str], sample: str) -> set[str]:
        """The attempts that a new job of this sample may get; none: it opens one."""
        same = [a for a in self.attempts.values()
                if samples.get(a.id) == sample and a.user_id == user and a.provider == "local"]  # fmt: skip
        ready = {a.id for a in same if self.speaks_with(a.id)}
        return ready or {a.id for a in same if a.source == "sample" and a.status in MAKING[1:]}

    def claim_speech(self, j: Speech | None, owner: str) -> str:
        if j is None:
            return "inactive"
        if j.status not in ("queued", "processing"):
            return "nothing_to_do"
        if j.status == "processing" and (j.until or 0) > self.clock:
            return "busy"
        if j.status == "queued" and (j.not_before or 0) > self.clock:
            return "not_due"
        a = self.attempts[j.attempt_id]
        if a.status in MAKING:
            return "awaits_voice"
        if not self.speaks_with(a.id):
            codes = {"failed": a.error_code, "expired": "attempt_expired"}
            self.end_speech(j, "failed", codes.get(a.status, "attempt_cancelled"))
            return "voice_failed"
        if j.status == "processing" and j.try_count >= BUDGET:
            self.requeue_or_fail_speech(j, "worker_lost", 0)
            return "exhausted"
        slot = self.jobs.take(j.id, j.user_id or "", self.clock)
        if slot != "taken":
            return slot
        j.status, j.lease_owner, j.error_code, j.not_before = "processing", owner, None, None
        j.lease_epoch, j.try_count = j.lease_epoch + 1, j.try_count + 1
        j.since, j.until = self.clock, self.clock + LEASE
        return "claimed"

    def end_speech(self, j: Speech, status: str, code: str | None = None) -> None:
        if j.status == "processing" or (j.status, status) == ("queued", "failed"):
            self.jobs.release(j.id)
        j.end(status, code)

    def speaks(self, j: Speech | None, epoch: int) -> bool:
        """Whether the lease of this epoch is still the job's."""
        return j is not None and j.status == "processing" and j.lease_epoch == epoch

    def requeue_or_fail_speech(self, j: Speech, code: str, delay: float, *, is_outage: bool = False) -> None:
        since = self.clock if j.waiting_since is None else j.waiting_since
        again = since + TIMES["outage"] > self.clock if is_outage else j.try_count < BUDGET
        waiting = since if is_outage else j.waiting_since
        self.end_speech(j, "queued" if again else "failed", code)
        if again:
            j.try_count -= is_outage
            j.waiting_since, j.not_before = waiting, self.clock + delay

    def recover_speech(self, j: Speech) -> str:
        """The sweep of one job that is due."""
        if j.status == "processing":
            lost = (j.until or 0) <= self.clock
            if not lost and j.since + STEP > self.clock:
                return "speech_postponed"
            self.requeue_or_fail_speech(j, "worker_lost" if lost else "deadline_exceeded", 0)
            return "speech_failed" if j.status == "failed" else "speech_requeued"
        if j.status == "queued":
            is_quiet = self.attempts[j.attempt_id].status in MAKING or j.id in self.jobs.waiting
            return "speech_postponed" if is_quiet else "speech_sent"
        j.is_removed = True
        return "speech_expired"

    def silence(self, attempts: list[Attempt], user: str | None, reason: str) -> None:
        ids = {a.id for a in attempts}
        made = {e.voice for e in self.enrollments.values() if e.attempt in ids and e.voice}
        ids |= {a.id for a in self.attempts.values() if a.user_id == user and a.source == "custom_voice"
                and a.provider_voice_id in made}  # fmt: skip
        super().silence(attempts, user, reason)
        for j in self.speeches.values():
            if j.attempt_id in ids and not j.is_removed:
                if j.status in ("queued", "processing"):
                    code = "consent_revoked" if reason == "consent_revoked" else "voice_deleted"
                    self.end_speech(j, "failed", code)
                j.is_removed = True

    def lose(
        self, provider: str, voice: str | None, among: Container[str] | None = None, begun: int | None = None
    ) -> int:
        """Its provider does not have the voice: each row of it is lost, by whatever user.

        None is, where one became ready after the check of the provider began.
        """
        ids = {
            id_ for id_ in self.voices
            if self.speaks_with(id_) and (among is None or id_ in among)
            and (self.attempts[id_].provider, self.attempts[id_].provider_voice_id) == (provider, voice)
        }  # fmt: skip
        if begun is not None and any(self.attempts[id_].ready_at > begun for id_ in ids):
            return 0
        self.lost |= ids
        for j in self.speeches.values():
            if j.attempt_id in ids and j.status in ("queued", "processing"):
                self.end_speech(j, "failed", "voice_lost")
        for a in [self.attempts[id_] for id_ in ids if self.attempts[id_].status == "ready"]:
            self.change(
                a, status="failed", runtime_status="pending", error_code="voice_lost",
                preview_status="not_required" if a.preview_status == "not_required" else "required",
                provider_voice_id=a.provider_voice_id if a.source == "custom_voice" else None,
                lease_epoch=a.lease_epoch + 1, lease_owner=None, until=None, not_before=None,
                waiting_since=None,
            )  # fmt: skip
        for e in self.enrollments.values():
            if e.voice == voice and e.status == "attached" and e.attempt in ids:
                e.status = "removed"
        return len(ids)

    def is_usable(self, a: Attempt) -> bool:
        """Of a custom voice: no enrollment made it, or the user's own voice of it speaks."""
        made = [e for e in self.enrollments.values() if e.voice == a.provider_voice_id]
        return all(self.speaks_with(e.attempt) for e in made)

    def erase(self, user: str) -> None:
        RemovalModel.erase(self, user)
        for j in self.speeches.values():
            if j.user_id == user:
                j.user_id = None
