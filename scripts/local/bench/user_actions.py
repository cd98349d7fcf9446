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


def act_as_user(bench: Bench, action: str, choice: random.Random) -> list[Any]:
    """The ids that the action was done to; none where nothing of the kind exists yet."""
    if action == "voices_deleted":
        bench.run(queries.retention, {"seconds": choice.choice(RETENTIONS)})
    return bench.run(USER_ACTIONS[action], {})
