"""The part of the model that opens uploads: their limits, and the leases of their inspections."""

from tests.lifecycle.removals import RemovalModel
from tests.lifecycle.rows import DAY, LEASE, OPEN_UPLOADS, TIMES, Attempt


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

    def begin_inspection(self, a: Attempt) -> int:
        a.inspection_epoch, a.inspected_until = a.inspection_epoch + 1, self.clock + LEASE
        a.reserved_until = max(a.reserved_until, self.clock + TIMES["slot_reservation"])
        return a.inspection_epoch
