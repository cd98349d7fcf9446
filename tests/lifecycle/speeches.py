"""Speech jobs: requested, claimed, spoken or not, retried, deleted; a worker may be late."""

from copy import deepcopy
from uuid import uuid4

from backend.domains.speech.jobs import queries as speech
from backend.lifecycle.claim import queries as lifecycle
from tests.lifecycle.checks import check
from tests.lifecycle.cleanups import Cleanups
from tests.lifecycle.driver import ARCHIVE, MOST, NO_CONSENT, NOT_THERE, STALE, TAKEN_DOWN
from tests.lifecycle.rows import LEASE, MOST_JOBS, SHORT, USER_CAP, Attempt, Refusal
from tests.lifecycle.snapshot import Bench
from tests.lifecycle.speech_model import Speech
from tests.lifecycle.users import Action

QUEUE = "speech_jobs"
REQUEST = (
    "select id::text, attempt_id::text as attempt from voice_clone.request_speech"
    "(%(job)s, %(user)s, %(sample)s, 'local', '', 'Hello.', 'Ada')"
)
RETRY = "select attempt_id::text as attempt from voice_clone.retry_speech(%(job)s, %(user)s, 'Ada')"
MOST_SPEECHES = 6


class Speeches(Cleanups):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.speaking: list[tuple[str, int, int]] = []  # job, epoch, message: claims that have not ended

    def user_steps(self) -> list[Action]:
        moves = super().user_steps()
        if self.samples and len(self.model.speeches) < MOST_SPEECHES:
            moves += [self.requests_a_speech] * 4
        if self.model.speeches:
            moves += [self.deletes_a_speech]
        if any(j.status == "failed" for j in self.model.speeches.values()):
            moves += [self.retries_a_speech] * 2
        return moves

    def requests_a_speech(self, pick: int) -> None:
        model = self.model
        old = model.attempts[list(self.samples)[pick % len(self.samples)]]
        sample = self.samples[old.id]
        known = model.speakers(old.user_id, self.samples, sample)
        if old.user_id is None or old.consent is None or (not known and len(model.attempts) >= MOST):
            return
        j = Speech(str(uuid4()), old.user_id, sample, "")
        self.call_for_voice("requests a speech", REQUEST, self.refusal_of(old, known), j, old, known)

    def refusal_of(self, old: Attempt, known: set[str]) -> Refusal | None:
        if self.model.samples[old.sample or ""].status != "ready":
            return NOT_THERE
        assert old.consent is not None
        covered = known or self.model.covers(old.consent, old.user_id or "", None)
        if not covered:
            return NO_CONSENT
        return TAKEN_DOWN if self.is_taken_down(old) else None

    def call_for_voice(
        self, name: str, sql: str, refusal: Refusal | None, j: Speech, old: Attempt, known: set[str]
    ) -> bool:
        """The job gets an attempt that there is, or the one that it opens."""
        row = self.call(name, sql, refusal, job=j.id, user=j.user_id, sample=j.sample)
        if row is None:
            return False
        j.attempt_id = row["attempt"]
        self.model.speeches[j.id] = j
        if known:
            check(5, j.attempt_id in known, f"{name}: a second voice of one sample")
            return True
        a = Attempt(j.attempt_id, j.user_id, None, old.consent, old.sample)
        a.preview_status = "not_required"
        self.model.add(a)
        self.model.queue(a)
        self.samples[a.id] = j.sample
        return True

    def retries_a_speech(self, pick: int) -> None:
        every = [j for j in self.model.speeches.values() if j.user_id]
        j = every[pick % len(every)] if every else None
        if j is None:
            return
        old = next(a for id_, a in self.model.attempts.items() if self.samples.get(id_) == j.sample)
        known = self.model.speakers(j.user_id, self.samples, j.sample)
        if not known and len(self.model.attempts) >= MOST:
            return
        can = j.status == "failed" and not j.is_removed and j.retry_count < 5
        refusal = self.refusal_of(old, known) if can else Refusal("VC007", 2)
        if self.call_for_voice("retries a speech", RETRY, refusal, j, old, known):
            j.end("queued")
            j.retry_count, j.try_count = j.retry_count + 1, 0

    def deletes_a_speech(self, pick: int) -> None:
        every = [j for j in self.model.speeches.values() if j.user_id]
        if every:
            j = every[pick % len(every)]
            self.call("deletes a speech", speech.delete_speech_job, job=j.id, user=j.user_id)
            self.model.jobs.release(j.id)
            del self.model.speeches[j.id]

    def claims_a_speech(self, worker: str, id_: str, number: int, outcome: str) -> None:
        """The consumer of `speech_jobs`."""
        j, dies = self.model.speeches.get(id_), outcome == "dies before the commit"
        saved, slots = dict(vars(j)) if j else {}, deepcopy(self.model.jobs)
        said = self.model.claim_speech(j, worker)
        row = self.call(
            "claims a speech", lifecycle.claim_speech_job, crash=dies, job=id_, worker=worker, lease=LEASE,
            user_cap=USER_CAP, max_jobs=MOST_JOBS,
        )  # fmt: skip
        if dies:
            if j:
                vars(j).update(saved)
            self.model.jobs = slots
            return
        assert row is not None
        check(0, row["outcome"] == said, f"claiming a speech gave {row['outcome']}, the model says {said}")
        if said == "claimed" and j and outcome == "lives":
            self.speaking = [*self.speaking[-5:], (j.id, j.lease_epoch, number)]
        elif said not in ("claimed", "busy"):
            self.verify_invariants()
            self.call("leaves a speech", ARCHIVE, queue=QUEUE, number=number)

    def ends_a_speech(self, pick: int) -> None:
        """Spoken, refused, or away; refused by the database where another worker has the job, or nobody."""
        id_, epoch, number = self.speaking.pop(pick % len(self.speaking))
        j = self.model.speeches.get(id_)
        holds = self.model.speaks(j, epoch)
        name, sql = (
            ("speaks", lifecycle.complete_speech),
            ("fails a speech", lifecycle.fail_speech),
            ("requeues a speech", lifecycle.requeue_speech),
            ("requeues a speech", lifecycle.requeue_speech),
        )[pick % 4]
        is_outage = pick % 4 == 2
        self.call(
            name, sql, None if holds else STALE, job=id_, epoch=epoch, message=number, path="p.wav", bytes=9,
            code="x", error="x", request_id=None, delay=SHORT, is_outage=is_outage,
        )  # fmt: skip
        if j is None or not holds:
            self.step.kept = (QUEUE, number)
            return
        self.step.archived = (QUEUE, number)
        if name == "requeues a speech":
            self.model.requeue_or_fail_speech(j, "x", SHORT, is_outage=is_outage)
        else:
            self.model.end_speech(
                j, "succeeded" if name == "speaks" else "failed", None if name == "speaks" else "x"
            )

    def renews_a_speech(self, pick: int) -> None:
        id_, epoch, _ = self.speaking[pick % len(self.speaking)]
        j = self.model.speeches.get(id_)
        held = self.model.speaks(j, epoch)
        row = self.call("renews a speech", lifecycle.renew_speech, job=id_, epoch=epoch, lease=LEASE)
        assert row is not None
        check(4, row["held"] == held, f"renewing a speech gave {row['held']}, the model says {held}")
        if j and held:
            j.until = max(j.until or 0.0, self.model.clock + LEASE)
        else:
            self.step.refused_by = 4
