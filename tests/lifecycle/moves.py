"""Moves: the user, or an operator, makes another voice of a sample at the other provider."""

from uuid import uuid4

from backend.domains.moves.moves import queries as moves
from tests.lifecycle.driver import NO_CONSENT, NOT_THERE, TAKEN_DOWN, TOO_MANY
from tests.lifecycle.rows import Attempt, Refusal
from tests.lifecycle.snapshot import Bench
from tests.lifecycle.uploads import Uploads

NOT_MOVABLE = Refusal("VC007", 1)
OPERATOR = """
    select * from voice_clone.move_voice(%(attempt)s, %(voice)s, %(user)s, %(provider)s, %(region)s,
      %(accounts)s, %(switch)s, %(preview_required)s, null, true)
"""


def other_provider(a: Attempt) -> str:
    return "qwen" if a.provider == "local" else "local"


class Moves(Uploads):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.moved: dict[str, Attempt] = {}  # by the attempt of the old voice: its latest move

    def moves_a_voice(self, pick: int) -> None:
        """Mostly one that is not deleted, by its owner, to the other provider."""
        model = self.model
        kept = [id_ for id_, is_deleted in model.voices.items() if not is_deleted]
        old = model.attempts[(every := kept if kept and pick % 7 else list(model.voices))[pick % len(every)]]
        target = old.provider if pick % 11 == 0 else other_provider(old)
        user = self.bench.users[pick % 2] if pick % 13 == 0 else old.user_id or self.bench.users[0]
        self.move(old, user, target, pick, switch=bool(pick % 3), by_operator=pick % 5 == 0)

    def move(
        self, old: Attempt, user: str, target: str, pick: int, *, switch: bool, by_operator: bool = False
    ) -> Attempt | None:
        """The new attempt, if it is allowed."""
        model = self.model
        per_day, is_allowed = self.allowance(user, pick)
        standing = self.move_standing(old, user, target)
        changes_over = standing == "ready_beside" and switch
        refusal = None if changes_over else self.move_refusal(standing)
        if standing == "movable" and not by_operator and not is_allowed:
            refusal = TOO_MANY
        if changes_over and not self.is_covered(self.moved[old.id], old.reflection_id):
            refusal = NO_CONSENT
        new = Attempt(
            str(uuid4()), old.user_id, self.moved_reflection(old, switch=switch), old.consent, old.sample
        )
        new.provider, new.source = target, "operator_move" if by_operator else "sample"
        new.preview_status = "required" if new.reflection_id else "not_required"
        if changes_over:
            new.reflection_id, new.source, new.preview_status = old.reflection_id, "custom_voice", "required"
            new.provider_voice_id = self.moved[old.id].provider_voice_id
        if refusal is None and self.is_taken_down(new):
            refusal = TAKEN_DOWN
        voice = next(v["id"] for v in self.snapshot.voices if v["attempt_id"] == old.id)
        beside = " beside" if old.is_active and old.reflection_id and not new.reflection_id else ""
        self.call(
            "changes over to a voice" if changes_over else f"moves a voice{beside}",
            OPERATOR if by_operator else moves.move, refusal, attempt=new.id, voice=voice, user=user,
            provider=target, region="", accounts=["local"], switch=switch, preview_required=True,
            per_day=per_day,
        )  # fmt: skip
        if refusal is not None:
            return None
        model.add(new)
        model.queue(new)
        self.samples[new.id] = self.samples[old.id]
        if not changes_over:
            self.moved[old.id] = new
        return new

    def move_standing(self, old: Attempt, user: str, target: str) -> str:
        model, made = self.model, self.moved.get(old.id)
        if model.voices[old.id] or old.user_id != user:
            return "absent"
        if old.provider == target:
            return "already_there"
        if made is not None and made.status in ("queued", "processing", "verifying"):
            return "move_in_progress"
        if made is not None and model.speaks_with(made.id) and made.provider == target:
            return "ready_beside" if old.is_active and old.reflection_id else "already_moved"
        if old.sample is None or model.samples[old.sample].status == "removed":
            return "sample_missing"
        return "movable" if self.is_covered(old, old.reflection_id) else "consent_required"

    def move_refusal(self, standing: str) -> Refusal | None:
        named = {"movable": None, "absent": NOT_THERE, "consent_required": NO_CONSENT}
        return named.get(standing, NOT_MOVABLE)

    def is_covered(self, a: Attempt, reflection: str | None) -> bool:
        return bool(a.consent) and self.model.covers(a.consent or "", a.user_id or "", reflection)

    def moved_reflection(self, old: Attempt, *, switch: bool) -> str | None:
        """The reflection that gets the new attempt."""
        if not old.reflection_id or self.model.reflections.get(old.reflection_id) != old.user_id:
            return None
        active, made = self.model.active(old.reflection_id), self.moved.get(old.id)
        is_its_own = active is not None and (active is old or active is made)
        return old.reflection_id if active and is_its_own and (switch or not active.is_launchable()) else None
