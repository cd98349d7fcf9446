"""A model of the lifecycle in Python: what each function of schema voice_clone must change.

Times are seconds on the model's own clock, which only a wait moves. Every span ends on a half of a tick and
every wait is whole ticks, so that the real time that a run takes decides nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.lifecycle.job_slots import JobSlots
from tests.lifecycle.rows import (
    BUDGET,
    LEASE,
    OPEN,
    STEP,
    TIMES,
    Attempt,
    Consent,
    Enrollment,
    Sample,
)


@dataclass
class Model:
    clock: float = 0.0
    changes: int = 0
    attempts: dict[str, Attempt] = field(default_factory=dict)
    enrollments: dict[str, Enrollment] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    reflections: dict[str, str] = field(default_factory=dict)
    voices: dict[str, bool] = field(default_factory=dict)  # by attempt: is it deleted?
    deleted_at: dict[str, float] = field(default_factory=dict)  # by attempt, of those
    lost: set[str] = field(default_factory=set)  # by attempt: its provider does not have the voice
    requested: set[str] = field(default_factory=set)  # whose removal is, by attempt
    jobs: JobSlots = field(default_factory=JobSlots)
    samples: dict[str, Sample] = field(default_factory=dict)
    previews: dict[str, float] = field(default_factory=dict)  # by attempt: when it was rendered

    def change(self, a: Attempt, **values: object) -> None:
        """One transition: the version grows, above all that the reflection has shown where it activates."""
        was_active, was = a.is_active, a.status
        self.changes += 1
        for name, value in values.items():
            setattr(a, name, value)
        if was == "awaiting_upload" and a.status in ("expired", "cancelled"):
            self.remove_samples([a.sample])
        if a.status != was:
            a.was_ready = a.was_ready or a.status == "ready"
            a.ready_at = self.changes if a.status == "ready" else a.ready_at
            a.queued_at = self.changes if a.status == "queued" else a.queued_at
            a.failed_at = self.changes if a.status == "failed" else a.failed_at
            if was == "processing" or (was, a.status) == ("queued", "cancelled"):
                self.jobs.release(a.id)
        if a.is_active and not was_active:
            a.activated, a.activated_at = True, self.changes
            shown = [x.version for x in self.of_reflection(a.reflection_id) if x.activated and x is not a]
            a.version = max([a.version, *shown])
        a.version += 1

    def remove_samples(self, samples: Iterable[str | None], *, kept: bool = False) -> None:
        raise NotImplementedError

    def speaks_with(self, attempt: str) -> bool:
        """Its voice is neither deleted nor lost."""
        return self.voices.get(attempt) is False and attempt not in self.lost

    def of_reflection(self, reflection: str | None) -> Iterator[Attempt]:
        return (a for a in self.attempts.values() if reflection and a.reflection_id == reflection)

    def active(self, reflection: str) -> Attempt | None:
        return next((a for a in self.of_reflection(reflection) if a.is_active), None)

    def open_enrollment(self, attempt: str) -> Enrollment | None:
        return next((e for e in self.enrollments.values() if e.attempt == attempt and e.status in OPEN), None)

    def last_shown(self, reflection: str) -> Attempt | None:
        """To its present owner."""
        owner = self.reflections[reflection]
        shown = [a for a in self.of_reflection(reflection) if a.activated and a.user_id == owner]
        return max(shown, key=lambda a: a.version, default=None)

    def covers(self, consent: str, user: str, reflection: str | None) -> bool:
        c = self.consents[consent]
        return c.user == user and not c.revoked and c.subject in (None, reflection)

    # What users do; removals.py has what removes their voices

    def queue(self, a: Attempt) -> None:
        for other in list(self.of_reflection(a.reflection_id)):
            if other.is_active:
                self.cancel(other, "superseded")
        self.change(a, status="queued", is_active=True, not_before=self.clock)

    def cancel(self, a: Attempt, reason: str, **values: object) -> None:
        was = a.status
        self.change(
            a, status="cancelled", is_active=False, cancel_reason=reason,
            lease_epoch=a.lease_epoch + 1, lease_owner=None, until=None, **values,
        )  # fmt: skip
        if was == "verifying":
            self.orphan_attached(a)

    def retry(self, a: Attempt) -> None:
        values: dict[str, object] = {}
        if a.status == "failed":
            values |= {"status": "queued", "process_count": 0}
        if a.runtime_status == "failed":
            values |= {"runtime_status": "pending", "sync_count": 0}
        if a.preview_status == "failed":
            values |= {"preview_status": "required", "preview_count": 0}
        self.change(
            a, user_retry_count=a.user_retry_count + 1, error_code=None, not_before=None, waiting_since=None,
            **values,
        )  # fmt: skip

    def restorable(self, reflection: str) -> Attempt | None:
        kept = [
            a for a in self.of_reflection(reflection)
            if a.activated and a.status == "cancelled" and a.cancel_reason == "superseded" and a.was_ready
            and self.speaks_with(a.id) and a.user_id == self.reflections[reflection]
            and (a.consent is None or self.covers(a.consent, a.user_id or "", reflection))
        ]  # fmt: skip
        return max(kept, key=lambda a: a.version, default=None)

    def restore(self, kept: Attempt) -> None:
        for a in list(self.of_reflection(kept.reflection_id)):
            if a.is_active:
                self.cancel(a, "restored")
        synced, seen = kept.runtime_status == "synced", kept.preview_status in ("rendered", "completed")
        runtime = "pending" if kept.runtime_status in ("syncing", "failed") else kept.runtime_status
        preview = "required" if kept.preview_status in ("rendering", "failed") else kept.preview_status
        self.change(
            kept, status="ready", is_active=True, cancel_reason=None, error_code=None, not_before=None,
            waiting_since=None,
            runtime_status=runtime, preview_status=preview, sync_count=kept.sync_count if synced else 0,
            preview_count=kept.preview_count if seen else 0,
        )  # fmt: skip

    def is_withdrawn(self, a: Attempt) -> bool:
        return a.user_id is None or (a.consent is not None and self.consents[a.consent].revoked)

    def orphan(self, e: Enrollment) -> None:
        e.status, e.orphaned_at = "orphaned", self.clock
        if self.is_withdrawn(self.attempts[e.attempt]):
            e.removal_due = self.clock if e.removal_due is None else e.removal_due

    def orphan_attached(self, a: Attempt) -> None:
        for e in self.enrollments.values():
            if e.attempt == a.id and e.status == "attached":
                self.orphan(e)

    # What workers do

    def holds(self, a: Attempt, epoch: int, status: str) -> bool:
        return a.is_active and a.status == status and a.lease_epoch == epoch and a.lease_owner is not None

    def is_leased(self, a: Attempt) -> bool:
        return a.until is not None and a.until > self.clock

    def take(self, a: Attempt, owner: str, **values: object) -> str:
        self.change(
            a, lease_epoch=a.lease_epoch + 1, lease_owner=owner, until=self.clock + LEASE,
            since=self.clock, not_before=None, **values,
        )  # fmt: skip
        return "claimed"

    def claim(self, a: Attempt, owner: str, *, early: bool) -> str:
        if not a.is_active:
            return "inactive"
        if a.status not in ("queued", "processing") or a.is_taken_down:
            return "nothing_to_do"
        if a.status == "processing" and self.is_leased(a):
            return "busy"
        if a.status == "queued" and (a.not_before or 0) > self.clock and not early:
            return "not_due"
        if a.status == "processing":
            self.requeue_or_fail(a, "worker_lost", LEASE)
            if a.status == "failed":
                return "exhausted"
        slot = self.jobs.take(a.id, a.user_id or "", self.clock)
        if slot != "taken":
            return slot
        return self.take(
            a,
            owner,
            status="processing",
            process_count=a.process_count + 1,
            error_code=None,
            verified_once=False,
        )

    def may_try_again(self, a: Attempt, count: int, *, is_outage: bool) -> tuple[bool, dict[str, object]]:
        """And what an outage changes: no try is counted, for as long as it may last."""
        if not is_outage:
            again = count < BUDGET
            return again, {"waiting_since": a.waiting_since if again else None}
        since = self.clock if a.waiting_since is None else a.waiting_since
        again = since + TIMES["outage"] > self.clock
        return again, {"waiting_since": since if again else None}

    def requeue_or_fail(self, a: Attempt, code: str, delay: float, *, is_outage: bool = False) -> None:
        again, values = self.may_try_again(a, a.process_count, is_outage=is_outage)
        self.change(
            a, status="queued" if again else "failed", not_before=self.clock + delay if again else None,
            process_count=a.process_count - (again and is_outage), error_code=code, lease_owner=None,
            until=None, **values,
        )  # fmt: skip

    def claim_step(self, a: Attempt, step: str, owner: str) -> str:
        state = a.runtime_status if step == "runtime" else a.preview_status
        waiting, lost = state in ("pending", "required"), state in ("syncing", "rendering")
        if not a.is_active or a.status != "ready":
            return "inactive"
        if (not waiting and not lost) or a.is_taken_down:
            return "nothing_to_do"
        if self.is_leased(a):
            return "busy"
        if waiting and (a.not_before or 0) > self.clock:
            return "not_due"
        if lost:
            self.requeue_or_fail_step(a, step, "worker_lost", LEASE)
            if "failed" in (a.runtime_status, a.preview_status):
                return "exhausted"
        if step == "runtime":
            return self.take(a, owner, runtime_status="syncing", sync_count=a.sync_count + 1)
        return self.take(a, owner, preview_status="rendering", preview_count=a.preview_count + 1)

    def requeue_or_fail_step(
        self, a: Attempt, step: str, code: str, delay: float, *, is_outage: bool = False
    ) -> None:
        counter = "sync_count" if step == "runtime" else "preview_count"
        count: int = getattr(a, counter)
        again, values = self.may_try_again(a, count, is_outage=is_outage)
        to = ("pending" if step == "runtime" else "required") if again else "failed"
        values |= {f"{step}_status": to, counter: count - (again and is_outage)}
        self.change(
            a, not_before=self.clock + delay if again else None,
            error_code=code, lease_owner=None, until=None, **values,
        )  # fmt: skip

    def end(self, a: Attempt, code: str | None = None, **values: object) -> None:
        """A worker's last write: it releases the lease."""
        self.change(a, error_code=code, lease_owner=None, until=None, waiting_since=None, **values)

    def make_voice(self, a: Attempt) -> None:
        self.voices[a.id] = False
        self.lost.discard(a.id)

    def make_ready(self, a: Attempt, voice: str | None) -> None:
        """The worker continues to the runtime sync under its lease, if the attempt has a reflection."""
        self.make_voice(a)
        if a.reflection_id:
            self.change(
                a, status="ready", provider_voice_id=voice, error_code=None, waiting_since=None,
                runtime_status="syncing", sync_count=a.sync_count + 1,
            )  # fmt: skip
        else:
            self.end(a, status="ready", provider_voice_id=voice)

    def await_verification(self, a: Attempt, voice: str) -> None:
        self.end(a, status="verifying", provider_voice_id=voice, verify_count=0)
        a.verifying_since, a.verified_once = self.clock, True

    def verify(self, a: Attempt) -> None:
        self.change(a, status="ready", not_before=None, error_code=None)
        self.make_voice(a)

    def thaw(self, a: Attempt) -> None:
        """The time under the takedown counts neither for a verification nor for an outage."""
        if a.status == "verifying":
            a.verifying_since += self.clock - max(a.frozen_since, a.verifying_since)
        if a.waiting_since is not None:
            a.waiting_since += self.clock - max(a.frozen_since, a.waiting_since)
        self.change(a, is_taken_down=False)

    def reject(self, a: Attempt, code: str) -> None:
        self.change(a, status="failed", error_code=code, not_before=None, provider_voice_id=None)
        self.orphan_attached(a)

    def report(self, e: Enrollment, voice: str) -> str:
        if e.status not in ("attached", "orphaned", "removing", "removed"):
            e.voice = voice
            if not self.has_worker(e) or e.status == "closed":
                self.orphan(e)
        return e.status

    # What cleans up

    def has_worker(self, e: Enrollment) -> bool:
        a = self.attempts[e.attempt]
        return a.is_active and a.status in ("queued", "processing")

    def is_owned(self, e: Enrollment) -> bool:
        used = [id_ for id_ in self.voices if self.speaks_with(id_)]
        return any(self.attempts[id_].provider_voice_id == e.voice for id_ in used) or any(
            a.provider_voice_id == e.voice and a.status in ("verifying", "ready") and a.id == e.attempt
            for a in self.attempts.values()
        )

    def begin_cleanup(self, e: Enrollment) -> str:
        if e.status in OPEN:
            if self.has_worker(e):
                return "nothing"
            if e.voice is None:
                return "look_up"
            self.orphan(e)
        elif e.status == "orphaned":
            due = e.orphaned_at + TIMES["orphan_grace"] if e.removal_due is None else e.removal_due
            if due <= self.clock and not self.is_owned(e):
                e.status = "removing"
                return "remove"
        elif e.status == "removing":
            return "check"
        return "nothing"

    def end_cleanup(self, e: Enrollment, status: str, voice: str | None) -> str:
        free = e.status in OPEN and not self.has_worker(e)
        if status == "orphaned" and free:
            e.voice = e.voice or voice
            self.orphan(e)
        elif (status == "closed" and free and e.settles_at <= self.clock) or (
            status == "removed" and e.status == "removing"
        ):
            e.status = status
        return e.status

    # What the sweep does

    def is_mirror_behind(self, a: Attempt, shown: Mapping[str, int]) -> bool:
        """`shown`: the versions that the mirrors show."""
        activated = [x for x in self.of_reflection(a.reflection_id) if x.activated]
        last = max(activated, key=lambda x: (x.activated_at, x.version), default=None)
        return last is not None and shown.get(str(a.reflection_id), 0) < last.version

    def awaits_nothing(self, a: Attempt) -> bool:
        waits = a.status in ("queued", "verifying") or (
            a.status == "ready"
            and a.reflection_id is not None
            and (
                a.runtime_status == "pending"
                or (a.runtime_status == "synced" and a.preview_status == "required")
            )
        )
        waits = waits and a.is_active and not a.is_taken_down
        return a.until is None and a.status != "awaiting_upload" and not waits

    def recover(self, a: Attempt, is_mirror_behind: bool) -> str:
        """The sweep of one attempt that is due."""
        if self.awaits_nothing(a):
            return "postponed" if is_mirror_behind else "compared"
        lost = a.until is not None and a.until <= self.clock
        if lost or (a.until is not None and a.since + STEP <= self.clock):
            code = "worker_lost" if lost else "deadline_exceeded"
            if a.status == "processing":
                self.requeue_or_fail(a, code, 0)
            else:
                self.requeue_or_fail_step(
                    a, "runtime" if a.runtime_status == "syncing" else "preview", code, 0
                )
            failed = "failed" in (a.status, a.runtime_status, a.preview_status)
            return "failed" if failed else "requeued"
        if a.status == "awaiting_upload":
            self.change(a, status="expired")
            return "expired"
        if a.status == "verifying" and a.verifying_since + TIMES["verification"] <= self.clock:
            self.reject(a, "verification_timeout")
            return "failed"
        is_quiet = a.until is not None or a.id in self.jobs.waiting  # a renewed lease; or its turn comes
        return "postponed" if is_quiet else "sent"
