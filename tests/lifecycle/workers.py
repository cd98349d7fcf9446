"""The workers' actions: each commit is one action, and a worker may die before or after it."""

from copy import deepcopy
from typing import Any
from uuid import uuid4

from backend.lifecycle.claim import queries as lifecycle
from tests.lifecycle.checks import check
from tests.lifecycle.driver import ARCHIVE, STALE, WORKERS, Claim
from tests.lifecycle.rows import (
    LEASE,
    LONG,
    MOST_JOBS,
    OPEN,
    SETTLE,
    SHORT,
    USER_CAP,
    Attempt,
    Enrollment,
    Refusal,
)
from tests.lifecycle.samples import Samples

READ = "select * from voice_clone.read_messages(%(queue)s, %(seconds)s, 1)"
STEPS = {"voice_clone_process": "process", "voice_runtime_sync": "runtime", "voice_preview": "preview"}
QUEUES = {step: queue for queue, step in STEPS.items()}


class Workers(Samples):
    def begins_a_cleanup(self, e: Enrollment, number: int, *, dies: bool) -> None:
        """The consumer of `voice_cleanup`."""
        raise NotImplementedError

    def claims_a_speech(self, worker: str, id_: str, number: int, outcome: str) -> None:
        """The consumer of `speech_jobs`."""
        raise NotImplementedError

    def delivers(self, webhook: str, number: int, *, dies: bool) -> None:
        """The consumer of `webhooks`."""
        raise NotImplementedError

    def look(self, a: Attempt, number: int, pick: int, *, dies: bool) -> None:
        """The consumer of `voice_clone_verify`."""
        raise NotImplementedError

    def reads_a_message(self, worker: str, pick: int, outcome: str) -> None:
        queues = sorted({m["queue"] for m in self.snapshot.live().values() if m["visible"]})
        queues = [queue for queue in queues for _ in range(1 if queue == "voice_mirror" else 3)]
        queue = queues[pick % len(queues)]
        assert self.handles_the_next(worker, queue, pick, outcome)

    def handles_the_next(self, worker: str, queue: str, pick: int, outcome: str) -> bool:
        """False if the queue has no visible message."""
        message = self.bench.ask(READ, queue=queue, seconds=LEASE)
        if message is None:
            return False
        subject, number = message["message"]["id"], message["msg_id"]
        if queue == "voice_mirror":
            self.mirror(subject, number, crash=outcome == "dies before the commit")
        elif queue == "voice_clone_verify":
            self.look(self.model.attempts[subject], number, pick, dies=outcome == "dies before the commit")
        elif queue == "voice_cleanup":
            self.begins_a_cleanup(self.model.enrollments[subject], number, dies=outcome != "lives")
        elif queue == "speech_jobs":
            self.claims_a_speech(worker, subject, number, outcome)
        elif queue == "webhooks":
            self.delivers(subject, number, dies=outcome != "lives")
        elif queue == "voice_samples":
            self.inspects(subject, number, dies=outcome != "lives")
        elif queue == "object_removal":
            self.empties_a_folder(subject, number, crash=outcome == "dies before the commit")
        else:
            outcome = self.claim(worker, self.model.attempts[subject], STEPS[queue], number, outcome=outcome)
            if outcome not in ("claimed", "busy", "dead"):
                self.bench.ask(ARCHIVE, queue=queue, number=number)
        return True

    def mirror(self, reflection: str, number: int, *, crash: bool) -> None:
        """The effect and the archive of its message are one transaction."""
        sql = f"select voice_clone.mirror_unlocked_reflections(array[%(reflection)s]::uuid[]), ({ARCHIVE})"
        self.call("mirrors", sql, crash=crash, reflection=reflection, queue="voice_mirror", number=number)
        where = ("voice_mirror", number)
        if crash:
            self.step.kept = where
        else:
            self.step.archived, self.step.mirrored = where, reflection
            self.lost_mirrors.discard(reflection)

    def empties_a_folder(self, removal: str, number: int, *, crash: bool) -> None:
        row = self.bench.ask(lifecycle.begin_object_removal, removal=removal)
        where = ("object_removal", number)
        if row is None:
            self.call("empties nothing", ARCHIVE, queue=where[0], number=number)
            return
        self.call(
            "empties a folder", lifecycle.end_object_removal, crash=crash, removal=removal,
            is_final=row["is_final"], message=number,
        )  # fmt: skip
        self.step.kept, self.step.archived = (where, None) if crash else (None, where)

    def works_inline(self, worker: str, pick: int, outcome: str) -> None:
        if a := self.choose(pick, "queued", "processing"):
            self.claim(worker, a, "process", None, outcome=outcome)

    def claim(self, worker: str, a: Attempt, step: str, number: int | None, *, outcome: str) -> str:
        dies, saved, jobs = outcome == "dies before the commit", dict(vars(a)), deepcopy(self.model.jobs)
        early = number is None
        if step == "process":
            said = self.model.claim(a, worker, early=early)
        else:
            said = self.model.claim_step(a, step, worker)
        row = self.call(
            f"claims {step}", lifecycle.claim if step == "process" else lifecycle.claim_step, crash=dies,
            attempt=a.id, worker=worker, lease=LEASE, early=early, step=step,
            user_cap=USER_CAP, max_jobs=MOST_JOBS,
        )  # fmt: skip
        if dies:
            vars(a).update(saved)
            self.model.jobs = jobs
            return "dead"
        assert row is not None
        self.bench.effects.update({f"waits: {said}": 1} if said in ("user_busy", "all_busy") else {})
        check(0, row["outcome"] == said, f"claiming {step} gave {row['outcome']}, the model says {said}")
        if said == "claimed" and outcome == "lives":
            claim = Claim(a.id, step, a.lease_epoch, number)
            if e := self.model.open_enrollment(a.id):
                claim.enrollment, claim.label, claim.voice, claim.called = e.id, e.label, e.voice, True
                same = (row["work"]["enrollment_id"], row["work"]["label"]) == (e.id, e.label)
                check(5, same, "a claim does not tell of the create whose outcome is open")
            self.claims[worker] = [*self.claims[worker][-5:], claim]
        return said

    def works(self, claim: Claim, luck: str, outcome: str) -> bool:
        """A claim's next move, and whether it was the last: an intent, a provider's call, or a result."""
        if claim.step == "process":
            if self.model.attempts[claim.attempt].source == "custom_voice":
                return self.attach_custom(claim, luck, outcome)
            return self.process(claim, luck, outcome)
        return self.prepare(claim, luck, outcome)

    def a_claim(self, worker: str, pick: int) -> tuple[list[Claim], Claim]:
        """The newest first; the other worker's if this one has none."""
        claims = self.claims[worker] or self.claims[WORKERS[0]] or self.claims[WORKERS[1]]
        return claims, claims[::-1][pick % len(claims)]

    def process(self, claim: Claim, luck: str, outcome: str) -> bool:
        """Whether the claim has ended. The order is the product's: look up, intend, call, write."""
        if claim.enrollment is None:
            self.intend(claim, outcome)
            return self.step.refused_by != 0
        e = self.model.enrollments[claim.enrollment]
        if not claim.called:
            return self.create(claim, e, luck, outcome)
        voice = claim.voice or (None if claim.found_nothing else self.provider.get(e.label))
        if voice is not None:
            return self.attach(claim, voice, outcome, verifies=luck == "verification")
        if self.model.clock < e.settles_at:
            return self.requeue(claim, LONG, outcome)
        if not claim.found_nothing:  # before it writes that, another worker may report the voice
            claim.found_nothing = True
            return False
        if e.voice is not None and not self.is_stale(claim):
            return self.is_refused_closing(claim, e)
        if not self.give_up(claim, "closed", outcome, 0):
            claim.enrollment, claim.called, claim.found_nothing = None, False, False
            return False
        return True

    def create(self, claim: Claim, e: Enrollment, luck: str, outcome: str) -> bool:
        """The one create call. One that outlasts its time is reported late."""
        claim.called = True
        if self.model.clock >= e.settles_at:
            if luck == "well" and e.voice is None and e.status in (*OPEN, "closed") and self.is_stale(claim):
                self.provider[e.label] = f"voice-{e.label}"
                self.report(e, self.provider[e.label])
                return True
            luck = "unknown"  # the call has its own deadline, and it is before that
        if luck in ("well", "verification", "unknown, made"):
            self.provider[e.label] = f"voice-{e.label}"
        if luck in ("well", "verification"):
            claim.voice = self.provider[e.label]
            return False
        if luck.startswith("unknown"):
            return self.give_up(claim, "unknown", outcome, SETTLE) or self.requeue(claim, LONG, outcome)
        done = self.give_up(claim, "closed", outcome, 0)
        return done or (
            self.requeue(claim, SHORT, outcome) if luck == "throttled" else self.fail(claim, outcome)
        )

    def is_stale(self, claim: Claim) -> bool:
        return not self.model.holds(self.model.attempts[claim.attempt], claim.epoch, "processing")

    def is_refused_closing(self, claim: Claim, e: Enrollment) -> bool:
        """Its voice was reported meanwhile; the next worker finds it."""
        self.call(
            "closes an enrollment that has a voice", lifecycle.resolve, Refusal("VC007", 5),
            attempt=claim.attempt, epoch=claim.epoch, message=claim.message, enrollment=e.id, status="closed",
            code="x", request_id=None, settle=0,
        )  # fmt: skip
        self.verify_invariants()
        return self.requeue(claim, SHORT, "lives")

    def write(
        self, claim: Claim, name: str, sql: str, held_in: str, outcome: str, /, **parameters: Any
    ) -> Attempt | None:
        """A worker's guarded write; returns the attempt if it had an effect."""
        a = self.model.attempts[claim.attempt]
        holds = self.model.holds(a, claim.epoch, held_in)
        dies = outcome == "dies before the commit" and holds
        self.call(
            name, sql, None if holds else STALE, crash=dies, attempt=claim.attempt, epoch=claim.epoch,
            message=claim.message, **parameters,
        )  # fmt: skip
        if self.step.refused_by:
            self.step.kept = self.message_of(claim)
            return None
        return a

    def message_of(self, claim: Claim) -> tuple[str, int] | None:
        return (QUEUES[claim.step], claim.message) if claim.message else None

    def intend(self, claim: Claim, outcome: str) -> None:
        label = uuid4().hex[:16]
        a = self.model.attempts[claim.attempt]
        holds = self.model.holds(a, claim.epoch, "processing")
        dies = outcome == "dies before the commit" and holds
        refusal = None if holds else STALE
        if holds and self.model.open_enrollment(a.id):
            refusal, dies = Refusal("VC007", 5), False
        row = self.call(
            "intends an enrollment", lifecycle.intend, refusal, crash=dies,
            attempt=a.id, epoch=claim.epoch, label=label, kind="match", settle=SETTLE, account="local",
        )  # fmt: skip
        if row is not None:
            settles_at = self.model.clock + SETTLE
            self.model.enrollments[row["id"]] = Enrollment(row["id"], a.id, label, settles_at)
            claim.enrollment, claim.label = row["id"], label

    def give_up(self, claim: Claim, status: str, outcome: str, settle: float) -> bool:
        """Resolve as closed or unknown; returns whether it was refused."""
        assert claim.enrollment is not None
        e = self.model.enrollments[claim.enrollment]
        a = self.write(
            claim, f"resolves an enrollment as {status}", lifecycle.resolve, "processing", outcome,
            enrollment=e.id, status=status, code="x", request_id=None, settle=settle,
        )  # fmt: skip
        if a:
            e.status, e.settles_at = status, self.model.clock + settle
            self.verify_invariants()
        return a is None

    def requeue(self, claim: Claim, delay: float, outcome: str, *, is_outage: bool = True) -> bool:
        if a := self.write(
            claim, "requeues", lifecycle.requeue, "processing", outcome, delay=delay, code="x", error="x",
            is_outage=is_outage,
        ):  # fmt: skip
            self.step.archived = self.message_of(claim)
            self.model.requeue_or_fail(a, "x", delay, is_outage=is_outage)
        return True

    def fail(self, claim: Claim, outcome: str) -> bool:
        if a := self.write(
            claim, "fails", lifecycle.fail, "processing", outcome, code="x", error="x", request_id=None
        ):
            self.step.archived = self.message_of(claim)
            self.model.end(a, "x", status="failed")
        return True

    def attach(self, claim: Claim, voice: str, outcome: str, *, verifies: bool) -> bool:
        assert claim.enrollment is not None
        e = self.model.enrollments[claim.enrollment]
        values = {
            "enrollment": e.id,
            "voice": voice,
            "target_model": "m",
            "request_id": "r",
            "metadata": None,
        }
        sql, name = (
            (lifecycle.await_verification, "awaits verification")
            if verifies
            else (lifecycle.attach, "attaches")
        )
        if a := self.write(claim, name, sql, "processing", outcome, **values):
            self.step.archived = self.message_of(claim)
            e.status, e.voice = "attached", voice
            if verifies:
                self.model.await_verification(a, voice)
            else:
                return self.goes_on(claim, a, voice)
        elif self.step.refused_by == STALE.invariant and outcome == "lives":
            self.verify_invariants()
            self.report(e, voice)
        return True

    def attach_custom(self, claim: Claim, luck: str, outcome: str) -> bool:
        is_usable = self.model.is_usable(self.model.attempts[claim.attempt])
        if luck in ("rejected", "throttled", "unknown") or not is_usable:
            if luck == "rejected" or not is_usable:
                return self.fail(claim, outcome)
            return self.requeue(claim, SHORT, outcome, is_outage=luck == "throttled")
        if a := self.write(
            claim, "attaches a custom voice", lifecycle.attach_custom_voice, "processing", outcome, label=None
        ):
            self.step.archived = self.message_of(claim)
            return self.goes_on(claim, a, a.provider_voice_id)
        return True

    def goes_on(self, claim: Claim, a: Attempt, voice: str | None) -> bool:
        """Whether the claim has ended: a reflection's new voice is synced under the same lease."""
        self.model.make_ready(a, voice)
        claim.step, claim.message = "runtime", None
        return a.lease_owner is None

    def report(self, e: Enrollment, voice: str) -> None:
        """The voice of a worker that lost its lease."""
        row = self.call(
            "reports a late voice", lifecycle.report, enrollment=e.id, voice=voice, target_model="m",
            requires_verification=False, request_id="r", metadata=None,
        )  # fmt: skip
        assert row is not None
        said = self.model.report(e, voice)
        self.step.is_report = True
        check(8, row["status"] == said, f"a late voice is {row['status']}, the model says {said}")

    def prepare(self, claim: Claim, luck: str, outcome: str) -> bool:
        """The end of a runtime sync or a preview."""
        a = self.model.attempts[claim.attempt]
        is_runtime = claim.step == "runtime"
        again = "pending" if is_runtime else "required"
        done = "synced" if is_runtime else "rendered"
        status = {"rejected": "failed", "throttled": again, "unknown": again}.get(luck, done)
        code = None if status == done else "x"
        is_outage = luck == "throttled"
        if self.write(
            claim, f"marks {claim.step} {status}",
            lifecycle.mark_runtime if is_runtime else lifecycle.mark_preview, "ready", outcome,
            status=status, code=code, error=code, delay=SHORT, path=None if code else "p.wav",
            is_outage=is_outage,
        ):  # fmt: skip
            self.step.archived = self.message_of(claim)
            if status == again:
                self.model.requeue_or_fail_step(a, claim.step, "x", SHORT, is_outage=is_outage)
            else:
                self.model.end(a, code, **{f"{claim.step}_status": status})
            if status == "rendered":
                self.model.previews[a.id] = self.model.clock
        return True

    def renews(self, worker: str, pick: int) -> None:
        _, claim = self.a_claim(worker, pick)
        a = self.model.attempts[claim.attempt]
        held = a.is_active and a.lease_epoch == claim.epoch and a.lease_owner is not None
        row = self.call("renews", lifecycle.renew, attempt=a.id, epoch=claim.epoch, lease=LEASE)
        assert row is not None
        check(4, row["held"] == held, f"renewing gave {row['held']}, the model says {held}")
        if held:
            a.until = max(a.until or 0.0, self.model.clock + LEASE)
        else:
            self.step.refused_by = 4

    def crashes(self, worker: str) -> None:
        self.claims[worker].clear()
