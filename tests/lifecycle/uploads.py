"""Uploads: opened within the limits of their user, inspected under a lease, and queued."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from backend.domains.samples.sample_leases import queries as samples
from tests.lifecycle.checks import check
from tests.lifecycle.driver import MOST, NO_CONSENT, NO_EDGE, NOT_THERE, STALE, TAKEN_DOWN, TOO_MANY, Driver
from tests.lifecycle.rows import LEASE, OPEN_UPLOADS, TICK, TIMES, USER_CAP, Attempt, Refusal, Sample
from tests.lifecycle.snapshot import Bench

BUSY = Refusal("VC007", 4)
NOT_READY = Refusal("VC004", 9)


@dataclass
class Inspection:
    """An inspection that runs: of an upload, or from the queue. Another worker may have taken over."""

    sample: Sample
    epoch: int
    attempt: Attempt | None = None
    message: int | None = None


class Uploads(Driver):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.inspections: list[Inspection] = []

    def waits(self, pick: int) -> None:
        """Time passes."""
        raise NotImplementedError

    def opens_an_upload(self, pick: int) -> None:
        self.open(pick, "good")

    def opens_with_any_consent(self, pick: int) -> None:
        self.open(pick, "any")

    def uploads_and_queues(self, pick: int) -> None:
        if a := self.open(pick, "good"):
            self.verify_invariants()
            self.finalize(a)

    def opens_too_many_uploads(self, _: int) -> None:
        """One more than is allowed is refused; once they were left, one gives way to it. Some are queued."""
        while len(self.model.attempts) < MOST - 1 and self.model.may_open(self.bench.users[0]):
            if self.open(len(self.model.reflections), "good") is None:
                return
            self.verify_invariants()
        self.open(len(self.model.reflections), "good")
        self.verify_invariants()
        self.passes(TIMES["slot_reservation"] + TICK / 2)
        self.verify_invariants()
        self.open(len(self.model.reflections), "good")
        self.verify_invariants()
        for a in self.model.open_uploads(self.bench.users[0])[: USER_CAP + 1]:
            self.finalize(a)
            self.verify_invariants()

    def passes(self, seconds: float) -> None:
        raise NotImplementedError

    def open(self, pick: int, kind: str) -> Attempt | None:
        model = self.model
        reflection = [*model.reflections, None][pick % (len(model.reflections) + 1)]
        user = model.reflections[reflection] if reflection else self.bench.users[0]
        usable = [c for c in model.consents if kind == "any" or model.covers(c, user, reflection)]
        if not usable:
            return None
        consent = usable[pick % len(usable)]
        per_day, is_allowed = self.allowance(user, pick)
        refusal = None if model.covers(consent, user, reflection) else NO_CONSENT
        if not is_allowed or not model.may_open(user):
            refusal = TOO_MANY
        a = Attempt(str(uuid4()), user, reflection, consent)
        a.sample = a.id
        a.preview_status = "required" if reflection else "not_required"
        is_full = len(model.open_uploads(user)) >= OPEN_UPLOADS
        self.call(
            "opens an upload", samples.open, refusal, attempt=a.id, user=user, consent=consent,
            reflection=reflection, provider="local", region="", path=f"{user}/{a.id}/sample.wav",
            content_type="audio/wav", bytes=1000, preview_required=True, per_day=per_day,
            name=None, language=None, transcript=None,
        )  # fmt: skip
        if is_full and is_allowed and refusal is not NO_CONSENT:
            what = "gives way to another upload" if refusal is None else "is refused one upload more"
            self.bench.effects[what] += 1
        if refusal is None:
            model.open(a)
            row = self.bench.force(
                "select sample_id::text from public.voice_clone_attempts where id = %(id)s", id=a.id
            )
            assert row is not None
            model.samples[a.id] = Sample(row["sample_id"], user, consent, created_at=model.clock)
            return a
        return None

    def allowance(self, user: str, pick: int) -> tuple[int, bool]:
        """The limit of a day, mostly one more than were made, and whether it allows another attempt."""
        made = self.model.made_today(user)
        per_day = max(1, made + (pick % 29 > 0))
        if made >= per_day:
            self.bench.effects["has made enough for a day"] += 1
        return per_day, made < per_day

    def finalizes(self, pick: int) -> None:
        """An upload, or what is none: its inspection may still run when other calls come."""
        if a := self.choose(pick):
            if a.status != "awaiting_upload" and pick % 2:
                self.queue(a)
            elif inspection := self.begins_an_inspection(a):
                ways = (self.finish, self.finish, self.finish, self.inspections.append, self.refuses)
                ways[pick // 2 % 5](inspection)

    def finalize(self, a: Attempt) -> None:
        if inspection := self.begins_an_inspection(a):
            self.finish(inspection)

    def begins_an_inspection(self, a: Attempt) -> Inspection | None:
        """None where it is refused, and where the sample is ready: then the attempt is queued."""
        s = self.model.samples.get(a.sample or "")
        refusal = None if a.user_id else NOT_THERE
        if a.user_id and a.consent and not self.model.covers(a.consent, a.user_id, a.reflection_id):
            refusal = NO_CONSENT
        elif a.user_id and (a.status != "awaiting_upload" or s is None):
            refusal = NO_EDGE
        elif s and a.user_id and self.model.is_inspected(s):
            refusal = BUSY
        row = self.call(
            "begins an inspection", samples.claim_upload, refusal, attempt=a.id, user=a.user_id, worker="w",
            language="en", transcript="hello",
        )  # fmt: skip
        if row is None or s is None:
            self.verify_invariants()
            return None
        epoch = self.model.claim_upload(a, s)
        check(4, row["lease_epoch"] == epoch, f"an inspection has the epoch {row}, not {epoch}")
        self.bench.effects["begins an inspection"] += 1
        self.verify_invariants()
        if epoch is None:
            self.queue(a)
            return None
        return Inspection(s, epoch, a)

    def finish(self, inspection: Inspection) -> None:
        """The sample becomes ready; then the attempt that awaits it is queued."""
        self.completes(inspection)
        if inspection.attempt is not None:
            self.verify_invariants()
            self.queue(inspection.attempt)

    def completes(self, inspection: Inspection) -> None:
        s = inspection.sample
        self.ends(
            "prepares a sample", samples.complete, inspection, content_type="audio/wav", bytes=1000,
            content_hash=None, measures="{}", prepared_path=f"{s.id}.wav", prepared_bytes=2000,
        )  # fmt: skip
        if not self.step.refused_by:
            self.model.end_inspection(s, "ready")

    def ends(self, name: str, sql: str, inspection: Inspection, **values: Any) -> None:
        """A worker's last write, with its message. Refused where another has the lease, or nobody has."""
        refusal = None if self.model.holds_sample(inspection.sample, inspection.epoch) else STALE
        self.bench.effects.update({"is inspected by another call": 1} if refusal else {})
        message = inspection.message
        self.call(
            name, sql, refusal, sample=inspection.sample.id, epoch=inspection.epoch, message=message, **values
        )
        if message is not None and refusal is None:
            self.step.archived = ("voice_samples", message)

    def queue(self, a: Attempt) -> None:
        s = self.model.samples.get(a.sample or "")
        refusal = None if a.status == "awaiting_upload" else NO_EDGE if a.user_id else NOT_THERE
        if refusal is None and (s is None or s.status != "ready"):
            refusal = NOT_READY
        if refusal is None and self.is_taken_down(a):
            refusal = TAKEN_DOWN
        self.call(
            f"queues an attempt that is {a.status}", samples.queue, refusal, attempt=a.id, user=a.user_id,
            name="Ada", language="en", transcript="hello", delay=0,
        )  # fmt: skip
        if refusal is None and s is not None:
            self.model.queue(a)
            s.is_compared = True
            self.samples[a.id] = s.id

    def ends_an_inspection(self, pick: int) -> None:
        """Each way out: with a result, without one; or it is renewed, and still runs; or its worker dies."""
        inspection = self.inspections.pop(pick % len(self.inspections))
        s, way = inspection.sample, pick // 7 % 8
        if way < 3:
            self.finish(inspection)
        elif way == 3:
            self.renews_an_inspection(inspection)
        elif way == 4:
            self.refuses(inspection)
        elif way < 7:
            failure = ("outage", "timeout", "crash")[pick // 56 % 3]
            self.ends(
                "gives a sample back", samples.requeue, inspection, delay=0, code="x", error="No.",
                failure=failure,
            )  # fmt: skip
            if not self.step.refused_by:
                self.model.requeue_or_fail_sample(s, "x", failure)

    def refuses(self, inspection: Inspection) -> None:
        s, code = inspection.sample, "sample_silent"
        self.ends("refuses a sample", samples.refuse, inspection, code=code, error="No.", measures=None)
        if not self.step.refused_by:
            kept = s.is_kept
            self.model.end_inspection(s, "failed" if kept else "awaiting_upload", code if kept else None)

    def renews_an_inspection(self, inspection: Inspection) -> None:
        s, held = inspection.sample, self.model.holds_sample(inspection.sample, inspection.epoch)
        row = self.call("renews an inspection", samples.renew, sample=s.id, epoch=inspection.epoch)
        check(4, row == {"renew_sample": held}, f"renewing an inspection gave {row}, not {held}")
        if held:
            s.until = self.model.clock + LEASE
        self.inspections.append(inspection)

    def is_inspected_by_another(self, pick: int) -> None:
        """A call that is late has lost its lease: it completes nothing. The other one does."""
        if (a := self.choose(pick, "awaiting_upload")) and (late := self.begins_an_inspection(a)):
            self.passes(TIMES["inspection_lease"] + TICK / 2)
            self.verify_invariants()
            if other := self.begins_an_inspection(a):
                self.completes(late)
                self.verify_invariants()
                self.finish(other)
