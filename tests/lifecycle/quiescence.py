"""Time, the sweep, and quiescence: without further faults every attempt reaches a final state."""

from tests.lifecycle.checks import Step, awaited, check
from tests.lifecycle.driver import WORKERS
from tests.lifecycle.forbidden_writes import ForbiddenWrites
from tests.lifecycle.rows import TICK

SWEEP = "select what, count from voice_clone.sweep(100)"
QUEUES = ("voice_clone_process", "voice_runtime_sync", "voice_preview", "voice_clone_verify", "voice_cleanup",
          "speech_jobs", "object_removal", "voice_mirror", "voice_samples", "webhooks")  # fmt: skip
REQUESTED_AGAIN = (
    "enrollments", "object_removals", "samples", "webhooks_sent", "deliveries_failed", "deliveries_removed",
    "erasures",
)  # fmt: skip
DUE = "select attempt_id::text as id from voice_clone.deadlines where sweep_at <= %s order by sweep_at"
SPEECHES_DUE = "select id::text from public.speech_jobs where sweep_at <= %s order by sweep_at"
CONFIRMED = "select voice_clone.confirm_erasure(x.id) from voice_clone.erasures x"
UNCONFIRMED = """
    select array_agg(p.place || ' ' || p.name) as places from voice_clone.erasure_places p
    where p.confirmed_at is null and (p.place <> 'storage' or voice_clone.is_erased(p))
"""
ROUNDS = 60
AS_IT_SHOULD = 4  # three ticks; a verification that is looked at is verified


class Quiescence(ForbiddenWrites):
    def a_worker_ends_a_step(self, worker: str, luck: str) -> None:
        """All commits of one step in order."""
        claims, claim = self.a_claim(worker, 0)
        while not self.works(claim, luck, "lives"):
            self.verify_invariants()
        claims.remove(claim)

    def a_worker_does_a_whole_step(self, worker: str, pick: int, luck: str) -> None:
        held = len(self.claims[worker])
        self.reads_a_message(worker, pick, "lives")
        if len(self.claims[worker]) > held:
            self.verify_invariants()
            self.a_worker_ends_a_step(worker, luck)

    def waits(self, pick: int) -> None:
        self.passes((1, 1, 2, 2, 3, 6, 32)[pick % 7] * TICK)

    def passes(self, seconds: float) -> None:
        self.step = Step("waits")
        self.bench.force("select proof.travel(%(seconds)s)", seconds=seconds)
        self.model.clock += seconds

    def sweeps(self, _: int) -> None:
        self.step = Step("sweeps")
        with self.bench.service.transaction():  # a moment later more may be due
            now = self.bench.service.execute("select now()").fetchone()
            due = [self.model.attempts[id_] for id_ in self.bench.ids(DUE, now)]
            speeches = self.bench.ids(SPEECHES_DUE, now)
            rows = self.bench.service.execute(SWEEP).fetchall()
        did: dict[str, int] = {}
        shown = {r["id"]: r["voice"].get("version", 0) for r in self.snapshot.reflections}
        for a in due:
            is_behind = self.model.is_mirror_behind(a, shown)
            what = self.model.recover(a, is_behind)
            did[what] = did.get(what, 0) + 1
            if is_behind:
                did["mirrors"] = did.get("mirrors", 0) + 1
                self.lost_mirrors.discard(str(a.reflection_id))
        for id_ in speeches:
            what = self.model.recover_speech(self.model.speeches[id_])
            did[what] = did.get(what, 0) + 1
        self.model.sweep_samples()
        if released := self.model.release():
            did["released"] = released
        expired = self.model.expire()
        self.bench.effects.update({f"sweeps: {what}": 1 for what in expired})
        did |= expired
        found = {row["what"]: row["count"] for row in rows if row["what"] not in REQUESTED_AGAIN}
        check(0, found == did, f"the sweep did {found}, the model says {did}")

    def reaches_quiescence(self) -> None:
        """With new workers and no faults every attempt reaches a final state; nothing is left over."""
        for claims in self.claims.values():
            claims.clear()
        self.cleanups.clear()
        self.speaking.clear()
        self.delivering.clear()
        self.inspections.clear()
        self.lifts_every_takedown()
        for _ in range(ROUNDS):
            while self.reads_whatever_there_is():
                pass
            if self.is_quiescent():
                shown = {r["id"]: r["voice"].get("version", 0) for r in self.snapshot.reflections}
                behind = [a.id for a in self.model.attempts.values() if self.model.is_mirror_behind(a, shown)]
                check(6, not behind, f"the mirrors of {behind} are behind for ever")
                self.bench.force(CONFIRMED)
                row = self.bench.force(UNCONFIRMED)
                check(13, row is not None and not row["places"], f"not erased at rest: {row}")
                return
            self.waits(AS_IT_SHOULD)
            self.verify_invariants()
            self.sweeps(0)
            self.verify_invariants()
        left = [(a["status"], a["runtime_status"], a["preview_status"]) for a in self.snapshot.attempts]
        check(0, False, f"{ROUNDS} rounds later there is no rest: {left}, {self.model.enrollments.values()}")

    def reads_whatever_there_is(self) -> bool:
        """Handle one message of any queue, to its end."""
        worker = WORKERS[0]
        for queue in QUEUES:
            if self.handles_the_next(worker, queue, AS_IT_SHOULD, "lives"):
                self.verify_invariants()
                while self.claims[worker]:
                    self.a_worker_ends_a_step(worker, "well")
                    self.verify_invariants()
                while self.speaking:
                    self.ends_a_speech(AS_IT_SHOULD)
                    self.verify_invariants()
                while self.cleanups:
                    self.ends_a_cleanup(0)
                    self.verify_invariants()
                while self.delivering:
                    self.ends_a_delivery(AS_IT_SHOULD)
                    self.verify_invariants()
                while self.inspections:
                    self.finish(self.inspections.pop())
                    self.verify_invariants()
                return True
        return False

    def is_quiescent(self) -> bool:
        """Nothing is due, no outcome is unknown, and no provider voice is without an owner."""
        snapshot = self.snapshot
        moving = bool(snapshot.deadlines) or any(awaited(a) for a in snapshot.attempts)
        moving = moving or any(j["status"] in ("queued", "processing") for j in snapshot.speeches)
        unknown = any(e["status"] not in ("attached", "closed", "removed") for e in snapshot.enrollments)
        inspected = any(s["status"] in ("pending", "processing") for s in snapshot.samples)
        enabled = {w["id"] for w in snapshot.webhooks if w["status"] == "enabled"}
        told = any(d["status"] == "pending" and d["webhook_id"] in enabled for d in snapshot.deliveries)
        return not (moving or unknown or inspected or told or snapshot.live())
