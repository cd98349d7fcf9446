"""Polls of a verification, and reports from outside."""

from backend.lifecycle.claim import queries as lifecycle
from tests.lifecycle.checks import check
from tests.lifecycle.driver import ARCHIVE, NO_EDGE, STALE
from tests.lifecycle.rows import TIMES, Attempt
from tests.lifecycle.workers import Workers


class Verifications(Workers):
    def look(self, a: Attempt, number: int, pick: int, *, dies: bool) -> None:
        """Polls, and writes the result; the attempt may change between the two."""
        work = self.bench.ask(lifecycle.verification_work, attempt=a.id)
        assert work is not None
        is_due = a.is_active and a.status == "verifying" and not a.is_taken_down
        is_due = is_due and (a.not_before or 0) <= self.model.clock
        check(0, (work["outcome"] == "due") == is_due, f"a look is {work['outcome']}")
        if not is_due:
            self.call("looks for nothing", ARCHIVE, queue="voice_clone_verify", number=number)
            return
        if pick % 5 == 0:
            self.is_verified_outside(pick)
            self.verify_invariants()
        stands = a.status == "verifying" and a.is_active
        look = {
            "attempt": a.id,
            "epoch": work["lease_epoch"],
            "count": work["verify_count"],
            "message": number,
        }
        refusal, dies = None if stands else STALE, dies and stands
        saw = ("verified", "pending", "pending", "rejected")[pick % 4]
        if saw == "verified":
            self.call("sees it verified", lifecycle.complete_verification, refusal, crash=dies, **look)
        elif saw == "rejected":
            self.call(
                "sees it rejected",
                lifecycle.reject_verification,
                refusal,
                crash=dies,
                code="x",
                error="x",
                **look,
            )
        else:
            self.call(
                "sees it pending",
                lifecycle.postpone_verification,
                refusal,
                crash=dies,
                at_least=0,
                code=None,
                error=None,
                **look,
            )
        where = ("voice_clone_verify", number)
        if self.step.refused_by:
            self.step.kept = where
            return
        self.step.archived = where
        if saw == "verified":
            self.model.verify(a)
        elif saw == "rejected":
            self.model.reject(a, "x")
        else:
            wait = min(
                TIMES["verification_poll"] * 2 ** min(a.verify_count, 30), TIMES["verification_poll_cap"]
            )
            a.verify_count, a.not_before = a.verify_count + 1, self.model.clock + wait

    def is_verified_outside(self, pick: int) -> None:
        if a := self.choose(pick, "verifying", "ready", "failed"):
            verified = pick % 3 != 0
            answered = a.is_active and a.verified_once and a.status == ("ready" if verified else "failed")
            can = answered or (a.status == "verifying" and a.is_active)
            name = "is verified from outside" if verified else "is rejected from outside"
            self.call(
                name, lifecycle.record_verification, None if can else NO_EDGE,
                attempt=a.id, verified=verified, voice=None, code="x", error="x",
            )  # fmt: skip
            if can and not answered:
                if verified:
                    self.model.verify(a)
                else:
                    self.model.reject(a, "x")
