"""Why attempts were cancelled: derived from what users did and from the order of the events."""

from collections import defaultdict
from typing import Any

from tests.lifecycle.snapshot import Snapshot


def causes(
    snapshot: Snapshot, done: dict[str, set[Any]], reflection_of: dict[Any, Any]
) -> dict[str, set[str]]:
    """Of each attempt that must be cancelled, the reasons that it may have: the first one counted.

    `reflection_of`: of each attempt that was queued. The events of a deleted user name no reflection.
    """
    found: dict[str, set[str]] = defaultdict(set)
    revoked, deleted, given, erased = (
        {str(id_) for id_ in done[action]}
        for action in ("consents_revoked", "voices_deleted", "reflections_given", "users_deleted")
    )
    reflection, order = activations(snapshot, reflection_of)
    for of, ids in order.items():
        for id_ in ids[:-1] if of else ():  # those of the library supersede nothing
            found[id_].add("superseded")
    consent = {s["id"]: s["consent_id"] for s in snapshot.samples}
    owner = {r["id"]: r["user_id"] for r in snapshot.reflections}
    for a in snapshot.attempts:
        id_, target = a["id"], reflection[a["id"]]
        if a["voice_id"] in deleted:
            found[id_].add("voice_deleted")
        if consent[a["sample_id"]] in revoked:
            found[id_].add("consent_revoked")
        if a["user_id"] is None:
            found[id_].add("user_deleted")
        # Where both the giver and the taker are deleted, neither the attempt nor the reflection has a user.
        if target in given and (a["user_id"] is None or a["user_id"] != owner.get(target)):
            found[id_].add("owner_changed")
        if target is not None and target not in owner:  # it went with its user
            found[id_].add("reflection_deleted")
    assert not erased & {a["user_id"] for a in snapshot.attempts}, "a deleted user has no attempts"
    return dict(found)


def activations(
    snapshot: Snapshot, reflection_of: dict[Any, Any]
) -> tuple[dict[str, str | None], dict[str | None, list[str]]]:
    """The reflection of each attempt, and the attempts of each reflection as they became active."""
    reflection: dict[str, str | None] = {str(id_): str(of) for id_, of in reflection_of.items()}
    order: dict[str | None, list[str]] = defaultdict(list)
    for event in snapshot.events:
        id_, changes = event["attempt_id"], event["changes"]
        reflection.setdefault(id_, changes.get("reflection_id"))
        if changes.get("is_active"):
            order[reflection[id_]].append(id_)
    return reflection, order
