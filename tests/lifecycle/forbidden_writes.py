"""Forbidden writes by every login that might try them: the schema refuses each."""

from typing import LiteralString
from uuid import uuid4

from tests.lifecycle.checks import EDGES
from tests.lifecycle.rows import OPEN, Attempt, Refusal
from tests.lifecycle.takedowns import Takedowns
from tests.lifecycle.users import Action

AS_CLIENT: LiteralString = """
    with me as materialized (
      select set_config('request.jwt.claims', json_build_object('sub', %(user)s::text)::text, true),
             set_config('role', 'authenticated', true))
    select from me
"""
CLIENT_WRITES: tuple[LiteralString, ...] = (
    "update public.voice_clone_attempts set status = 'ready'",
    "update public.reflections set voice = '{}'",
    "delete from public.voice_consents",
    "update public.voices set deleted_at = null",
    "update public.speech_jobs set status = 'succeeded'",
    "insert into public.voice_samples (user_id, consent_id, path, content_type, bytes)"
    " select user_id, consent_id, path || 'x', content_type, bytes from public.voice_samples",
    "update public.voice_samples set status = 'ready'",
    "select voice_clone.mirror_reflections('{}')",
)


class ForbiddenWrites(Takedowns):
    def forbidden_writes(self) -> list[Action]:
        second, edge = self.activates_a_second_attempt, self.takes_no_edge
        found: list[Action] = [
            edge,
            edge,
            edge,
            self.rewrites_history,
            self.lowers_an_epoch,
            self.writes_as_a_client,
        ]
        found += [second] * 3 + [self.forges_the_mirror] * 2
        if any(e.status in OPEN for e in self.model.enrollments.values()):
            found += [self.intends_twice] * 2
        if any(c.revoked for c in self.model.consents.values()):
            found += [self.samples_without_consent] * 2
        return found

    def activates_a_second_attempt(self, pick: int) -> None:
        """An opened attempt beside the active one."""
        active = [a.reflection_id for a in self.model.attempts.values() if a.is_active and a.reflection_id]
        if not active:
            return
        reflection = active[pick % len(active)]
        waiting = [a for a in self.model.of_reflection(reflection) if a.status == "awaiting_upload"]
        waiting = [a for a in waiting if not a.is_taken_down]  # which is refused before
        if not waiting and (opened := self.open(list(self.model.reflections).index(reflection), "good")):
            waiting = [opened]
            self.verify_invariants()
        if waiting and not self.is_ready(waiting[0]):
            if (inspection := self.begins_an_inspection(waiting[0])) is None:
                return
            self.completes(inspection)
            self.verify_invariants()
        if waiting:
            self.call(
                "activates a second attempt",
                "update public.voice_clone_attempts set status = 'queued', is_active = true"
                " where id = %(id)s",
                Refusal("23505", 1), forced=True, id=waiting[0].id,
            )  # fmt: skip

    def is_ready(self, a: Attempt) -> bool:
        return self.model.samples[a.sample or ""].status == "ready"

    def takes_no_edge(self, pick: int) -> None:
        attempts = list(self.model.attempts.values())
        moves = [(a, to) for a in attempts for to in EDGES if to != a.status and to not in EDGES[a.status]]
        # A frozen one is refused as frozen, before its edge is looked at.
        moves = [(a, to) for a, to in moves if not (a.is_taken_down and to in ("queued", "ready"))]
        a, to = moves[(pick * 7) % len(moves)]
        self.call(
            f"takes {a.status} to {to}", "update public.voice_clone_attempts set status = %(to)s"
                                         " where id = %(id)s",
            Refusal("VC001", 2), forced=True, id=a.id, to=to,
        )  # fmt: skip

    def rewrites_history(self, pick: int) -> None:
        sql = (
            "update voice_clone.events set version = 0",
            "delete from voice_clone.events",
            "truncate voice_clone.events_default",
        )[pick % 3]
        self.call("rewrites history", sql, Refusal("42501", 11), forced=True)

    def lowers_an_epoch(self, pick: int) -> None:
        a = list(self.model.attempts.values())[pick % len(self.model.attempts)]
        self.call(
            "lowers an epoch", "update public.voice_clone_attempts set lease_epoch = lease_epoch"
                               " - 1 where id = %(id)s",
            Refusal("VC001", 4), forced=True, id=a.id,
        )  # fmt: skip

    def forges_the_mirror(self, pick: int) -> None:
        forged = ('{"theme": "dark", "cloneStatus": "ready"}', '{"theme": "dark", "version": 9999}')[pick % 2]
        self.call(
            "forges the mirror", "update public.reflections set voice = %(voice)s where id = %(id)s",
            Refusal("42501", 6), forced=True, voice=forged, id=next(iter(self.model.reflections)),
        )  # fmt: skip

    def writes_as_a_client(self, pick: int) -> None:
        sql = CLIENT_WRITES[pick % len(CLIENT_WRITES)]
        with self.bench.superuser.transaction():
            self.bench.force(AS_CLIENT, user=self.bench.users[pick % 2])
            self.call("writes as a client", sql, Refusal("42501", 12), forced=True)

    def intends_twice(self, pick: int) -> None:
        open_ = [e for e in self.model.enrollments.values() if e.status in OPEN]
        self.call(
            "intends a second create",
            "insert into voice_clone.enrollments"
            " (attempt_id, lease_epoch, provider, region, provider_voice_kind, label, settles_at)"
            " values (%(attempt)s, 1, 'local', '', 'match', %(label)s, now())",
            Refusal("23505", 5), forced=True, attempt=open_[pick % len(open_)].attempt,
            label=uuid4().hex[:16],
        )  # fmt: skip

    def samples_without_consent(self, pick: int) -> None:
        revoked = [(id_, c) for id_, c in self.model.consents.items() if c.revoked]  # also of a deleted user
        id_, consent = revoked[pick % len(revoked)]
        self.call(
            "samples without consent",
            "insert into public.voice_samples (user_id, consent_id, path, content_type, bytes)"
            " values (%(user)s, %(consent)s, %(path)s, 'audio/wav', 1)",
            Refusal("VC003", 9), forced=True, user=consent.user, consent=id_, path=str(uuid4()),
        )  # fmt: skip
