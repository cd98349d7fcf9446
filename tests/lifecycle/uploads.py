"""Uploads: opened within the limits of their user, inspected under a lease, and queued."""

from dataclasses import dataclass
from uuid import uuid4

from backend.samples.inspections import queries as samples
from tests.lifecycle.checks import check
from tests.lifecycle.driver import MOST, NO_CONSENT, NO_EDGE, NOT_THERE, STALE, TOO_MANY, Driver
from tests.lifecycle.rows import OPEN_UPLOADS, TICK, TIMES, USER_CAP, Attempt, Refusal
from tests.lifecycle.snapshot import Bench

BUSY = Refusal("VC007", 4)


@dataclass
class Inspection:
    """An inspection that runs. Another call may have taken over."""

    attempt: Attempt
    epoch: int


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
        refusal = None if is_allowed and model.may_open(user) else TOO_MANY
        if not model.covers(consent, user, reflection):
            refusal = NO_CONSENT
        a = Attempt(str(uuid4()), user, reflection, consent)
        a.sample = a.id
        a.preview_status = "required" if reflection else "not_required"
        is_full = len(model.open_uploads(user)) >= OPEN_UPLOADS
        self.call(
            "opens an upload", samples.open, refusal, attempt=a.id, user=user, consent=consent,
            reflection=reflection, provider="local", region="", path=f"{user}/{a.id}/sample.wav",
            content_type="audio/wav", bytes=1000, preview_required=True, per_day=per_day,
        )  # fmt: skip
        if is_full and is_allowed and refusal is not NO_CONSENT:
            what = "gives way to another upload" if refusal is None else "is refused one upload more"
            self.bench.effects[what] += 1
        if refusal is None:
            model.open(a)
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
                self.queue(Inspection(a, 1))
            elif (inspection := self.begins_an_inspection(a)) and pick % 3:
                self.queue(inspection)
            elif inspection:
                self.inspections.append(inspection)

    def finalize(self, a: Attempt) -> None:
        if inspection := self.begins_an_inspection(a):
            self.queue(inspection)

    def begins_an_inspection(self, a: Attempt) -> Inspection | None:
        refusal = None if a.user_id else NOT_THERE
        if a.user_id and a.consent and not self.model.covers(a.consent, a.user_id, a.reflection_id):
            refusal = NO_CONSENT
        elif a.user_id and a.status != "awaiting_upload":
            refusal = NO_EDGE
        elif a.user_id and (a.inspected_until or 0) > self.model.clock:
            refusal = BUSY
        row = self.call("begins an inspection", samples.begin, refusal, attempt=a.id, user=a.user_id)
        if row is None:
            self.verify_invariants()
            return None
        epoch = self.model.begin_inspection(a)
        check(4, row["begin_inspection"] == epoch, f"an inspection has the epoch {row}, not {epoch}")
        self.bench.effects["begins an inspection"] += 1
        return Inspection(a, epoch)

    def queue(self, inspection: Inspection) -> None:
        a = inspection.attempt
        refusal = None if a.status == "awaiting_upload" else NO_EDGE if a.user_id else NOT_THERE
        if refusal is None and inspection.epoch != a.inspection_epoch:
            refusal = STALE
            self.bench.effects["is inspected by another call"] += 1
        self.call(
            f"queues an attempt that is {a.status}", samples.queue, refusal, attempt=a.id, user=a.user_id,
            name="Ada", language="en", transcript="hello", content_type="audio/wav", bytes=1000,
            measures="{}", prepared_path=f"{a.id}.wav", prepared_bytes=2000, delay=0,
            inspection=inspection.epoch,
        )  # fmt: skip
        if refusal is None:
            self.model.queue(a)
            row = self.bench.force(
                "select sample_id::text from public.voice_clone_attempts where id = %(id)s", id=a.id
            )
            assert row is not None
            self.samples[a.id] = row["sample_id"]

    def ends_an_inspection(self, pick: int) -> None:
        """With a result, or without one: it is renewed, and ended so that the next call need not wait."""
        inspection = self.inspections.pop(pick % len(self.inspections))
        a = inspection.attempt
        if pick % 3:
            self.queue(inspection)
            return
        held = a.status == "awaiting_upload" and a.inspection_epoch == inspection.epoch
        parameters = {"attempt": a.id, "epoch": inspection.epoch}
        row = self.call("renews an inspection", samples.renew, **parameters)
        check(4, row == {"renew_inspection": held}, f"renewing an inspection gave {row}, not {held}")
        self.call("ends an inspection", samples.end, **parameters)
        if held:
            a.inspected_until = None

    def is_inspected_by_another(self, pick: int) -> None:
        """A call that is late has lost its lease: it queues nothing. The other one does."""
        if (a := self.choose(pick, "awaiting_upload")) and (late := self.begins_an_inspection(a)):
            self.passes(TIMES["inspection_lease"] + TICK / 2)
            self.verify_invariants()
            if other := self.begins_an_inspection(a):
                self.queue(late)
                self.verify_invariants()
                self.queue(other)
