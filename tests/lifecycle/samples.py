"""Samples by themselves: sent, inspected by a consumer of their queue, cloned and deleted."""

from uuid import uuid4

from backend.domains.samples.sample_leases import queries as samples
from tests.lifecycle.checks import check
from tests.lifecycle.driver import ARCHIVE, MOST_SAMPLES, NO_CONSENT
from tests.lifecycle.rows import Refusal, Sample
from tests.lifecycle.uploads import Inspection
from tests.lifecycle.users import Action, Users

IN_USE = Refusal("VC007", 13)


class Samples(Users):
    def sample_steps(self) -> list[Action]:
        own = {key: s for key, s in self.model.samples.items() if s.is_kept}
        moves: list[Action] = [self.sends_a_sample] * 2 if len(own) < MOST_SAMPLES else []
        moves += [self.deletes_a_sample] * bool(self.model.samples)
        return moves

    def sends_a_sample(self, pick: int) -> None:
        """Its file is stored, mostly."""
        model, user = self.model, self.bench.users[0]
        consents = [id_ for id_, c in model.consents.items() if c.user == user and c.subject is None]
        consent = consents[pick % len(consents)]
        s = Sample(str(uuid4()), user, consent, is_kept=True, created_at=model.clock)
        refusal = None if model.covers(consent, user, None) else NO_CONSENT
        self.call(
            "sends a sample", samples.add, refusal, sample=s.id, user=user, consent=consent, reflection=None,
            kept=True, name="Ada", language="en", transcript="hello", path=f"{user}/{s.id}/sample.wav",
            content_type="audio/wav", bytes=1000, open=None, per_day=None,
        )  # fmt: skip
        if refusal is None:
            model.samples[s.id] = s
            if pick % 4:
                self.verify_invariants()
                self.call("stores a sample", samples.receive, sample=s.id, user=user)
                s.status = "pending"

    def deletes_a_sample(self, pick: int) -> None:
        key = list(self.model.samples)[pick % len(self.model.samples)]
        s = self.model.samples[key]
        is_there = s.user_id is not None and s.status != "removed"
        can = self.model.may_delete(key)
        refusal = None if can or not is_there else IN_USE
        user = s.user_id or self.bench.users[0]
        row = self.call("deletes a sample", samples.delete, refusal, sample=s.id, user=user)
        if refusal is None:
            check(13, row == {"delete_sample": is_there}, f"the deletion of a sample gave {row}")
            if is_there:
                self.model.delete_sample(key)

    def inspects(self, sample: str, number: int, *, dies: bool) -> None:
        """The consumer of `voice_samples`."""
        s = next(each for each in self.model.samples.values() if each.id == sample)
        said = self.model.claim_sample(s)
        row = self.call("claims a sample", samples.claim, sample=s.id, worker="w", user_cap=2, inline=False)
        assert row is not None
        check(0, row["outcome"] == said, f"claiming a sample gave {row['outcome']}, the model says {said}")
        if said == "claimed":
            check(4, row["lease_epoch"] == s.lease_epoch, f"a sample has the epoch {row['lease_epoch']}")
            if not dies:
                self.inspections.append(Inspection(s, s.lease_epoch, message=number))
        elif said not in ("busy", "user_busy"):
            self.verify_invariants()
            self.call("leaves a sample", ARCHIVE, queue="voice_samples", number=number)
