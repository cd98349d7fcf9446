"""What users take back during a storm: a consent, a voice, a reflection, their account."""

import random
from typing import Any

from backend.database.queries import load_queries
from scripts.local.bench.seed import Bench

queries = load_queries(__file__)
USER_ACTIONS = {
    "consents_revoked": queries.consents_revoked,
    "voices_deleted": queries.voices_deleted,
    "reflections_given": queries.reflections_given,
    "users_deleted": queries.users_deleted,
}
RETENTIONS = (0.0, 2.0, 86_400.0)  # seconds that a deleted voice stays at its provider


def act_as_user(bench: Bench, number: int, choice: random.Random) -> tuple[str, list[Any]]:
    """Each action in turn: its name, and the ids that it was done to; none where nothing is there yet.

    Every second round prefers attempts without a voice: a worker may be making it.
    """
    round_, turn = divmod(number, len(USER_ACTIONS))
    action = list(USER_ACTIONS)[turn]
    if action == "voices_deleted":
        bench.run(queries.retention, {"seconds": choice.choice(RETENTIONS)})
    return action, bench.run(USER_ACTIONS[action], {"has_voice": round_ % 2 == 0})
