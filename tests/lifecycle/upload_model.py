"""The part of the model that opens uploads and inspects samples: limits, leases, budgets."""

from tests.lifecycle.removals import RemovalModel
from tests.lifecycle.rows import BUDGET, DAY, LEASE, OPEN_UPLOADS, STEP, TIMES, Attempt, Sample

TIMEOUT_BUDGET = 2
SAMPLES_AT_ONCE = 2  # of one user, of those sent by themselves


class UploadModel(RemovalModel):
    def add(self, a: Attempt) -> None:
        a.created_at, a.reserved_until = self.clock, self.clock + TIMES["slot_reservation"]
        self.attempts[a.id] = a

    def made_today(self, user: str) -> int:
        return sum(
            a.user_id == user and a.source == "sample" and a.created_at + DAY > self.clock
            for a in self.attempts.values()
        )

    def open_uploads(self, user: str) -> list[Attempt]:
        return [a for a in self.attempts.values() if a.user_id == user and a.status == "awaiting_upload"]

    def may_open(self, user: str) -> bool:
        reserved = [a for a in self.open_uploads(user) if a.reserved_until > self.clock]
        return len(reserved) < OPEN_UPLOADS

    def open(self, a: Attempt) -> None:
        """The upload that was left longest ago gives way where there are as many as a user may have."""
        theirs = self.open_uploads(a.user_id or "")
        if len(theirs) >= OPEN_UPLOADS:
            self.change(next(x for x in theirs if x.reserved_until <= self.clock), status="expired")
        self.add(a)

    def is_inspected(self, s: Sample) -> bool:
        return s.status == "processing" and s.until is not None and s.until > self.clock

    def claim_upload(self, a: Attempt, s: Sample) -> int | None:
        """The epoch; None where the sample is ready."""
        a.reserved_until = max(a.reserved_until, self.clock + TIMES["slot_reservation"])
        return None if s.status == "ready" else self.take_sample(s, tries=0)

    def take_sample(self, s: Sample, *, tries: int) -> int:
        s.status, s.lease_epoch, s.process_count = "processing", s.lease_epoch + 1, s.process_count + tries
        s.since, s.until, s.not_before, s.error_code = self.clock, self.clock + LEASE, None, None
        return s.lease_epoch

    def claim_sample(self, s: Sample) -> str:
        """From the queue."""
        if s.status == "removed":
            return "inactive"
        if s.status not in ("pending", "processing"):
            return "nothing_to_do"
        if self.is_inspected(s):
            return "busy"
        if s.status == "pending" and (s.not_before or 0) > self.clock:
            return "not_due"
        sent = [
            x for x in self.samples.values() if x.user_id == s.user_id and x.is_kept
        ]  # not with an upload
        theirs = [x for x in sent if self.is_inspected(x)]
        if len(theirs) >= SAMPLES_AT_ONCE:
            return "user_busy"
        if s.process_count >= BUDGET:
            self.requeue_or_fail_sample(s, "worker_lost", "crash")
            return "exhausted"
        self.take_sample(s, tries=1)
        return "claimed"

    def holds_sample(self, s: Sample, epoch: int) -> bool:
        return s.status == "processing" and s.lease_epoch == epoch

    def end_inspection(self, s: Sample, status: str, code: str | None = None) -> None:
        s.status, s.until, s.error_code, s.is_compared = status, None, code, False
        s.waiting_since = s.waiting_since if status == "pending" else None

    def requeue_or_fail_sample(self, s: Sample, code: str, failure: str, delay: float = 0) -> None:
        if not s.is_kept:
            self.end_inspection(s, "awaiting_upload")
            return
        s.timeout_count += failure == "timeout"
        since = self.clock if s.waiting_since is None else s.waiting_since
        again = {
            "outage": since + TIMES["outage"] > self.clock,
            "timeout": s.timeout_count < TIMEOUT_BUDGET,
        }.get(failure, s.process_count < BUDGET)
        if failure == "outage" and again:
            s.process_count, s.waiting_since = max(0, s.process_count - 1), since
        self.end_inspection(s, "pending" if again else "failed", code)
        s.not_before = self.clock + delay if again else None

    def sweep_samples(self) -> None:
        used = self.used_samples()
        for key, s in self.samples.items():
            if not s.is_kept:  # an upload waits for its attempt's next call, and expires with the attempt
                continue
            over = s.until is not None and s.until <= self.clock
            if s.status == "processing" and (over or s.since + STEP <= self.clock):
                self.requeue_or_fail_sample(s, "worker_lost" if over else "deadline_exceeded", "crash")
            elif self.is_unused_in_time(s) and not s.is_compared:
                s.is_compared = True
                s.status = s.status if key in used else "removed"

    def is_unused_in_time(self, s: Sample) -> bool:
        waits = s.status == "awaiting_upload" or (s.status == "ready" and not s.is_kept)
        return waits and s.created_at + TIMES["upload"] <= self.clock
