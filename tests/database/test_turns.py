"""Turns: an attempt over its user's cap waits without a message, until one of the user's steps ends."""

from uuid import UUID

from tests.database.situations import ids, lose
from tests.fixture import Fixture, Row


def queued(given: Fixture, user: UUID, count: int) -> list[UUID]:
    given.consents.setdefault(user, given.consent(user))
    return [given.queued(user, given.reflection(user)) for _ in range(count)]


def claim(given: Fixture, attempt: UUID, cap: int) -> Row:
    return given.one("select * from voice_clone.claim_attempt(%s, 'worker', 60, %s, false)", attempt, cap)


def end(given: Fixture, attempt: UUID, epoch: int) -> None:
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'No.', null, null)", attempt, epoch)


def turns(given: Fixture) -> list[str]:
    """The attempts that have a message; the messages are deleted."""
    found = ids(given, "voice_clone_process")
    lose(given)
    return found


def test_an_attempt_over_the_cap_has_no_message_until_its_turn(given: Fixture) -> None:
    first, second, third = queued(given, given.user(), 3)
    epoch = claim(given, first, 1)["lease_epoch"]
    lose(given)
    for waiting in (second, third):
        refused = claim(given, waiting, 1)
        assert (refused["outcome"], refused["retry_after_seconds"]) == ("user_busy", None)
    assert turns(given) == []
    end(given, first, epoch)
    assert turns(given) == [str(second)]
    end(given, second, claim(given, second, 1)["lease_epoch"])
    assert turns(given) == [str(third)]


def test_two_places_that_become_free_at_once_are_both_taken(given: Fixture) -> None:
    running = queued(given, user := given.user(), 2)
    epochs = [claim(given, attempt, 2)["lease_epoch"] for attempt in running]
    waiting = queued(given, user, 2)
    lose(given)
    for attempt, epoch in zip(running, epochs, strict=True):
        end(given, attempt, epoch)
    assert turns(given) == [str(waiting[0])] * 2
    claim(given, waiting[0], 2)
    assert turns(given) == [str(waiting[1])]


def test_a_turn_of_a_cancelled_attempt_goes_to_the_next(given: Fixture) -> None:
    first, second, third = queued(given, user := given.user(), 3)
    end(given, first, claim(given, first, 1)["lease_epoch"])
    lose(given)
    reflection = given.attempt(second)["reflection_id"]
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, user)
    assert turns(given) == [str(third)]


def test_a_lease_that_ends_frees_its_place(given: Fixture) -> None:
    first, second = queued(given, given.user(), 2)
    claim(given, first, 1)
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now(), lease_expires_at = now() - interval '1 s'"
        " where attempt_id = %s", (first,),
    )  # fmt: skip
    lose(given)
    given.one("select * from voice_clone.sweep(10)")
    assert set(turns(given)) == {str(first), str(second)}


def test_the_turn_of_one_user_is_no_turn_of_another(given: Fixture) -> None:
    (first,) = queued(given, given.user(), 1)
    queued(given, given.user(), 5)
    lose(given)
    end(given, first, claim(given, first, 1)["lease_epoch"])
    assert turns(given) == []


def test_a_turn_that_was_lost_is_sent_by_the_sweep(given: Fixture) -> None:
    first, second = queued(given, given.user(), 2)
    end(given, first, claim(given, first, 1)["lease_epoch"])
    lose(given)
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (second,)
    )
    given.one("select * from voice_clone.sweep(10)")
    assert turns(given) == [str(second)]
