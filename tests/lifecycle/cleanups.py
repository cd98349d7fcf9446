"""Cleanups: each begins and ends with a commit of its own, with the provider's call in between."""

from dataclasses import dataclass

from backend.lifecycle.claim import queries as lifecycle
from tests.lifecycle.checks import check
from tests.lifecycle.driver import ARCHIVE
from tests.lifecycle.rows import Enrollment
from tests.lifecycle.snapshot import Bench
from tests.lifecycle.verifications import Verifications


@dataclass
class Cleanup:
    """A cleanup that has begun. Its worker's result may be stale when it is written."""

    enrollment: Enrollment
    task: str
    message: int


class Cleanups(Verifications):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.cleanups: list[Cleanup] = []

    def begins_a_cleanup(self, e: Enrollment, number: int, *, dies: bool) -> None:
        row = self.call(f"begins to clean up what is {e.status}", lifecycle.begin_cleanup, enrollment=e.id)
        said = self.model.begin_cleanup(e)
        assert row is not None
        check(8, row["task"] == said, f"a clean-up is to {row['task']}, the model says {said}")
        if said == "nothing":
            self.verify_invariants()
            self.call("leaves it", ARCHIVE, queue="voice_cleanup", number=number)
        elif not dies:
            self.cleanups.append(Cleanup(e, said, number))

    def ends_a_cleanup(self, pick: int) -> None:
        done = self.cleanups.pop(pick % len(self.cleanups))
        e, voice = done.enrollment, self.provider.get(done.enrollment.label)
        if done.task == "look_up":
            if voice is None and self.model.clock < e.settles_at:
                return
            status = "closed" if voice is None else "orphaned"
        else:
            self.provider.pop(e.label, None)
            status = "removed"
        row = self.call(
            f"cleaned up: {status}", lifecycle.end_cleanup, enrollment=e.id, status=status, voice=voice,
            target_model="m", message=done.message,
        )  # fmt: skip
        assert row is not None
        said = self.model.end_cleanup(e, status, voice if status == "orphaned" else None)
        check(8, row["status"] == said, f"a clean-up left it {row['status']}, the model says {said}")
        self.step.archived = ("voice_cleanup", done.message)
