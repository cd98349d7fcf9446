"""Takedowns: an operator freezes a voice with all that is of its sample, or uses it; and lifts that."""

from tests.lifecycle.checks import provider_voice
from tests.lifecycle.rows import Attempt
from tests.lifecycle.voice_checks import VoiceChecks

ENROLLING = ("awaiting_upload", "queued", "processing")
TAKE_DOWN = "select count(*) from operations.take_down(%(id)s, 'Notice 17', true)"
LIFT = "select count(*) from operations.lift_takedown(%(id)s, 'Withdrawn', true)"


class Takedowns(VoiceChecks):
    def takes_a_voice_down(self, pick: int) -> None:
        """Any attempt, whatever it is doing."""
        if (a := self.choose(pick)) is None:
            return
        family = self.family(a)
        self.call("takes a voice down", TAKE_DOWN, forced=True, id=a.id)
        for j in self.model.speeches.values():
            if j.attempt_id in family and j.status in ("queued", "processing"):
                self.model.end_speech(j, "failed", "voice_taken_down")
        for id_ in sorted(family):
            each = self.model.attempts[id_]
            if not each.is_taken_down:
                self.model.change(each, is_taken_down=True, frozen_since=self.model.clock)
            if each.status == "queued":
                self.model.jobs.release(id_)

    def lifts_a_takedown(self, pick: int) -> None:
        frozen = [a for a in self.model.attempts.values() if a.is_taken_down]
        a = frozen[pick % len(frozen)]
        family = self.family(a)
        self.call("lifts a takedown", LIFT, forced=True, id=a.id)
        for each in (self.model.attempts[id_] for id_ in family):
            if each.is_taken_down:
                self.model.thaw(each)

    def lifts_every_takedown(self) -> None:
        while any(a.is_taken_down for a in self.model.attempts.values()):
            self.lifts_a_takedown(0)
            self.verify_invariants()

    def family(self, a: Attempt) -> set[str]:
        """What one notice covers: groups that share an attempt are one."""
        groups: dict[object, set[str]] = {}
        for each in self.model.attempts.values():
            groups.setdefault(("sample", each.sample or each.id), set()).add(each.id)
            if each.status in ENROLLING and each.provider_voice_id:
                uses = ("voice", each.provider, "", each.provider_voice_id)
                groups.setdefault(uses, set()).add(each.id)
        for voice in self.snapshot.voices:
            groups.setdefault(("voice", *provider_voice(voice)), set()).add(voice["attempt_id"])
        for number, notice in enumerate(self.snapshot.takedowns):
            if not notice["lifted_at"]:
                groups[number] = set(notice["attempts"])
        family, size = {a.id}, 0
        while len(family) > size:
            size = len(family)
            family = family.union(*(group for group in groups.values() if group & family))
        return family
