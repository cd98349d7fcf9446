"""The machine: owners, two workers that crash and come late, looks at verifications, time, and accidents."""

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.lifecycle.checks import Step
from tests.lifecycle.hands import WORKERS
from tests.lifecycle.owners import Move
from tests.lifecycle.resting import Resting

FATES = ["lives"] * 8 + ["dies before the commit", "dies after the commit"]
LUCKS = ["well"] * 7 + ["rejected", "throttled", "unknown", "unknown, made", "verification"]
MOODS = {  # how often owners, readers, workers, workers without a pause, time and chance, accidents
    "busy": (2, 3, 2, 4, 2, 1),
    "unlucky": (2, 3, 4, 0, 5, 1),
    "late": (3, 3, 3, 1, 5, 0),
    "hostile": (3, 2, 2, 2, 2, 4),
}


class Lifecycle(Resting):
    """Everything: what the tests run. Each step is one seed, so that Hypothesis may leave any of them out."""

    rests = False

    @initialize(mood=st.sampled_from(list(MOODS)), fateful=st.booleans(), rests=st.integers(0, 3))
    def mood(self, mood: str, fateful: bool, rests: int) -> None:
        self.weights = MOODS[mood]
        self.fates = FATES if fateful else FATES[:1]
        self.rests = rests == 3

    def teardown(self) -> None:
        if self.rests and self.is_whole:  # where something is broken, that is to be told
            self.comes_to_rest()

    @rule(chance=st.integers(0, 2**32))
    def something_happens(self, chance: int) -> None:
        self.bench.steps += 1
        self.is_whole = False
        random = Random(chance)
        luck, fate, worker, pick = (
            random.choice(LUCKS), random.choice(self.fates), random.choice(WORKERS), random.randrange(5040),
        )  # fmt: skip
        held, attempts = any(self.claims.values()), bool(self.model.attempts)
        readable = any(m["visible"] for m in self.sight.live().values())
        owners, readers, hands, quick, chances, accidents = self.weights
        moves: list[Move] = [random.choice(self.owners_moves())] * owners
        if readable:
            moves += [lambda pick: self.reads_a_message(worker, pick, fate)] * readers
            moves += [lambda pick: self.a_worker_does_a_whole_step(worker, pick, luck)] * quick
        if held:
            moves += [lambda pick: self.a_worker_makes_a_move(worker, pick, luck, fate)] * hands
            moves += [lambda _: self.a_worker_ends_a_step(worker, luck)] * quick
        if attempts:
            moves += [random.choice(self.chances(worker, fate))] * chances
            moves += [random.choice(self.accidents())] * accidents
        random.choice(moves)(pick)

    def a_worker_makes_a_move(self, worker: str, pick: int, luck: str, fate: str) -> None:
        claims, claim = self.a_claim(worker, pick)
        if self.works(claim, luck, fate) or fate != "lives":
            claims.remove(claim)

    def chances(self, worker: str, fate: str) -> list[Move]:
        """Time, the sweep, the queue's own faults, and what comes from outside."""
        moves: list[Move] = [self.waits] * 2 + [self.sweeps] * (4 if self.sight.due else 0)
        if self.sight.live():
            moves += [self.loses_a_message, self.doubles_a_message]
        if held := any(self.claims.values()):
            moves += [lambda pick: self.renews(worker, pick), lambda _: self.claims[worker].clear()]
        if self.choose(0, "processing"):
            moves += [lambda pick: self.is_given_up_midway(worker, pick)] * bool(held)
            moves += [lambda pick: self.is_taken_over(worker, pick)] * 2
        if self.choose(0, "queued", "processing"):
            moves += [lambda pick: self.works_inline(worker, pick, fate)] * 2
        if self.choose(0, "verifying"):
            moves += [self.is_verified_outside]
        if self.cleanups:
            moves += [self.ends_a_cleanup] * 3
        return moves

    def is_given_up_midway(self, worker: str, pick: int) -> None:
        """Its owner wants no voice any more, and its worker ends what it began."""
        claims, claim = self.a_claim(worker, pick)
        a = self.model.attempts[claim.attempt]
        if claim.enrollment is None and self.works(claim, "well", "lives"):
            claims.remove(claim)
            return
        self.all_holds()
        if a.is_active and a.reflection_id:
            self.resets(list(self.model.reflections).index(a.reflection_id))
            self.all_holds()
        while not self.works(claim, "well", "lives"):
            self.all_holds()
        claims.remove(claim)

    def is_taken_over(self, worker: str, pick: int) -> None:
        """Its worker lives on and comes late."""
        self.waits(2)
        self.all_holds()
        if a := self.choose(pick, "processing"):
            self.claim(worker, a, "process", None, fate="lives")

    def loses_a_message(self, pick: int) -> None:
        self.tamper("loses", pick, "delete from pgmq.q_{0} where msg_id = %(number)s")

    def doubles_a_message(self, pick: int) -> None:
        copy = "(select message from pgmq.q_{0} where msg_id = %(number)s)"
        self.tamper("doubles", pick, f"select pgmq.send('{{0}}', {copy}, 0)")

    def tamper(self, name: str, pick: int, sql: str) -> None:
        live = list(self.sight.live())
        queue, number = live[pick % len(live)]
        self.step = Step(f"{name} a message")
        self.bench.force(sql.format(queue), number=number)
