"""Random orders of what happens to recordings, beside a model that says what each call must answer.

The model has the objects of Storage too: a worker that holds its lease writes one. Whatever the order, an
employee's object is that of the stored recording, and is never replaced by that of an older one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import LiteralString
from uuid import UUID

import pytest

from tests.database import test_recordings as recordings
from tests.database.invariants import patch, run
from tests.database.test_recordings import ASSIGN, COMPLETE, FAIL, REQUEUE
from tests.fixture import Fixture, Row
from tests.lifecycle.orders import play_orders

ORDERS, STEPS = 30, 60
BUDGET = 8
AGE = "update voice_clone.recordings set leased_at = leased_at - interval '3 minutes',"
PASS = f"{AGE} lease_expires_at = lease_expires_at - interval '3 minutes', sweep_at = now()"
DUE = "update voice_clone.recordings set sweep_at = now(), not_before = null where status = 'pending'"
COMPARED = "id, employee_id, status, lease_epoch, process_count"


ENDS: list[tuple[LiteralString, tuple[bool, ...]]] = [
    (COMPLETE, ()), (COMPLETE, ()), (FAIL, ()), (REQUEUE, (True,)), (REQUEUE, (False,)),
]  # fmt: skip


@dataclass
class Recording:
    """Named like the columns."""

    id: UUID
    sid: str
    call: str
    hours: int
    employee_id: UUID | None
    status: str
    lease_epoch: int = 0
    process_count: int = 0
    is_lost: bool = False  # its worker's lease is over
    is_moved: bool = False  # from an older layout, by a command

    @property
    def order(self) -> tuple[int, str]:
        return self.hours, self.sid


@dataclass
class World:
    given: Fixture
    random: Random
    admin: UUID
    organization: UUID
    employees: list[UUID]
    calls: dict[str, UUID] = field(default_factory=dict)
    recordings: dict[UUID, Recording] = field(default_factory=dict)
    workers: list[tuple[UUID, int]] = field(default_factory=list)  # recording, epoch; also stale ones
    objects: dict[UUID, Recording] = field(default_factory=dict)

    def pick(self) -> Recording | None:
        return self.random.choice([*self.recordings.values()]) if self.recordings else None

    def receives(self) -> None:
        """A callback: of a new recording, or one that came before."""
        old = self.pick() if self.random.random() < 0.3 else None
        sid, call = (old.sid, old.call) if old else (recordings.sid("RE"), self.any_call())
        hours = old.hours if old else self.random.randrange(24)
        got = recordings.receive(self.given, call, recording=sid, hours=hours, organization=self.organization)
        assert got["is_new"] == (old is None)
        if old is None:
            of = self.calls.get(call)
            status = "pending" if of else "unmatched"
            self.recordings[got["recording_id"]] = Recording(
                got["recording_id"], sid, call, hours, of, status
            )

    def any_call(self) -> str:
        """One that is known, or one whose record comes later, or never."""
        if self.calls and self.random.random() < 0.6:
            return self.random.choice([*self.calls])
        return recordings.sid("CA")

    def records_a_call(self) -> None:
        of, known = self.random.choice(self.employees), [r.call for r in self.recordings.values()]
        call = self.random.choice([*known, recordings.sid("CA")])
        if call in self.calls:
            return
        self.given.superuser.execute(
            "insert into public.calls (employee_id, call_sid) values (%s, %s)", (of, call)
        )
        self.calls[call] = of
        for r in self.recordings.values():
            if r.call == call and r.status == "unmatched":
                r.status, r.employee_id = "pending", of

    def assigns(self) -> None:
        r, of = self.pick(), self.random.choice(self.employees)
        if r is None:
            return
        if r.employee_id not in (None, of):
            assert recordings.refused(self.given, "VC007", ASSIGN, r.id, of, self.admin)
            return
        self.given.one(ASSIGN, r.id, of, self.admin)
        if r.status in ("unmatched", "failed"):
            r.status, r.employee_id, r.process_count = "pending", of, 0

    def moves(self) -> None:
        """A command begins to copy an object of the older layout."""
        old = self.pick() if self.random.random() < 0.3 else None
        call = old.call if old else self.any_call()
        sid, hours = (old.sid, old.hours) if old else (recordings.sid("RE"), self.random.randrange(24))
        said = self.move_outcome(self.calls.get(call), sid, hours)
        got = recordings.begin_move(self.given, call, sid, hours)
        assert got["outcome"] == said, f"moving gave {got['outcome']}, the model says {said}"
        if said == "movable":
            id_, of = got["recording_id"], self.calls[call]
            made = Recording(id_, sid, call, hours, of, "processing", lease_epoch=1, is_moved=True)
            self.recordings[id_] = made
            self.workers.append((id_, 1))

    def move_outcome(self, of: UUID | None, sid: str, hours: int) -> str:
        if of is None:
            return "unmatched"
        for r in [*self.recordings.values()]:
            if r.employee_id == of and r.status == "processing" and r.is_lost:
                self.recover(r)
        same = next((r for r in self.recordings.values() if r.sid == sid), None)
        if same and same.employee_id == of and same.status in ("stored", "superseded"):
            return "moved"
        if same and not same.is_moved:
            return "known"
        own = [r for r in self.recordings.values() if r.employee_id == of]
        if any(r.status == "processing" for r in own):
            return "later"
        is_older = any(r.status == "stored" and r.order > (hours, sid) for r in own)
        return "older" if is_older else "movable"

    def claims(self) -> None:
        if (r := self.pick()) is None:
            return
        said = self.claimed(r)
        got = recordings.claim(self.given, r.id)
        assert got["outcome"] == said, f"claiming gave {got['outcome']}, the model says {said}"
        if said == "claimed":
            assert got["lease_epoch"] == r.lease_epoch, "the epoch grows by one"
            self.workers.append((r.id, r.lease_epoch))

    def claimed(self, r: Recording) -> str:
        if r.status not in ("pending", "processing"):
            return "nothing_to_do"
        if r.status == "processing" and not r.is_lost:
            return "busy"
        if r.is_moved:
            self.recover(r)
            return "inactive"
        own = [x for x in self.recordings.values() if x.employee_id == r.employee_id and x is not r]
        if any(x.status == "stored" and x.order > r.order for x in own):
            r.status = "superseded"
            return "superseded"
        for other in (x for x in own if x.status == "processing"):
            if not other.is_lost:
                return "busy"
            self.recover(other)
        if r.process_count >= BUDGET:
            r.status = "failed"
            return "exhausted"
        r.status, r.is_lost = "processing", False
        r.lease_epoch, r.process_count = r.lease_epoch + 1, r.process_count + 1
        return "claimed"

    def recover(self, r: Recording) -> None:
        if r.is_moved:
            del self.recordings[r.id]
            return
        r.status, r.is_lost = "pending" if r.process_count < BUDGET else "failed", False

    def works(self) -> None:
        """A worker, perhaps a late one, ends its step."""
        if not self.workers:
            return
        id_, epoch = self.workers.pop(self.random.randrange(len(self.workers)))
        r = self.recordings.get(id_)
        holds = r is not None and r.status == "processing" and r.lease_epoch == epoch
        if r is None or r.is_moved:
            self.ends_a_move(id_, epoch, r if holds else None)
            return
        renewed = self.given.one("select voice_clone.renew_recording(%s, %s) as held", id_, epoch)["held"]
        assert renewed == holds
        r.is_lost = r.is_lost and not holds
        sql, *values = self.random.choice(
            [(COMPLETE,), (COMPLETE,), (FAIL,), (REQUEUE, True), (REQUEUE, False)]
        )
        if not holds:
            recordings.refused(self.given, "VC002", sql, id_, epoch, *values, None)
            return
        if sql is COMPLETE:  # it has renewed its lease, so it writes the object
            self.writes(r)
        self.given.one(sql, id_, epoch, *values, None)
        self.end(r, sql, values)

    def writes(self, r: Recording) -> None:
        assert r.employee_id is not None
        before = self.objects.get(r.employee_id)
        assert before is None or before.order < r.order or before is r, "an older one replaces a newer"
        self.objects[r.employee_id] = r

    def ends_a_move(self, id_: UUID, epoch: int, held: Recording | None) -> None:
        """A command, perhaps a late one, has copied the object."""
        of = held.employee_id if held else self.random.choice(self.employees)
        got = self.given.one(recordings.END_MOVE, id_, epoch, of)
        assert got["is_moved"] == (held is not None)
        if held:
            self.writes(held)
            self.end(held, COMPLETE, ())

    def end(self, r: Recording, sql: str, values: Sequence[object]) -> None:
        if sql is COMPLETE:
            for x in self.recordings.values():
                if x.employee_id == r.employee_id and x.status == "stored":
                    x.status = "superseded"
            r.status = "stored"
        elif sql is FAIL:
            r.status = "failed"
        elif values and values[0]:
            r.status, r.process_count = "pending", r.process_count - 1
        else:
            self.recover(r)

    def waits(self) -> None:
        """Longer than a lease."""
        self.given.superuser.execute(f"{PASS} where status = 'processing'".encode())
        for r in self.recordings.values():
            r.is_lost = r.is_lost or r.status == "processing"

    def sweeps(self) -> None:
        recordings.sweep(self.given)
        for r in [*self.recordings.values()]:
            if r.status == "processing" and r.is_lost:
                self.recover(r)

    def loses_messages(self) -> None:
        self.given.superuser.execute("select pgmq.purge_queue('recordings')")

    def compare(self) -> None:
        rows: list[Row] = self.given.superuser.execute(
            f"select {COMPARED} from voice_clone.recordings".encode()  # noqa: S608 - our own text
        ).fetchall()
        found = {row["id"]: row for row in rows}
        said = {
            r.id: {name: getattr(r, name) for name in COMPARED.split(", ")} for r in self.recordings.values()
        }
        assert found == said
        stored = {r.employee_id: r for r in self.recordings.values() if r.status == "stored"}
        assert self.objects == stored

    def settles(self) -> None:
        """Without faults, what waits is stored or superseded, and the newest of each employee is stored."""
        self.waits()
        while any(r.status in ("pending", "processing") for r in self.recordings.values()):
            self.given.superuser.execute(DUE)
            self.sweeps()
            for id_ in {*recordings.messages(self.given)}:
                r = self.recordings[id_]
                if recordings.claim(self.given, id_)["outcome"] == self.claimed(r) == "claimed":
                    self.writes(r)
                    self.given.one(COMPLETE, id_, r.lease_epoch, None)
                    self.end(r, COMPLETE, ())
            self.loses_messages()
            self.compare()


ACTIONS = [
    World.receives, World.receives, World.records_a_call, World.assigns, World.claims, World.claims,
    World.claims, World.works, World.works, World.waits, World.sweeps, World.loses_messages, World.moves,
]  # fmt: skip


def play(given: Fixture, seed: int) -> None:
    admin = given.user()
    organization = given.organization(admin)
    employees = [given.employee(organization) for _ in range(2)]
    world = World(given, Random(seed), admin, organization, employees)
    for _ in range(STEPS):
        action = world.random.choice(ACTIONS)
        action(world)
        world.compare()
    world.settles()
    given.superuser.execute("delete from public.organizations where id = %s", (organization,))
    assert given.truth("select count(*) from voice_clone.recordings")["count"] == 0


def test_every_order_of_events_does_what_the_model_says(
    given: Fixture, request: pytest.FixtureRequest
) -> None:
    play_orders(play, ORDERS, given, request)


MUTANTS = {
    "an older recording that replaces a newer one": patch(
        "voice_clone.claim_recording", "> (r.recorded_at, r.recording_sid)", "< ('-infinity', '')"
    ),
    "a stale worker that writes": patch(
        "voice_clone.require_recording_lease", "and x.lease_epoch = p_epoch", ""
    ),
    "an older recording that is moved over a newer one": patch(
        "voice_clone.recording_move", "> (p_recorded_at, p_recording_sid)", "< ('-infinity', '')"
    ),
    "a move whose command died, and that is fetched": patch(
        "voice_clone.recover_recording", "if r.account_sid is null", "if false"
    ),
    "a record of a call that comes late and matches nothing": run(
        "drop trigger voice_clone_match_recordings on public.calls"
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_model_finds_each_mutant(given: Fixture, request: pytest.FixtureRequest, name: str) -> None:
    MUTANTS[name](given)
    with pytest.raises(AssertionError, match="seed"):
        play_orders(play, ORDERS, given, request)
