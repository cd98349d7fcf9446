"""How a step of the property test is taken and checked.

Every call is the product's own SQL. Beside it runs the model, which says before each call what must become of
it; after it the whole database is compared with the model, and the invariants are checked from outside.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from tests.lifecycle.checks import BrokenError, Step, check, check_all
from tests.lifecycle.delivery_checks import check_deliveries
from tests.lifecycle.job_slots import check_job_slots
from tests.lifecycle.rows import COMPARED, COMPARED_OF_SAMPLES, Attempt, Consent, Refusal
from tests.lifecycle.snapshot import Bench, Row, Snapshot
from tests.lifecycle.speech_model import COMPARED_SPEECHES, SpeechModel

STALE = Refusal("VC002", 4)
NO_EDGE = Refusal("VC001", 2)
NO_CONSENT = Refusal("VC003", 9)
NOT_THERE = Refusal("VC004", 13)
TOO_MANY = Refusal("VC008", 0)
TAKEN_DOWN = Refusal("VC007", 15)
MOST_SAMPLES = 3  # that are kept, in one example
MOST = 8  # attempts in one example: what matters happens between few
WORKERS = ("the left hand", "the right hand")
REWRITE_EVENTS = ("waits", "deletes a user")
WATCHED = (
    "attempts", "deadlines", "events", "enrollments", "voices", "speeches", "reflections", "messages",
    "samples", "webhooks", "deliveries",
)  # fmt: skip
ARCHIVE = "select voice_clone.acknowledge_messages(%(queue)s, array[%(number)s::bigint])"


class Crash(Exception):  # noqa: N818 - it is none
    """The worker dies before its transaction commits."""


@dataclass
class Claim:
    """What a worker claimed. Its epoch may be stale."""

    attempt: str
    step: str
    epoch: int
    message: int | None
    enrollment: str | None = None
    label: str = ""
    voice: str | None = None
    called: bool = False
    found_nothing: bool = False  # the provider listed no voice under the label


class Driver(RuleBasedStateMachine):
    """The test's state: the model, the workers' claims, the provider's voices."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.model = SpeechModel()
        self.step = Step()
        self.is_whole = True
        self.claims: dict[str, list[Claim]] = {worker: [] for worker in WORKERS}
        self.provider: dict[str, str] = {}  # voices by label
        self.lost_mirrors: set[str] = set()  # reflections whose mirror waits for the sweep
        self.samples: dict[str, str] = {}  # by attempt, those that passed inspection
        self.customs: set[str] = set()  # attempts that use a custom voice by a call of their user
        bench.force("select proof.forget()")
        bench.add_users()
        self.snapshot: Snapshot = bench.watch()

    @initialize()
    def people(self) -> None:
        ada, bob = self.bench.users
        for user in (ada, ada, bob):
            row = self.bench.force(
                """insert into public.reflections (user_id, name, voice)
                   values (%(user)s, 'R', '{"theme": "dark"}') returning id::text""",
                user=user,
            )
            assert row is not None
            self.model.reflections[row["id"]] = user
        for user in self.bench.users:
            self.sign(user, None)
        self.sign(ada, next(iter(self.model.reflections)))
        self.snapshot = self.bench.watch()

    def sign(self, user: str, subject: str | None) -> None:
        row = self.bench.ask(
            "select id from voice_clone.sign_consent(%(user)s, 'voice_clone', 'en', %(kind)s, %(to)s, 1)",
            user=user, kind="reflection" if subject else "self", to=subject,
        )  # fmt: skip
        assert row is not None
        self.model.consents[row["id"]] = Consent(user, subject)

    def call(
        self,
        name: str,
        sql: str,
        refusal: Refusal | None = None,
        /,
        *,
        crash: bool = False,
        forced: bool = False,
        **parameters: Any,
    ) -> Row | None:
        """One transaction. Refused exactly where the model says so; on a crash it is rolled back."""
        self.step, self.is_whole = Step(name), False  # until verify_invariants says so
        connection = self.bench.superuser if forced else self.bench.service
        run = self.bench.force if forced else self.bench.ask
        try:
            with connection.transaction():
                row = run(sql, **parameters)
                if crash:
                    raise Crash
        except Crash:
            self.step.refused_by = 10
            return None
        except psycopg.Error as error:
            if refusal is None or error.sqlstate != refusal.sqlstate:
                wanted = f"{refusal.sqlstate} was to come" if refusal else "it was to be allowed"
                raise BrokenError(
                    refusal.invariant if refusal else 0, f"{name}: {error.sqlstate} {error}; {wanted}"
                ) from error
            self.step.refused_by = refusal.invariant
            return None
        if refusal and not crash:
            raise BrokenError(refusal.invariant, f"{name}: allowed, where {refusal.sqlstate} was to come")
        return row

    @invariant()
    def verify_invariants(self) -> None:
        before = self.snapshot
        self.snapshot = self.bench.watch(before, rereads=self.step.name in REWRITE_EVENTS)
        self.is_whole = False
        self.count_effect(before)
        self.step.lost_mirrors = self.lost_mirrors
        check_all(before, self.snapshot, self.step)
        check_deliveries(before, self.snapshot, self.step)
        handed_over = check_job_slots(self.model.jobs, before, self.snapshot, self.step)
        self.bench.effects.update({"hands a slot over": 1} if handed_over else {})
        rows = {a["id"]: a for a in self.snapshot.attempts}
        check(0, rows.keys() == self.model.attempts.keys(), f"{self.step.name}: other attempts")
        for a in self.model.attempts.values():
            for name in COMPARED:
                said, is_ = getattr(a, name), rows[a.id][name]
                check(0, said == is_, f"{self.step.name}: {name} is {is_}, the model says {said}")
        is_ = {id_ for id_, row in rows.items() if row["taken_down_at"]}
        said = {a.id for a in self.model.attempts.values() if a.is_taken_down}
        check(0, said == is_, f"{self.step.name}: {is_} are taken down, the model says {said}")
        rows = {s["id"]: s for s in self.snapshot.samples}
        check(
            0, rows.keys() == {s.id for s in self.model.samples.values()}, f"{self.step.name}: other samples"
        )
        for s in self.model.samples.values():
            for name in COMPARED_OF_SAMPLES:
                said, is_ = getattr(s, name), rows[s.id][name]
                check(0, said == is_, f"{self.step.name}: a sample's {name} is {is_}, the model says {said}")
        is_ = {e["id"]: (e["status"], e["provider_voice_id"]) for e in self.snapshot.enrollments}
        said = {e.id: (e.status, e.voice) for e in self.model.enrollments.values()}
        check(0, said == is_, f"{self.step.name}: enrollments are {is_}, the model says {said}")
        is_ = {v["attempt_id"]: v["deleted_at"] is not None for v in self.snapshot.voices}
        check(0, is_ == self.model.voices, f"{self.step.name}: voices are {is_}")
        jobs = {j["id"]: j for j in self.snapshot.speeches}
        check(0, jobs.keys() == self.model.speeches.keys(), f"{self.step.name}: other speech jobs")
        for j in self.model.speeches.values():
            said = [getattr(j, name) for name in COMPARED_SPEECHES] + [j.is_removed]
            is_ = [jobs[j.id][name] for name in COMPARED_SPEECHES] + [jobs[j.id]["removed_at"] is not None]
            check(0, said == is_, f"{self.step.name}: a speech job is {is_}, the model says {said}")
        for e in self.model.enrollments.values():
            is_there = e.label in self.provider
            check(
                5, not is_there or e.status not in ("closed", "removed"), f"{self.step.name}: a voice is lost"
            )
            check(8, is_there or e.status != "attached", f"{self.step.name}: a voice in use was removed")
        note(f"# {self.step.name}")
        self.is_whole = True
        self.step = Step("nothing")

    def count_effect(self, before: Snapshot) -> None:
        """A move took effect if it was allowed and changed a row; a session is a row that is not watched."""
        changed = any(getattr(before, name) != getattr(self.snapshot, name) for name in WATCHED)
        if not self.step.refused_by and (changed or self.step.name == "starts a session"):
            self.bench.effects[self.step.name] += 1

    def is_taken_down(self, a: Attempt) -> bool:
        """Whether a notice covers what it is made of: its sample, or the provider voice that it uses."""
        frozen = [x for x in self.model.attempts.values() if x.is_taken_down]
        ids, voice = {x.id for x in frozen}, (a.provider, a.provider_voice_id)
        used = {(v["tts_provider"], v["provider_voice_id"]) for v in self.snapshot.voices
                if v["attempt_id"] in ids} | {(x.provider, x.provider_voice_id) for x in frozen}  # fmt: skip
        return any(x.sample == a.sample for x in frozen if a.sample) or (
            a.provider_voice_id is not None and voice in used
        )

    def choose(self, pick: int, *statuses: str) -> Attempt | None:
        """One of the attempts in these statuses, the newest first; of all attempts if no status is given."""
        found = [a for a in self.model.attempts.values() if not statuses or a.status in statuses][::-1]
        return found[pick % len(found)] if found else None
