"""The users' actions, allowed and forbidden."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from backend.domains.reflections.clone import queries as reflections
from backend.lifecycle.claim import queries as lifecycle
from tests.lifecycle.driver import MOST, NO_CONSENT, NO_EDGE, NOT_THERE, TAKEN_DOWN, TOO_MANY
from tests.lifecycle.moves import Moves
from tests.lifecycle.rows import Attempt, Refusal

Action = Callable[[int], None]


class Users(Moves):
    def sample_steps(self) -> list[Action]:
        raise NotImplementedError

    def user_steps(self) -> list[Action]:
        """The actions that are possible now, each as often as its weight."""
        moves: list[Action] = []
        statuses = {a.status for a in self.model.attempts.values()}
        active = [a for a in self.model.attempts.values() if a.is_active]
        if len(self.model.attempts) < MOST:
            moves += [self.uploads_and_queues] * 4 + [self.opens_an_upload] * 2
            moves += [self.opens_with_any_consent, self.uses_a_stock_voice] + [
                self.clones_a_sample_again
            ] * bool(self.samples)
            moves += [self.opens_too_many_uploads] * (len(self.model.attempts) < 2)
        if self.model.attempts:
            moves += [self.finalizes] * 2 + [self.ends_an_inspection] * 3 * bool(self.inspections)
            moves += [self.revokes_a_consent, self.retries, self.resets]
            moves += [self.restores, self.gives_a_reflection_away]
            if any(self.model.speaks_with(id_) for id_ in self.model.voices):
                moves += [self.uses_an_own_voice]
            moves += self.sample_steps()
            if len(self.model.attempts) > 3 and self.can_delete_a_user():
                moves += [self.deletes_a_user]
        if "ready" in statuses:
            moves += [self.asks_for_a_preview, self.hears_the_preview, self.hears_the_preview, self.launches]
            moves += [self.hears_the_preview] * 4 * any(a.preview_status == "rendered" for a in active)
            moves += [self.asks_for_a_preview] * any(
                a.preview_status in ("rendered", "failed") for a in active
            )
            moves += [self.launches] * 4 * any(a.is_launchable() for a in active)
            moves += [self.deletes_a_voice] * bool(self.model.voices)
        if self.model.voices and len(self.model.attempts) < MOST:
            moves += [self.moves_a_voice] * 3
        if any(a.has_failed() for a in active):
            moves += [self.retries, self.retries_elsewhere] * 2 + [self.asks_for_a_preview]
        if any(self.can_restore(id_) for id_ in self.model.reflections):
            moves += [self.restores] * 6
        if len(self.model.reflections) > 2 and len(self.model.attempts) > 3:
            moves.append(self.deletes_a_reflection)
        return moves

    def clones_a_sample_again(self, pick: int) -> None:
        model = self.model
        old = model.attempts[list(self.samples)[pick % len(self.samples)]]
        assert old.consent is not None
        mine = [r for r, user in model.reflections.items() if user == old.user_id]
        if not mine:
            return
        reflection = mine[pick // 2 % len(mine)]
        per_day, is_allowed = self.allowance(old.user_id or "", pick)
        refusal = None if is_allowed else TOO_MANY
        if not model.covers(old.consent, old.user_id or "", reflection):
            refusal = NO_CONSENT
        if model.samples[old.sample or ""].status != "ready":
            refusal = NOT_THERE
        a = Attempt(str(uuid4()), old.user_id, reflection, old.consent, old.sample)
        if refusal is None and self.is_taken_down(a):
            refusal = TAKEN_DOWN
        self.call(
            "clones a sample again", reflections.clone_sample, refusal, attempt=a.id, user=a.user_id,
            sample=self.samples[old.id], reflection=reflection, provider="local", region="", name="Ada",
            preview_required=True, per_day=per_day,
        )  # fmt: skip
        if refusal is None:
            model.add(a)
            model.queue(a)
            self.samples[a.id] = self.samples[old.id]

    def revokes_a_consent(self, pick: int) -> None:
        known = [id_ for id_, c in self.model.consents.items() if c.user]
        consent = known[pick % len(known)]
        user, subject = self.model.consents[consent].user or "", self.model.consents[consent].subject
        self.call(
            "revokes a consent", "select * from voice_clone.revoke_consent(%(consent)s, %(user)s)",
            consent=consent, user=user,
        )  # fmt: skip
        if not self.model.consents[consent].revoked:
            self.model.revoke(consent)
            is_theirs = self.model.reflections.get(subject or "") == user
            self.sign(user, subject if is_theirs else None)

    def reflection(
        self, pick: int, fits: Callable[[str, Attempt | None], object] = lambda *_: True
    ) -> tuple[str, Attempt | None, dict[str, Any]]:
        """One of them, its active attempt, and the parameters of its owner's moves. Mostly one that fits."""
        every = list(self.model.reflections)
        fitting = [id_ for id_ in every if fits(id_, self.model.active(id_))]
        found = fitting if fitting and pick % 5 else every
        id_ = found[pick % len(found)]
        return id_, self.model.active(id_), {"reflection": id_, "user": self.model.reflections[id_]}

    def asks_for_a_preview(self, pick: int) -> None:
        fits = ("rendered", "failed")
        _, a, parameters = self.reflection(pick, lambda _, a: a and a.preview_status in fits)
        can = a and a.status == "ready" and a.runtime_status == "synced"
        can = can and a and a.preview_status not in ("not_required", "completed")
        refusal = None if can else NO_EDGE if a else Refusal("VC004", 0)
        self.call("asks for a preview", reflections.request_preview, refusal, **parameters)
        if a and can and a.preview_status not in ("required", "rendering"):
            self.model.change(a, preview_status="required", preview_count=0, error_code=None, not_before=None)

    def hears_the_preview(self, pick: int) -> None:
        _, a, parameters = self.reflection(pick, lambda _, a: a and a.preview_status == "rendered")
        can = a and a.preview_status in ("rendered", "completed")
        refusal = None if can else NO_EDGE if a else Refusal("VC004", 0)
        self.call("hears the preview", reflections.complete_preview, refusal, **parameters)
        if a and a.preview_status == "rendered":
            self.model.change(a, preview_status="completed")

    def retries(self, pick: int) -> None:
        _, a, parameters = self.reflection(pick, lambda _, a: a and a.has_failed())
        can = a and a.has_failed() and a.user_retry_count < a.user_retry_budget
        can = can and a and not (a.status == "failed" and (self.is_gone(a) or self.is_taken_down(a)))
        self.call("retries", reflections.retry, None if can else Refusal("VC007", 2), **parameters)
        if a and can:
            self.model.retry(a)

    def retries_elsewhere(self, pick: int) -> None:
        """The same sample at the other provider, with the rest of the owner's budget."""
        id_, a, parameters = self.reflection(pick, lambda _, a: a and a.has_failed() and a.consent)
        other = "qwen" if a and a.provider == "local" else "local"
        new = Attempt(str(uuid4()), parameters["user"], id_, a.consent if a else None, provider=other)
        new.sample = a.sample if a else None
        new.source = a.source if a and a.source != "custom_voice" else new.source
        can = a and a.has_failed() and a.user_retry_count < a.user_retry_budget and a.consent
        can = can and a and not self.is_gone(a)
        refusal = None if can else Refusal("VC007", 2)
        if a and can and a.consent and not self.model.covers(a.consent, a.user_id or "", id_):
            refusal = NO_CONSENT
        if refusal is None and self.is_taken_down(new):
            refusal = TAKEN_DOWN
        self.call(
            "retries elsewhere", reflections.retry_elsewhere, refusal, attempt=new.id,
            failed=a.id if a else None, provider=other, region="", preview_required=True, **parameters,
        )  # fmt: skip
        if a and refusal is None:
            new.user_retry_count = a.user_retry_count + 1
            self.model.add(new)
            self.model.queue(new)
            self.samples[new.id] = self.samples[a.id]

    def is_gone(self, a: Attempt) -> bool:
        """The sample of the attempt."""
        return a.sample is not None and self.model.samples[a.sample].status == "removed"

    def restores(self, pick: int) -> None:
        id_, _, parameters = self.reflection(pick, lambda id_, _: self.can_restore(id_))
        kept, can = self.model.restorable(id_), self.can_restore(id_)
        self.call("restores", reflections.restore, None if can else Refusal("VC007", 2), **parameters)
        if kept and can:
            self.model.restore(kept)

    def can_restore(self, reflection: str) -> bool:
        last = self.model.last_shown(reflection)
        kept = self.model.restorable(reflection)
        is_kept = kept is not None and not kept.is_taken_down
        return is_kept and (last is None or last.has_ended_without_voice())

    def uses_a_stock_voice(self, pick: int) -> None:
        """A voice without an enrollment: it needs no consent, and anyone may use it."""
        id_, active, parameters = self.reflection(pick)
        a = Attempt(str(uuid4()), parameters["user"], id_, None, source="custom_voice")
        a.provider_voice_id = f"stock-{pick % 2}"
        refusal = None if self.is_used_already(a, active) or not self.is_taken_down(a) else TAKEN_DOWN
        self.call(
            "uses a stock voice", lifecycle.use_custom_voice, refusal, attempt=a.id, provider=a.provider,
            region="", account="", voice=a.provider_voice_id, label=None, target_model="m", name="Ada",
            language="en", preview_required=True, **parameters,
        )  # fmt: skip
        self.opened_custom(a, active, refusal)

    def resets(self, pick: int) -> None:
        id_, a, parameters = self.reflection(pick)
        shown = self.model.last_shown(id_)
        self.call("resets", reflections.reset, None if shown else Refusal("VC007", 0), **parameters)
        if a:
            self.model.cancel(a, "reset")

    def launches(self, pick: int) -> None:
        _, a, parameters = self.reflection(pick, lambda _, a: a and a.is_launchable())
        launchable = a is not None and a.is_launchable()
        self.call(
            "starts a session", reflections.start_session, None if launchable else Refusal("VC005", 7),
            **parameters,
        )  # fmt: skip

    def deletes_a_voice(self, pick: int) -> None:
        a = self.model.attempts[list(self.model.voices)[pick % len(self.model.voices)]]
        voice = next(v["id"] for v in self.snapshot.voices if v["attempt_id"] == a.id)
        self.call(
            "deletes a voice",
            "select voice_clone.delete_voice(%(voice)s, %(user)s)",
            voice=voice,
            user=a.user_id,
        )
        if not self.model.voices[a.id]:
            self.model.delete_voice(a)

    def deletes_a_reflection(self, pick: int) -> None:
        reflection = list(self.model.reflections)[pick % len(self.model.reflections)]
        self.call(
            "deletes a reflection",
            "delete from public.reflections where id = %(id)s",
            forced=True,
            id=reflection,
        )
        self.model.delete_reflection(reflection)

    def gives_a_reflection_away(self, pick: int) -> None:
        """An operator, or the application, gives it another owner."""
        id_ = list(self.model.reflections)[pick % len(self.model.reflections)]
        owners = [c.user for c in self.model.consents.values() if c.user]
        other = owners[pick // 2 % len(owners)]
        self.call(
            "gives a reflection away", "update public.reflections set user_id = %(user)s where id = %(id)s",
            forced=True, id=id_, user=other,
        )  # fmt: skip
        if other != self.model.reflections[id_]:
            self.model.give(id_, other)
            self.step.mirrored = id_

    def can_delete_a_user(self) -> bool:
        """The second is there, and the first has a reflection to go on with."""
        ada, bob = self.bench.users
        is_there = any(c.user == bob for c in self.model.consents.values())
        return is_there and ada in self.model.reflections.values()

    def deletes_a_user(self, pick: int) -> None:
        """The second, once; the first goes on. Half of them erased everything of theirs before."""
        user = self.bench.users[1]
        if pick % 2:
            self.call("erases themself", "select voice_clone.request_erasure(%(id)s)", id=user)
        with self.bench.superuser.transaction():
            self.bench.force("set local role supabase_auth_admin")
            self.call("deletes a user", "delete from auth.users where id = %(id)s", forced=True, id=user)
        self.model.erase(user)

    def uses_an_own_voice(self, pick: int) -> None:
        """One that an enrollment made for the same user, perhaps for another reflection."""
        id_, active, parameters = self.reflection(pick)
        own = [
            a for a in self.model.attempts.values()
            if self.model.speaks_with(a.id)
            and (a.source, a.user_id) == ("sample", parameters["user"])
        ]  # fmt: skip
        if not own:
            return
        original = own[pick // 3 % len(own)]
        assert original.consent is not None
        a = Attempt(str(uuid4()), original.user_id, id_, original.consent, original.sample, "custom_voice")
        a.provider, a.provider_voice_id = original.provider, original.provider_voice_id
        refusal = None if self.model.covers(original.consent, a.user_id or "", id_) else NO_CONSENT
        if refusal is None and not self.is_used_already(a, active) and self.is_taken_down(a):
            refusal = TAKEN_DOWN
        self.call(
            "uses an own voice", lifecycle.use_custom_voice, refusal, attempt=a.id, provider=a.provider,
            region="", account="", voice=a.provider_voice_id, label=None, target_model="m", name="Ada",
            language="en", preview_required=True, **parameters,
        )  # fmt: skip
        self.opened_custom(a, active, refusal)
        if a.id in self.model.attempts:
            self.samples[a.id] = self.samples[original.id]

    def opened_custom(self, a: Attempt, active: Attempt | None, refusal: Refusal | None = None) -> None:
        if refusal is None and not self.is_used_already(a, active):
            self.customs.add(a.id)
            self.model.add(a)
            self.model.queue(a)

    def is_used_already(self, a: Attempt, active: Attempt | None) -> bool:
        """The same voice again is the same attempt, unless that failed. A moved one has an account."""
        same = active and active.id in self.customs and active.provider_voice_id == a.provider_voice_id
        states = (active.status, active.runtime_status, active.preview_status) if active else ()
        return bool(same) and "failed" not in states
