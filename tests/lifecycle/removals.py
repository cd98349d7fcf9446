"""The part of the model that removes: what is deleted, revoked or erased, and what then goes."""

from collections.abc import Iterable

from tests.lifecycle.model import Model
from tests.lifecycle.rows import LIVE, TIMES, Attempt


class RemovalModel(Model):
    def silence(self, attempts: list[Attempt], user: str | None, reason: str) -> None:
        """Their voices, and each use of them as a custom voice of the same user."""
        ids = {a.id for a in attempts}
        made = {e.voice for e in self.enrollments.values() if e.attempt in ids and e.voice}
        uses = [
            a for a in self.attempts.values()
            if a.user_id == user and a.source == "custom_voice" and a.provider_voice_id in made
        ]  # fmt: skip
        for each, why in ((attempts, reason), (uses, "original_removed")):
            for a in each:
                if a.status in LIVE:
                    self.cancel(a, why)
                    a.error_code = why if why == "original_removed" else a.error_code
        for a in (*attempts, *uses):
            self.previews.pop(a.id, None)
            if self.voices.get(a.id) is False:
                self.voices[a.id], self.deleted_at[a.id] = True, self.clock
        self.remove_samples(a.sample for a in attempts)

    def used_samples(self) -> set[str | None]:
        return {
            a.sample for a in self.attempts.values() if a.status in LIVE or self.voices.get(a.id) is False
        }

    def remove_samples(self, samples: Iterable[str | None], *, kept: bool = False) -> None:
        used = self.used_samples()
        for key in samples:
            if key and key not in used and (kept or not self.samples[key].is_kept):
                self.samples[key].status, self.samples[key].until = "removed", None

    def withdraw(self, attempts: list[Attempt]) -> None:
        ids = {a.id for a in attempts}
        self.requested |= ids & self.voices.keys()
        for e in self.enrollments.values():
            if e.attempt in ids and e.status == "attached":
                self.orphan(e)
            if e.attempt in ids and e.status == "orphaned" and e.removal_due is None:
                e.removal_due = self.clock

    def revoke(self, consent: str) -> None:
        covered = [a for a in self.attempts.values() if a.consent == consent]
        user = self.consents[consent].user
        self.consents[consent].revoked = True
        self.silence(covered, user, "consent_revoked")
        self.remove_samples([key for key, s in self.samples.items() if s.consent == consent], kept=True)
        self.withdraw(covered)

    def delete_voice(self, a: Attempt) -> None:
        self.silence([a], a.user_id, "voice_deleted")

    def may_delete(self, key: str) -> bool:
        """No voice speaks that was made of the sample, and no attempt is about to make one."""
        using = [a for a in self.attempts.values() if a.sample == key]
        return not any(
            (a.status in LIVE and a.status != "failed") or self.voices.get(a.id) is False for a in using
        )

    def delete_sample(self, key: str) -> None:
        for a in list(self.attempts.values()):
            if a.sample == key and a.status == "failed":
                self.cancel(a, "sample_deleted")
        self.remove_samples([key], kept=True)

    def give(self, reflection: str, user: str) -> None:
        for a in list(self.of_reflection(reflection)):
            if a.status in LIVE:
                self.cancel(a, "owner_changed")
        self.reflections[reflection] = user

    def delete_reflection(self, reflection: str) -> None:
        del self.reflections[reflection]
        for a in list(self.of_reflection(reflection)):
            if a.status in LIVE:
                self.cancel(a, "reflection_deleted", reflection_id=None)
            else:
                self.change(a, reflection_id=None)

    def erase(self, user: str) -> None:
        theirs = [a for a in self.attempts.values() if a.user_id == user]
        self.silence(theirs, user, "user_deleted")
        self.withdraw(theirs)
        for a in theirs:
            self.change(a, user_id=None, reflection_id=None)
        for s in self.samples.values():
            if s.user_id == user:
                s.user_id, s.status, s.until = None, "removed", None
        for consent in self.consents.values():
            if consent.user == user:
                consent.user = None
        for reflection in [id_ for id_, owner in self.reflections.items() if owner == user]:
            self.delete_reflection(reflection)

    def expire(self) -> dict[str, int]:
        """What the sweep ends: the retention of samples that nothing is about to use, and of previews."""
        wanted = {
            a.sample for a in self.attempts.values()
            if a.status in ("awaiting_upload", "queued", "processing", "verifying")
        }  # fmt: skip
        samples = [
            s for key, s in self.samples.items()
            if s.status in ("ready", "failed") and key not in wanted
            and s.created_at + TIMES["sample"] <= self.clock
        ]  # fmt: skip
        for s in samples:
            s.status, s.until = "removed", None
        previews = [id_ for id_, at in self.previews.items() if at + TIMES["preview"] <= self.clock]
        again = [
            id_ for id_ in previews
            if self.attempts[id_].preview_status in ("required", "rendering")
            and self.attempts[id_].status != "failed"
        ]  # fmt: skip
        for id_ in previews:
            del self.previews[id_]
            if id_ not in again:
                self.change(self.attempts[id_])
        self.previews |= dict.fromkeys(again, self.clock)
        done = {"expired_samples": len(samples), "expired_previews": len(previews) - len(again)}
        return {what: count for what, count in done.items() if count}

    def release(self) -> int:
        """What the sweep requests: the removal of deleted voices whose retention has ended."""
        due = [
            id_ for id_, deleted_at in self.deleted_at.items()
            if id_ not in self.requested and id_ not in self.lost
            and self.attempts[id_].source != "custom_voice"
            and deleted_at + TIMES["deleted_voice"] <= self.clock
        ]  # fmt: skip
        for id_ in due:
            self.requested.add(id_)
            for e in self.enrollments.values():
                if e.attempt == id_ and e.status == "attached":
                    e.removal_due = self.clock
                    self.orphan(e)
        return len(due)
