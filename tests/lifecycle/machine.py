"""The state machine: users, two workers that crash or are late, polls, time, forbidden writes."""

from functools import partial
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.lifecycle.checks import Step, check
from tests.lifecycle.driver import MOST, WORKERS
from tests.lifecycle.moves import other_provider
from tests.lifecycle.quiescence import Quiescence
from tests.lifecycle.rows import MOST_JOBS, USER_CAP, Attempt
from tests.lifecycle.users import Action

OUTCOMES = ["lives"] * 8 + ["dies before the commit", "dies after the commit"]
LUCKS = ["well"] * 7 + ["rejected", "throttled", "unknown", "unknown, made", "verification", "verification"]
LUCKS_OF = {  # the luck at the provider of those whose own differs
    "refused": ["well"] * 3 + ["rejected"] * 3,
    "verified": ["verification"] * 3 + ["well"],
    "launched": ["well"],
}
MOODS = {  # users, message readers, workers, workers without a pause, time and faults, forbidden writes
    "busy": (2, 3, 2, 4, 2, 1),
    "unlucky": (2, 3, 4, 0, 5, 1),
    "late": (3, 3, 3, 1, 5, 0),
    "hostile": (3, 2, 2, 2, 2, 4),
    "refused": (4, 1, 1, 6, 2, 0),
    "verified": (3, 3, 1, 4, 3, 0),
    "launched": (4, 1, 1, 8, 3, 0),
}
# What a random order seldom reaches, and the actions that lead there: an order with such an aim prefers them.
AIMS = {
    "a webhook that was disabled": {
        "registers_a_webhook", "uploads_and_queues", "ends_a_delivery", "enables_a_webhook"
    },
    "a sample that is refused or given back": {"sends_a_sample", "ends_an_inspection", "deletes_a_sample"},
    "a voice beside another": {
        "uploads_and_queues", "hears_the_preview", "is_moved_and_changes_over", "launches"
    },
    "the end of a retention": {"waits", "sweeps"},
    "more than the caps": {"uploads_and_queues", "claims_more_than_the_cap"},
    "a speech that ends": {"requests_a_speech", "ends_a_speech", "retries_a_speech", "deletes_a_speech"},
    "another try": {"is_refused_and_tried_again", "retries_elsewhere", "retries", "asks_for_a_preview"},
    "a voice that is gone": {
        "begins_a_check", "finds_a_voice_gone", "makes_a_voice_speak", "is_given_up_midway", "renews",
    },
}  # fmt: skip
AIM_OF = [None] * len(AIMS) + list(AIMS)  # half of the orders have none


def name_of(action: Action) -> str:
    return getattr(action.func if isinstance(action, partial) else action, "__name__", "")


class Lifecycle(Quiescence):
    """The whole machine, as the tests run it. Each step is one seed, so Hypothesis can drop any step."""

    quiesces = False
    aim: set[str]

    @initialize(
        mood=st.sampled_from(list(MOODS)),
        aim=st.sampled_from(AIM_OF),
        with_crashes=st.booleans(),
        quiesces=st.integers(0, 3),
    )
    def mood(self, mood: str, aim: str | None, with_crashes: bool, quiesces: int) -> None:
        self.weights = MOODS[mood]
        self.aim = AIMS[aim] if aim else set[str]()
        self.lucks = LUCKS_OF.get(mood, LUCKS)
        self.outcomes = OUTCOMES if with_crashes else OUTCOMES[:1]
        self.quiesces = quiesces == 3

    def teardown(self) -> None:
        if self.quiesces and self.is_whole:  # else the broken invariant must be reported
            self.reaches_quiescence()

    @rule(chance=st.integers(0, 2**32))
    def one_step(self, chance: int) -> None:
        self.bench.steps += 1
        self.is_whole = False
        random = Random(chance)
        luck, outcome, worker, pick = (
            random.choice(self.lucks), random.choice(self.outcomes), random.choice(WORKERS),
            random.randrange(5040),
        )  # fmt: skip
        held, attempts = any(self.claims.values()), bool(self.model.attempts)
        readable = any(m["visible"] for m in self.snapshot.live().values())
        users, readers, workers, quick, chances, forbidden_writes = self.weights
        by_users, by_chance = self.user_steps(), self.chances(worker, outcome) if attempts else []
        if (wanted := [each for each in by_users + by_chance if name_of(each) in self.aim]) and pick % 3 == 0:
            random.choice(wanted)(pick)
            return
        actions: list[Action] = [random.choice(by_users)] * users
        if readable:
            actions += [lambda pick: self.reads_a_message(worker, pick, outcome)] * readers
            actions += [lambda pick: self.a_worker_does_a_whole_step(worker, pick, luck)] * quick
        if held:
            actions += [lambda pick: self.a_worker_acts(worker, pick, luck, outcome)] * workers
            actions += [lambda _: self.a_worker_ends_a_step(worker, luck)] * quick
        if attempts:
            actions += [random.choice(by_chance)] * chances
            actions += [random.choice(self.forbidden_writes())] * forbidden_writes
        random.choice(actions)(pick)

    def a_worker_acts(self, worker: str, pick: int, luck: str, outcome: str) -> None:
        claims, claim = self.a_claim(worker, pick)
        if self.works(claim, luck, outcome) or outcome != "lives":
            claims.remove(claim)

    def chances(self, worker: str, outcome: str) -> list[Action]:
        """Time, the sweep, faults of the queue, and reports from outside."""
        actions: list[Action] = [self.waits] * 2 + [self.sweeps] * (4 if self.snapshot.due else 0)
        if self.snapshot.live():
            actions += [self.loses_a_message, self.doubles_a_message]
        if held := any(self.claims.values()):
            actions += [partial(self.renews, worker), lambda _: self.claims[worker].clear()]
        if self.choose(0, "processing"):
            actions += [partial(self.is_given_up_midway, worker)] * bool(held)
            actions += [partial(self.is_taken_over, worker)] * 2
        if self.choose(0, "queued", "processing"):
            actions += [lambda pick: self.works_inline(worker, pick, outcome)] * 2
            actions += [partial(self.is_refused_and_tried_again, worker)]
            actions += [partial(self.claims_more_than_the_cap, worker)] * 2
        if any(a.is_active and a.status == "ready" for a in self.model.attempts.values()):
            actions += [partial(self.is_replaced_without_success, worker)] * 2
        if any(a.is_active and a.is_launchable() for a in self.model.attempts.values()):
            actions += [partial(self.is_moved_and_changes_over, worker)] * 6
        if self.choose(0, "awaiting_upload"):
            actions += [self.is_inspected_by_another]
        if any(self.model.speaks_with(id_) for id_ in self.model.voices):
            actions += [self.loses_a_voice, self.begins_a_check, self.answers_a_check_that_was_taken_over]
        is_frozen = any(a.is_taken_down for a in self.model.attempts.values())
        actions += [self.lifts_a_takedown] * 3 if is_frozen else [self.takes_a_voice_down]
        actions += [self.finds_a_voice_gone] * 3 * bool(self.checking)
        actions += [self.makes_a_voice_speak] * bool(self.checking)
        if self.choose(0, "verifying"):
            actions += [self.is_verified_outside]
        actions += [self.ends_a_cleanup] * 3 * bool(self.cleanups)
        actions += [self.registers_a_webhook] * (2 if not self.snapshot.webhooks else 0)
        actions += [self.enables_a_webhook, self.replays_an_event, self.registers_a_webhook]
        actions += [self.deletes_a_webhook] * (len(self.snapshot.webhooks) > 1)
        actions += (
            [self.enables_a_webhook] * 4 * any(w["status"] == "disabled" for w in self.snapshot.webhooks)
        )
        actions += [self.ends_a_delivery] * 6 * bool(self.delivering)
        actions += ([self.ends_a_speech] * 4 + [self.renews_a_speech]) * bool(self.speaking)
        return actions

    def is_given_up_midway(self, worker: str, pick: int) -> None:
        """Its owner resets the voice, and its worker finishes its call."""
        claims, claim = self.a_claim(worker, pick)
        a = self.model.attempts[claim.attempt]
        if claim.enrollment is None and self.works(claim, "well", "lives"):
            claims.remove(claim)
            return
        self.verify_invariants()
        if a.is_active and a.reflection_id:
            self.resets(list(self.model.reflections).index(a.reflection_id))
            self.verify_invariants()
        while not self.works(claim, "well", "lives"):
            self.verify_invariants()
        claims.remove(claim)

    def claims_more_than_the_cap(self, worker: str, _: int) -> None:
        """All that one user has waiting, one after the other, and then all of the other users."""
        user = self.bench.users[0]
        waiting = [a for a in self.model.attempts.values() if a.status == "queued"]
        own = [a for a in waiting if a.user_id == user]
        others = [a for a in waiting if a.user_id != user]
        for a in own[: USER_CAP + 1] + others[:MOST_JOBS]:
            self.claim(worker, a, "process", None, outcome="lives")
            self.verify_invariants()

    def is_refused_and_tried_again(self, worker: str, pick: int) -> None:
        """Its provider refuses the sample, and its owner tries again."""
        if (a := self.choose(pick, "queued")) and self.is_refused(worker, a):
            (self.retries, self.retries_elsewhere, self.restores)[pick % 3](pick)

    def is_replaced_without_success(self, worker: str, pick: int) -> None:
        """The owner of a working voice clones another one, which fails, and goes back."""
        ready = [a for a in self.model.attempts.values() if a.is_active and a.status == "ready"]
        reflection = ready[pick % len(ready)].reflection_id
        if reflection is None or len(self.model.attempts) >= MOST:
            return
        place = list(self.model.reflections).index(reflection)
        if a := self.open(place, "good"):
            self.verify_invariants()
            self.finalize(a)
            self.verify_invariants()
            if self.is_refused(worker, a):
                self.restores(pick)

    def is_moved_and_changes_over(self, worker: str, pick: int) -> None:
        """The voice of a reflection that works is made at the other provider, and then takes its place."""
        launched = [
            a for a in self.model.attempts.values()
            if a.is_active and a.reflection_id and a.is_launchable() and a.sample
        ]  # fmt: skip
        if not launched or len(self.model.attempts) >= MOST - 1:
            return
        old = launched[pick % len(launched)]
        user, target = old.user_id or "", other_provider(old)
        new = self.move(old, user, target, pick, switch=False, by_operator=pick % 2 == 0)
        self.verify_invariants()
        if new is None or self.claim(worker, new, "process", None, outcome="lives") != "claimed":
            return
        self.verify_invariants()
        claim = self.claims[worker][-1]
        while not self.works(claim, "well", "lives"):
            self.verify_invariants()
        self.claims[worker].remove(claim)
        self.verify_invariants()
        self.move(old, user, target, pick, switch=True)

    def is_refused(self, worker: str, a: Attempt) -> bool:
        """Whether a worker could claim it; then its provider refused the sample."""
        if self.claim(worker, a, "process", None, outcome="lives") != "claimed":
            return False
        self.verify_invariants()
        claim = self.claims[worker][-1]
        while not self.works(claim, "rejected", "lives"):
            self.verify_invariants()
        self.claims[worker].remove(claim)
        self.verify_invariants()
        return True

    def is_taken_over(self, worker: str, pick: int) -> None:
        """Its worker survives and writes late."""
        self.waits(2)
        self.verify_invariants()
        if a := self.choose(pick, "processing"):
            self.claim(worker, a, "process", None, outcome="lives")

    def loses_a_voice(self, pick: int) -> None:
        """Its provider does not have it any more, and that was noticed."""
        speaking = [id_ for id_ in self.model.voices if self.model.speaks_with(id_)]
        a = self.model.attempts[speaking[pick % len(speaking)]]
        provider, voice = a.provider, a.provider_voice_id
        row = self.call(
            "loses a voice",
            "select voice_clone.lose_voice(%(provider)s, '', array['local'], %(voice)s) as lost",
            provider=provider, voice=voice,
        )  # fmt: skip
        assert row is not None
        self.provider = {label: made for label, made in self.provider.items() if made != voice}
        said = self.model.lose(provider, voice)
        check(14, row["lost"] == said, f"{row['lost']} voices were lost, the model says {said}")

    def loses_a_message(self, pick: int) -> None:
        self.tamper("loses", pick, "delete from pgmq.q_{0} where msg_id = %(number)s")

    def doubles_a_message(self, pick: int) -> None:
        copy = "(select message from pgmq.q_{0} where msg_id = %(number)s)"
        self.tamper("doubles", pick, f"select pgmq.send('{{0}}', {copy}, 0)")

    def tamper(self, name: str, pick: int, sql: str) -> None:
        live = list(self.snapshot.live())
        queue, number = live[pick % len(live)]
        self.step = Step(f"{name} a message")
        self.bench.force(sql.format(queue), number=number)
        if name == "loses" and queue == "voice_mirror":
            self.lost_mirrors.add(self.snapshot.live()[queue, number]["id"])
