"""The worker that makes a voice ready continues to the first runtime sync under the same lease."""

from uuid import UUID

from tests.database.situations import events, ids, refused
from tests.database.test_sweep import expire, sweep
from tests.fixture import Fixture, Row

MARK = "select voice_clone.mark_runtime(%s, %s, %s, %s, %s, 0, null)"


def made(
    given: Fixture, reflection: UUID | None, user: UUID, *, goes_on: bool = True
) -> tuple[UUID, int, Row]:
    """The attempt, its worker's epoch, and its row when the voice was attached."""
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    row = given.one(
        "select * from voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null, null, %s)",
        attempt, epoch, given.intend(attempt, epoch), goes_on,
    )  # fmt: skip
    return attempt, epoch, row


def test_it_is_ready_and_syncing_in_one_transition_without_a_message(given: Fixture) -> None:
    user = given.user()
    attempt, epoch, row = made(given, given.reflection(user), user)
    assert (row["status"], row["runtime_status"], row["sync_count"]) == ("ready", "syncing", 1)
    assert (row["lease_owner"], row["lease_epoch"]) == ("worker", epoch)
    assert events(given, attempt)[-2:] == ["enrolled", "runtime_syncing"]
    assert given.messages("voice_runtime_sync") == []
    given.one(MARK, attempt, epoch, "synced", None, None)
    after = given.attempt(attempt)
    assert (after["runtime_status"], after["lease_owner"]) == ("synced", None)
    assert after["version"] == row["version"] + 1


def test_a_sync_that_may_pass_is_sent_for_again(given: Fixture) -> None:
    user = given.user()
    attempt, epoch, _ = made(given, given.reflection(user), user)
    given.one(MARK, attempt, epoch, "pending", "provider_unavailable", "It is away.")
    after = given.attempt(attempt)
    assert (after["runtime_status"], after["error_code"]) == ("pending", "provider_unavailable")
    assert ids(given, "voice_runtime_sync") == [str(attempt)]


def test_a_worker_that_dies_in_it_is_replaced_and_refused(given: Fixture) -> None:
    user = given.user()
    attempt, epoch, _ = made(given, given.reflection(user), user)
    expire(given, attempt)
    assert sweep(given) == {"requeued": 1}
    assert given.attempt(attempt)["runtime_status"] == "pending"
    assert ids(given, "voice_runtime_sync") == [str(attempt)]
    with refused("VC002"):
        given.one(MARK, attempt, epoch, "synced", None, None)
    assert given.step(attempt, "runtime") > epoch
    with refused("VC002"):
        given.one(MARK, attempt, epoch, "synced", None, None)


def test_a_voice_of_no_reflection_has_no_runtime_to_go_on_to(given: Fixture) -> None:
    _, _, row = made(given, None, given.user())
    assert (row["status"], row["runtime_status"], row["lease_owner"]) == ("ready", "pending", None)
    assert given.messages("voice_runtime_sync") == []


def test_a_worker_that_does_not_go_on_leaves_a_message(given: Fixture) -> None:
    user = given.user()
    attempt, _, row = made(given, given.reflection(user), user, goes_on=False)
    assert (row["status"], row["runtime_status"], row["lease_owner"]) == ("ready", "pending", None)
    assert ids(given, "voice_runtime_sync") == [str(attempt)]
