"""Random orders of what happens to employees, their voices and their files, beside a model of both.

The model has the objects of Storage: a worker that claimed a version may write it whenever it likes, or die.
After each step the invariants 1, 6, 7, 9 and 13 hold; in the end each file is what the active attempt says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.invariants import Mutant, patch, run
from tests.database.test_employee_consents import REVOKE
from tests.database.test_employee_files import CLAIM, CONFIRM, RELEASE
from tests.database.test_employee_moves import ELSEWHERE, MOVE, RESTORE
from tests.database.test_employee_recovery import RESET, RETRY
from tests.database.test_employee_voices import VOICE
from tests.fixture import Fixture, Row
from tests.lifecycle.orders import play_orders

ORDERS, STEPS = 8, 60
HUNTED = 60  # orders at most, until a mutant is found
BUDGET = 5  # retries of an admin
PASS = (
    "update voice_clone.employee_files set lease_expires_at = lease_expires_at - %(by)s::interval,"
    " again_at = again_at - %(by)s::interval, sweep_at = sweep_at - %(by)s::interval"
)
ACTIVE = "select count(*) from public.voice_clone_attempts where employee_id = %s and is_active"
KEPT = (
    "select count(*) from public.voice_samples s where s.status <> 'removed' and s.employee_id is not null"
    " and not exists (select from voice_clone.employee_consents(s.employee_id) c where c = s.consent_id)"
)
LEFT = (
    "select count(*) from public.voice_clone_attempts a join public.voices v on v.attempt_id = a.id"
    " join voice_clone.enrollments e on e.attempt_id = a.id where a.id = any (%s)"
    " and e.status <> 'closed' and (v.deleted_at is null or v.removal_requested_at is null"
    " or e.status <> 'orphaned'"
    " or e.removal_due_at is null)"
)
FAIL = (
    "select voice_clone.resolve_enrollment(%s, %s, 'closed', 'never_made', null, 0)",
    "select * from voice_clone.fail_attempt(%s, %s, 'sample_rejected', 'Not this one.', null, null)",
)


@dataclass
class Worker:
    """Of the attempt that it claimed, or of a version of a file."""

    attempt: UUID
    epoch: int
    enrollment: UUID


@dataclass
class Employee:
    id: UUID
    organization: UUID
    admin: UUID
    tokens: dict[UUID, bytes] = field(default_factory=dict)  # of the valid consent for each organization
    active: UUID | None = None
    status: str = ""  # queued, processing, ready, failed; launchable: ready, synced and heard
    retries: int = 0  # of the active attempt
    has_failed: bool = False  # the latest attempt, also where it was reset since then
    had: set[UUID] = field(default_factory=set)  # organizations in which an attempt was active
    kept: list[tuple[UUID, str]] = field(default_factory=list)  # superseded voices, the latest last
    version: int = 0  # that the mirror showed
    is_there: bool = True

    def queue(self, attempt: UUID, retries: int = 0) -> None:
        """It supersedes: a voice that was ready can be restored."""
        if self.active and self.active != attempt and self.status in ("ready", "launchable"):
            self.kept.append((self.active, self.status))
        self.active, self.status, self.retries, self.has_failed = attempt, "queued", retries, False
        self.had.add(self.organization)

    @property
    def token(self) -> bytes | None:
        return self.tokens.get(self.organization)


@dataclass
class World:
    given: Fixture
    random: Random
    organizations: list[tuple[UUID, UUID]]  # with their admins
    employees: list[Employee] = field(default_factory=list)
    gone: list[UUID] = field(default_factory=list)  # attempts that were ended with everything of theirs
    workers: list[Worker] = field(default_factory=list)
    writers: list[tuple[UUID, Row]] = field(default_factory=list)  # employee, claim; also stale ones
    objects: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def hires(self) -> None:
        if sum(e.is_there for e in self.employees) < 2:
            organization, admin = self.random.choice(self.organizations)
            self.employees.append(Employee(self.given.employee(organization), organization, admin))

    def pick(self, wanted: Callable[[Employee], object] = lambda _: True) -> Employee | None:
        fitting = [e for e in self.employees if e.is_there and wanted(e)]
        return self.random.choice(fitting) if fitting else None

    def signs(self) -> None:
        if e := self.pick(lambda e: e.token is None):
            token = self.given.invitation(e.id, e.admin)
            self.given.sign(e.id, token)
            e.tokens[e.organization] = token

    def clones(self) -> None:
        if (e := self.pick()) is None:
            return
        if e.token is None:
            with pytest.raises(psycopg.Error) as raised:
                self.given.clone_recording(e.id, e.admin)
            assert raised.value.sqlstate == "VC003", "invariant 9"
            return
        e.queue(self.given.clone_recording(e.id, e.admin))

    def claims(self) -> None:
        if (e := self.pick(lambda e: e.status == "queued")) and e.active:
            epoch = self.given.claim(e.active)["lease_epoch"]
            self.workers.append(Worker(e.active, epoch, self.given.intend(e.active, epoch)))
            e.status = "processing"

    def enrolls(self) -> None:
        """Also late: then its voice is nobody's."""
        if not self.workers:
            return
        w = self.workers.pop(self.random.randrange(len(self.workers)))
        e = next((e for e in self.employees if e.active == w.attempt), None)
        if e is None:
            with pytest.raises(psycopg.Error) as raised:
                self.given.attach(w.attempt, w.epoch, w.enrollment)
            assert raised.value.sqlstate == "VC002"
            return
        self.given.attach(w.attempt, w.epoch, w.enrollment)
        e.status = "ready"

    def fails(self) -> None:
        """The provider refuses the sample of an attempt that a worker holds."""
        held = [w for w in self.workers if any(e.active == w.attempt for e in self.employees)]
        if held:
            w = self.random.choice(held)
            self.workers.remove(w)
            self.given.one(FAIL[0], w.enrollment, w.epoch)
            self.given.one(FAIL[1], w.attempt, w.epoch)
            e = next(e for e in self.employees if e.active == w.attempt)
            e.status, e.has_failed = "failed", True

    def is_refused(self, sqlstate: str, sql: str, *parameters: object) -> None:
        with pytest.raises(psycopg.Error) as raised:
            self.given.one(sql, *parameters)
        assert raised.value.sqlstate == sqlstate, f"invariant 2: {raised.value}"

    def retries(self) -> None:
        """Of what failed, within its budget; half of them at another provider, by a new attempt."""
        if (e := self.pick()) is None:
            return
        new = uuid4()
        sql, parameters = self.random.choice(
            [(RETRY, (e.id, e.admin)), (ELSEWHERE, (new, e.id, e.admin, e.active, self.elsewhere(e)))]
        )
        if e.status != "failed" or e.retries == BUDGET:
            self.is_refused("VC007", sql, *parameters)
        elif sql is RETRY:
            assert self.given.one(sql, *parameters)["id"] == e.active
            e.queue(e.active or new, e.retries + 1)
        else:
            self.given.one(sql, *parameters)
            e.queue(new, e.retries + 1)

    def elsewhere(self, e: Employee) -> str:
        return "qwen" if e.active and self.given.attempt(e.active)["provider"] == "local" else "local"

    def moves(self) -> None:
        """A voice that works only where the admin says so."""
        if (e := self.pick()) is None:
            return
        new, switch = uuid4(), self.random.random() < 0.5
        parameters = (new, e.id, e.admin, self.elsewhere(e), switch, None)
        if e.status in ("queued", "processing") or (e.status == "launchable" and not switch):
            self.is_refused("VC007", MOVE, *parameters)
        elif e.status in ("ready", "launchable"):
            self.given.one(MOVE, *parameters)
            e.queue(new)
        else:
            self.is_refused("VC004", MOVE, *parameters)

    def restores(self) -> None:
        """The voice before, where the latest attempt failed."""
        if (e := self.pick()) is None:
            return
        if not e.has_failed or not e.kept:
            self.is_refused("VC007", RESTORE, e.id, e.admin)
            return
        kept, status = e.kept.pop()
        assert self.given.one(RESTORE, e.id, e.admin)["id"] == kept, "invariant 7: another voice came back"
        e.active, e.status, e.has_failed = kept, status, False
        e.retries = self.given.attempt(kept)["user_retry_count"]

    def resets(self) -> None:
        if (e := self.pick()) is None:
            return
        if e.organization not in e.had:
            self.is_refused("VC007", RESET, e.id, e.admin)
            return
        self.given.one(RESET, e.id, e.admin)
        e.active, e.status = None, ""

    def is_tried_elsewhere(self) -> None:
        """A voice that works is moved, which fails, and comes back or is tried again."""
        if e := self.pick(lambda e: e.status in ("ready", "launchable")):
            new = uuid4()
            self.given.one(MOVE, new, e.id, e.admin, self.elsewhere(e), True, None)
            e.queue(new)
            epoch = self.given.claim(new)["lease_epoch"]
            self.workers.append(Worker(new, epoch, self.given.intend(new, epoch)))
            e.status = "processing"
            self.compare()
            self.fails()
            self.compare()
            self.random.choice([self.restores, self.retries])()

    def is_tried_too_often(self) -> None:
        """What failed, until the budget is used."""
        e = self.pick(lambda e: e.status == "failed")
        while e and e.active and e.status == "failed" and e.retries < BUDGET:
            self.given.one(RETRY, e.id, e.admin)
            e.queue(e.active, e.retries + 1)
            epoch = self.given.claim(e.active)["lease_epoch"]
            self.given.one(FAIL[1], e.active, epoch)
            e.status, e.has_failed = "failed", True
        if e and e.status == "failed":
            self.is_refused("VC007", RETRY, e.id, e.admin)

    def moves_what_works(self) -> None:
        if e := self.pick(lambda e: e.status == "launchable"):
            self.is_refused("VC007", MOVE, uuid4(), e.id, e.admin, self.elsewhere(e), False, None)

    def works(self) -> None:
        """From the consent to a ready voice, without a pause."""
        for step in (self.signs, self.clones, self.claims):
            step()
        while self.workers:
            self.enrolls()

    def launches(self) -> None:
        if (e := self.pick(lambda e: e.status == "ready")) and e.active:
            runtime = "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)"
            self.given.one(runtime, e.active, self.given.step(e.active, "runtime"))
            preview = "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p', null, null, 0, null)"
            self.given.one(preview, e.active, self.given.step(e.active, "preview"))
            self.given.one("select * from voice_clone.complete_employee_preview(%s, %s)", e.id, e.admin)
            e.status = "launchable"

    def ends(self, e: Employee) -> None:
        """Nothing of the employee stays."""
        self.gone += [attempt for attempt in (e.active, *(id_ for id_, _ in e.kept)) if attempt]
        e.active, e.status, e.kept = None, "", []

    def revokes(self) -> None:
        if e := self.pick(lambda e: e.token):
            self.given.one(REVOKE, e.id, e.token)
            del e.tokens[e.organization]
            self.ends(e)

    def deletes_the_voice(self) -> None:
        if e := self.pick(lambda e: e.active):
            self.given.one("select voice_clone.delete_employee_voice(%s, %s)", e.id, e.admin)
            self.ends(e)

    def leaves(self) -> None:
        if e := self.pick():
            e.organization, e.admin = next(o for o in self.organizations if o[0] != e.organization)
            e.has_failed = False  # it may be true again when they return; nothing is kept to restore
            update = "update public.employees set org_id = %s where id = %s"
            self.given.superuser.execute(update, (e.organization, e.id))
            self.ends(e)  # its consent is for the other organization, and valid again if they return

    def deletes_an_employee(self) -> None:
        if e := self.pick():
            self.given.superuser.execute("delete from public.employees where id = %s", (e.id,))
            self.ends(e)
            e.is_there = False

    def claims_a_file(self) -> None:
        if self.employees:
            e = self.random.choice(self.employees)
            claim = self.given.one(CLAIM, e.id, e.id)
            if claim["outcome"] == "claimed":
                self.writers.append((e.id, claim))

    def is_late(self) -> None:
        """Its lease is over, the voice has ended, and another worker has removed the file; then it writes."""
        e = self.pick(lambda e: e.status in ("ready", "launchable"))
        if e is None or (claim := self.given.one(CLAIM, e.id, e.id))["outcome"] != "claimed":
            return
        self.given.one("select voice_clone.delete_employee_voice(%s, %s)", e.id, e.admin)
        self.ends(e)
        self.passes("3 minutes")
        self.write(e.id)
        is_very_late = self.random.random() < 0.5
        if is_very_late:  # also for the second write
            self.passes("4 hours")
            self.sweeps()
            self.write(e.id)
        self.put(e.id, claim, "confirms" if is_very_late else "dies")

    def writes_a_file(self) -> None:
        """Also late. Then it confirms, or is killed, or got no answer from Storage."""
        if self.writers:
            of, claim = self.writers.pop(self.random.randrange(len(self.writers)))
            self.put(of, claim, self.random.choice(["confirms", "confirms", "dies", "does not know"]))

    def put(self, of: UUID, claim: Row, what: str) -> None:
        if content := claim["work"]["content"]:
            self.objects[of] = content
        else:
            self.objects.pop(of, None)
        if what == "confirms":
            self.given.one(CONFIRM, of, claim["lease_epoch"], claim["work"]["version"])
        elif what == "does not know":
            self.given.one(RELEASE, of, claim["lease_epoch"], True)

    def waits(self) -> None:
        self.passes(self.random.choice(["3 minutes", "10 minutes"]))

    def passes(self, interval: str) -> None:
        self.given.superuser.execute(PASS.encode(), {"by": interval})

    def sweeps(self) -> None:
        self.given.service.execute("select * from voice_clone.sweep(100)")

    def loses_messages(self) -> None:
        self.given.superuser.execute("select pgmq.purge_queue('employee_files')")

    def mirrors(self) -> None:
        """Invariant 6: of the active attempt, never an older version, and voice_id with it."""
        for e in self.employees:
            if not e.is_there:
                continue
            self.given.one("select voice_clone.mirror_reflections(%s)", [e.id])
            row = self.given.truth("select voice, voice_id from public.employees where id = %s", e.id)
            status = {"launchable": "ready"}.get(e.status, e.status) or "none"
            assert row["voice"].get("cloneStatus", "none") == status, "invariant 6"
            assert (row["voice_id"] is not None) == (status == "ready"), "invariant 6"
            assert row["voice"].get("version", 0) >= e.version, "invariant 6"
            e.version = row["voice"].get("version", 0)

    def compare(self) -> None:
        for e in self.employees:
            if e.is_there:
                assert self.given.truth(ACTIVE, e.id)["count"] == (e.active is not None), "invariant 1"
                gate = self.given.one(VOICE, e.id, e.admin)["gate"]
                assert gate["launchable"] == (e.status == "launchable"), "invariant 7"
        assert self.given.truth(KEPT)["count"] == 0, "invariant 9"
        assert self.given.truth(LEFT, self.gone)["count"] == 0, "invariant 13"

    def settles(self) -> None:
        """No more faults: each file is what the active attempt says, and carries the newest version."""
        while self.writers:
            self.writes_a_file()
        self.loses_messages()
        for _ in range(2):
            self.passes("4 hours")
            self.sweeps()
            sent = self.given.superuser.execute("select message ->> 'id' as id from pgmq.q_employee_files")
            for of in {UUID(row["id"]) for row in sent}:
                self.write(of)
        self.mirrors()
        for e in self.employees:
            file = self.objects.get(e.id)
            active = str(e.active) if e.status in ("ready", "launchable") else None
            assert (file["attempt_id"] if file else None) == active, "the file"
        own = "select * from voice_clone.employee_files where employee_id = any (%s)"
        rows = self.given.superuser.execute(own, ([e.id for e in self.employees],)).fetchall()
        assert {row["employee_id"] for row in rows} <= {e.id for e in self.employees if e.is_there}
        assert all(row["written"] == row["wanted"] and row["sweep_at"] is None for row in rows)

    def write(self, of: UUID) -> None:
        while (claim := self.given.one(CLAIM, of, of))["outcome"] == "claimed":
            self.put(of, claim, "confirms")


ACTIONS = [
    World.hires, World.signs, World.signs, World.clones, World.clones, World.claims, World.claims,
    World.enrolls, World.enrolls, World.enrolls, World.launches, World.revokes, World.deletes_the_voice,
    World.fails, World.fails, World.retries, World.retries, World.moves, World.moves, World.restores,
    World.restores, World.resets, World.is_tried_elsewhere, World.is_tried_elsewhere,
    World.is_tried_too_often, World.moves_what_works, World.launches, World.is_late,
    World.leaves, World.deletes_an_employee, World.works, World.works, World.works, World.is_late,
    World.claims_a_file, World.claims_a_file, World.claims_a_file,
    World.writes_a_file, World.writes_a_file, World.waits, World.sweeps, World.loses_messages, World.mirrors,
]  # fmt: skip


def play(given: Fixture, seed: int) -> None:
    organizations: list[tuple[UUID, UUID]] = []
    for _ in range(2):
        admin = given.user()
        organizations.append((given.organization(admin), admin))
    world = World(given, Random(seed), organizations)
    world.hires()
    for step in range(1, STEPS + 1):
        world.random.choice(ACTIONS)(world)
        world.compare()
        if step % 15 == 0:
            world.settles()
    while world.pick():
        world.deletes_an_employee()
    world.settles()


def test_every_order_of_events_keeps_the_invariants_and_the_file(
    given: Fixture, request: pytest.FixtureRequest
) -> None:
    play_orders(play, ORDERS, given, request)


RARE = {"a retry past its budget"}  # found after many orders: the hunt is slow
MUTANTS: dict[str, Mutant] = {
    "a voice whose end leaves its file": run(
        "drop trigger voice_clone_attempts_want_file on public.voice_clone_attempts"
    ),
    "a lost worker that is forgotten": patch(
        "voice_clone.claim_employee_file", "now() + voice_clone.timeout('object_removal')", "null"
    ),
    "a revocation that ends nothing": run(
        "drop trigger voice_consents_apply_revocation on public.voice_consents"
    ),
    "a move that silences a voice that works": patch(
        "voice_clone.move_employee_voice", "if not p_switch and", "if false and"
    ),
    "a restore of a voice that a working one superseded": patch(
        "voice_clone.restore_employee_attempt",
        "if v_newer.id is not null and not voice_clone.has_ended_without_voice(v_newer)",
        "if false",
    ),
    "a retry past its budget": patch(
        "voice_clone.require_retry", "a.user_retry_count >= a.user_retry_budget", "false"
    ),
    "a move that leaves the old voice active": patch(
        "voice_clone.queue_employee_attempt",
        "perform voice_clone.cancel_attempts('superseded', p_attempts => v_former);",
        "",
    ),
    "a deletion that leaves the row of the file": run(
        "drop trigger voice_clone_forget_file on public.employees"
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in RARE else ()) for name in MUTANTS]
)
def test_the_model_finds_each_mutant(given: Fixture, request: pytest.FixtureRequest, name: str) -> None:
    MUTANTS[name](given)
    with pytest.raises(AssertionError, match="seed"):
        play_orders(play, HUNTED, given, request)
