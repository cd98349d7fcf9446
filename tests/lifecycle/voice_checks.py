"""Checks of voices: claimed, and answered later. The voice may have been made again in between."""

from dataclasses import dataclass

from backend.lifecycle.canaries import queries as canaries
from backend.lifecycle.voice_checks import queries as checks
from tests.lifecycle.checks import check
from tests.lifecycle.deliveries import Deliveries
from tests.lifecycle.driver import STALE
from tests.lifecycle.snapshot import Bench

HELD = 2  # of them the older one is stale, where they are of one account
DUE = "update voice_clone.voice_checks set due_at = now(), lease_expires_at = null where id = %(id)s"
ACCOUNTS = """
select array_agg(jsonb_build_object('id', id, 'provider', provider, 'account', account)
  order by provider, account) as all from voice_clone.voice_checks
"""


@dataclass
class Checking:
    """A claimed check. Its answer says nothing of what was made ready after `begun`."""

    id: str
    provider: str
    account: str
    epoch: int
    begun: int


class VoiceChecks(Deliveries):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.checking: list[Checking] = []
        self.epochs: dict[str, int] = {}  # of the last claim, by account

    def begins_a_check(self, pick: int) -> None:
        found = self.bench.force(ACCOUNTS)
        if found is None or not found["all"]:
            return
        account = found["all"][pick % len(found["all"])]
        self.bench.force(DUE, id=account["id"])
        row = self.call("begins a check", checks.claim_voice_check, check=account["id"])
        assert row is not None
        check(14, row["outcome"] == "claimed", f"a check that is due is {row['outcome']}")
        begun = Checking(account["id"], account["provider"], account["account"], row["lease_epoch"],
                         self.model.changes)  # fmt: skip
        self.epochs[begun.id] = begun.epoch
        self.checking = [*self.checking, begun][-HELD:]

    def answers_a_check_that_was_taken_over(self, pick: int) -> None:
        """The lease of a check ran out, another worker has it, and the first one answers all the same."""
        for _ in range(2):
            self.begins_a_check(pick)
            self.verify_invariants()
        if self.checking:
            self.finds_a_voice_gone(pick // HELD * HELD)  # of the older one

    def makes_a_voice_speak(self, pick: int) -> None:
        """Only one that its user may speak with, of the account of the check, and that we made."""
        if not self.snapshot.voices:
            return
        done = self.checking[pick % len(self.checking)]
        voice = self.snapshot.voices[pick // HELD % len(self.snapshot.voices)]
        attempt = self.model.attempts[voice["attempt_id"]]
        refusal = None if self.epochs[done.id] == done.epoch else STALE
        values = {"check": done.id, "epoch": done.epoch, "voice": voice["id"]}
        row = self.call("makes a voice speak", canaries.begin_canary, refusal, **values)
        if refusal is not None:
            return
        may_speak = (
            self.model.speaks_with(attempt.id) and attempt.status == "ready" and not attempt.is_taken_down
            and voice["enrollment_id"] is not None
            and (voice["tts_provider"], voice["provider_account"]) == (done.provider, done.account)
        )  # fmt: skip
        check(
            14,
            (row is not None) == may_speak,
            f"a canary: {row is not None}, the model: {may_speak}",
        )
        if row is not None:
            self.call(
                "ends a canary", canaries.end_canary, has_spoken=bool(pick & 1), former_at=None, **values
            )

    def finds_a_voice_gone(self, pick: int) -> None:
        done = self.checking[pick % len(self.checking)]
        accounts = {v["attempt_id"]: v["provider_account"] for v in self.snapshot.voices}
        speaking = [
            id_ for id_ in self.model.voices
            if self.model.speaks_with(id_) and self.model.attempts[id_].provider == done.provider
        ]  # fmt: skip
        if not speaking:
            return
        voice = self.model.attempts[speaking[pick // HELD % len(speaking)]].provider_voice_id
        refusal = None if self.epochs[done.id] == done.epoch else STALE
        row = self.call(
            "finds a voice gone",
            checks.lose_checked_voice,
            refusal,
            check=done.id,
            epoch=done.epoch,
            id=voice,
        )
        if row is None:
            return
        said = self.model.lose(
            done.provider,
            voice,
            {id_ for id_ in accounts if accounts[id_] in ("", done.account)},
            done.begun,
        )
        check(14, row["lose_checked_voice"] == said, f"{row} voices were lost, the model says {said}")
        kept = {e.voice for e in self.model.enrollments.values() if e.status == "attached"}
        if voice not in kept:
            self.provider = {label: made for label, made in self.provider.items() if made != voice}
