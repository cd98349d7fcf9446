"""Uploads, voices and deliveries that are refused by what is there already."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import custom_voice, refused
from tests.database.test_limits_of_others import OPEN_UPLOADS, leave, opens
from tests.database.test_webhooks import register
from tests.fixture import Fixture

CHECK = "select voice_clone.check_opening(%s, %s, %s, %s, 'local', '')"


def check(given: Fixture, user: UUID, reflection: UUID | None = None, per_day: int | None = None) -> None:
    given.one(CHECK, user, given.consents[user], reflection, per_day)


@pytest.mark.parametrize("call", [opens, check])
def test_an_upload_beside_as_many_as_may_be_open_is_told_when_one_gives_way(
    given: Fixture, call: Callable[[Fixture, UUID], object]
) -> None:
    user = given.user()
    for _ in range(OPEN_UPLOADS):
        opens(given, user)
    with pytest.raises(psycopg.Error) as caught:
        call(given, user)
    assert caught.value.sqlstate == "VC008"
    detail = json.loads(caught.value.diag.message_detail or "{}")
    assert detail["code"] == "too_many_open_uploads"
    assert detail["retry_after"] > 0


def test_an_upload_past_those_of_a_day_is_refused(given: Fixture) -> None:
    user = given.user()
    opens(given, user, 1)
    for call in (opens, check):
        with refused("VC008", "too_many_attempts"):
            call(given, user, per_day=1)


def test_an_upload_is_for_a_reflection_of_its_user(given: Fixture) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    check(given, user)
    check(given, user, given.reflection(user))
    with refused("VC004"):
        check(given, user, given.reflection(given.user()))


def test_an_upload_that_another_transaction_uses_does_not_give_way(given: Fixture) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    uploads = [given.open(user, None) for _ in range(OPEN_UPLOADS)]
    leave(given, uploads[0])
    with psycopg.connect(given.database.superuser) as other:
        other.execute("select from public.voice_clone_attempts where id = %s for update", (uploads[0],))
        with refused("VC008", "too_many_open_uploads"):
            given.open(user, None)
    given.open(user, None)
    assert given.attempt(uploads[0])["status"] == "expired"


def test_a_custom_voice_is_added_once_to_an_attempt(given: Fixture) -> None:
    user = given.user()
    attempt = custom_voice(given, user, given.reflection(user))
    with refused("23505"):
        given.superuser.execute(
            "select voice_clone.add_custom_voice(a) from public.voice_clone_attempts a where a.id = %s",
            (attempt,),
        )


def test_a_delivery_begins_as_pending(given: Fixture) -> None:
    user = given.user()
    webhook = register(given, user)
    with refused("VC001"):
        given.superuser.execute(
            "insert into public.webhook_deliveries"
            " (webhook_id, event_id, user_id, attempt_id, voice_id, version, events, recorded_at, status)"
            " values (%s, 1, %s, %s, %s, 1, '{queued}', now(), 'delivered')",
            (webhook, user, uuid4(), uuid4()),
        )
