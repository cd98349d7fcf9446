"""The rows that count unfinished attempts come, follow and go with the attempts that they are about."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.fixture import Fixture


def counted(given: Fixture, attempt: UUID) -> str | None:
    """The provider under which the attempt is counted; null where it is not."""
    row = given.superuser.execute(
        "select provider from voice_clone.enrolling_attempts where attempt_id = %s", (attempt,)
    ).fetchone()
    return row["provider"] if row else None


def from_the_upload_to_the_voice(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, given.reflection(user))
    assert counted(given, attempt) == "local"
    given.queue(attempt, user)
    epoch = given.claim(attempt)["lease_epoch"]
    assert counted(given, attempt) == "local"
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', null, null)", attempt, epoch)
    assert counted(given, attempt) is None


def again_after_a_retry_elsewhere(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'x', 'x', null, null)", attempt, epoch)
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'queued', provider = 'qwen', region = 'beijing',"
        " error_code = null, error_message = null where id = %s", (attempt,),
    )  # fmt: skip
    assert counted(given, attempt) == "qwen"
    given.superuser.execute(
        "update public.voice_clone_attempts set provider = 'cartesia', region = '' where id = %s", (attempt,)
    )
    assert counted(given, attempt) == "cartesia"


SITUATIONS = (from_the_upload_to_the_voice, again_after_a_retry_elsewhere)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_attempt_is_counted_while_it_enrolls(given: Fixture, situation: Callable[[Fixture], None]) -> None:
    situation(given)


@pytest.mark.parametrize(
    ("trigger", "situation"),
    [
        ("voice_clone_attempts_track_enrolling", from_the_upload_to_the_voice),
        ("voice_clone_attempts_track_enrolling_again", from_the_upload_to_the_voice),
        ("voice_clone_attempts_track_enrolling_again", again_after_a_retry_elsewhere),
    ],
)
def test_an_attempt_that_is_not_followed_is_found(
    given: Fixture, trigger: str, situation: Callable[[Fixture], None]
) -> None:
    given.superuser.execute(f"drop trigger {trigger} on public.voice_clone_attempts".encode())
    with pytest.raises(AssertionError):
        situation(given)
