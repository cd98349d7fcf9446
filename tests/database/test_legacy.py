"""A legacy event becomes an attempt at most once, never without consent, never beside an active one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.database.situations import meanwhile, refused
from tests.fixture import Fixture, Row

FREE_CONSENTS = "select pg_try_advisory_xact_lock(hashtextextended('consents:' || %s::text, 0)) as free"
PAYLOAD: dict[str, Any] = {"recording": {"path": "x"}}
RECEIVE = "select * from voice_clone.receive_legacy_event('voice_clone_outbox', %s, %s, %s)"
ACCEPT = "select * from voice_clone.accept_legacy_event(%s, %s, 'local', '', 'Ada', true)"


def receive(given: Fixture, reflection: UUID, event: str = "e", payload: dict[str, Any] = PAYLOAD) -> Row:
    return given.one(RECEIVE, event, reflection, Jsonb(payload))


def accept(given: Fixture, event: Row, sample: UUID | None = None) -> Row:
    return given.one(ACCEPT, event["id"], sample or copy(given, event))


def copy(given: Fixture, event: Row) -> UUID:
    """The copy of the event's recording: a sample that is ready."""
    given.consents[event["user_id"]] = event["consent_id"]
    sample = given.add_sample(event["user_id"], kept=False)
    epoch = given.claim_sample(sample, inline=True)["lease_epoch"]
    given.complete(sample, epoch, f"{event['user_id']}/{sample}/prepared.wav")
    return sample


def kept(given: Fixture) -> list[Row]:
    return given.superuser.execute("select * from voice_clone.legacy_events order by received_at").fetchall()


def decided(row: Row) -> tuple[str, str | None]:
    return row["outcome"], row["code"]


@pytest.fixture
def owner(given: Fixture) -> UUID:
    return given.user()


@pytest.fixture
def reflection(given: Fixture, owner: UUID) -> UUID:
    return given.reflection(owner)


def test_an_event_becomes_a_queued_attempt_of_its_reflection(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    given.consent(owner)
    received = receive(given, reflection)
    assert (received["outcome"], received["user_id"]) == ("received", owner)
    accepted = accept(given, received)
    assert accepted["outcome"] == "accepted"
    attempt = given.attempt(accepted["attempt_id"])
    assert (attempt["status"], attempt["source"], attempt["is_active"]) == ("queued", "legacy_outbox", True)
    assert (attempt["reflection_id"], attempt["preview_status"]) == (reflection, "required")
    assert [each["message"]["id"] for each in given.messages("voice_clone_process")] == [str(attempt["id"])]
    given.enroll(attempt["id"])
    assert given.attempt(attempt["id"])["status"] == "ready"


def test_the_same_event_again_is_the_same_attempt(given: Fixture, owner: UUID, reflection: UUID) -> None:
    given.consent(owner)
    received = receive(given, reflection)
    accepted = accept(given, received)
    for again in (receive(given, reflection), accept(given, received)):
        assert (again["outcome"], again["attempt_id"]) == ("accepted", accepted["attempt_id"])
    assert given.truth("select count(*) from public.voice_clone_attempts")["count"] == 1


def test_an_event_at_both_services_at_once_is_one_attempt(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    given.consent(owner)
    samples = [copy(given, receive(given, reflection)) for _ in range(4)]

    def deliver(number: int) -> UUID:
        with psycopg.Connection[Row].connect(
            given.database.service, autocommit=True, row_factory=dict_row
        ) as service:
            received = service.execute(RECEIVE, ("e", reflection, Jsonb(PAYLOAD))).fetchone()
            assert received is not None
            accepted = service.execute(ACCEPT, (received["id"], samples[number])).fetchone()
            assert accepted is not None
            return accepted["attempt_id"]

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(deliver, range(4)))) == 1
    assert given.truth("select count(*) from public.voice_clone_attempts")["count"] == 1
    assert len(removals(given)) == 3, "the other copies"


def test_an_active_attempt_is_not_disturbed(given: Fixture, owner: UUID, reflection: UUID) -> None:
    attempt = given.launchable(owner, reflection)
    before = given.attempt(attempt)
    assert decided(receive(given, reflection)) == ("skipped", "attempt_active")
    assert given.attempt(attempt) == before
    given.superuser.execute("select voice_clone.cancel_attempts('reset', %s)", (reflection,))
    assert decided(receive(given, reflection)) == ("skipped", "attempt_active"), "an old event stays decided"


def test_of_two_events_for_a_reflection_one_becomes_its_attempt(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    given.consent(owner)
    first, second = receive(given, reflection, "1"), receive(given, reflection, "2")
    assert (first["outcome"], second["outcome"]) == ("received", "received")
    assert accept(given, first)["outcome"] == "accepted"
    assert decided(accept(given, second)) == ("skipped", "attempt_active")


def removals(given: Fixture) -> list[str]:
    rows = given.superuser.execute(
        "select folder from voice_clone.object_removals where bucket = 'voice-samples'"
    )
    return [row["folder"] for row in rows]


def test_the_copy_of_a_recording_that_is_not_used_is_removed(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    consent = given.consent(owner)
    first, second = receive(given, reflection, "1"), receive(given, reflection, "2")
    accept(given, first)
    unused = copy(given, second)
    assert decided(accept(given, second, unused)) == ("skipped", "attempt_active")
    assert removals(given) == [f"{owner}/{unused}"]
    given.one("select * from voice_clone.reset_attempt(%s, %s)", reflection, owner)
    third = receive(given, reflection, "3")
    unused = copy(given, third)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, owner)
    assert decided(accept(given, third, unused)) == ("refused", "consent_required")
    assert f"{owner}/{unused}" in removals(given)
    assert accept(given, first, unused)["outcome"] == "accepted", "the same answer"


def test_without_consent_an_event_is_kept_with_the_reason(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    assert decided(receive(given, reflection)) == ("refused", "consent_required")
    assert [(row["payload"], row["code"]) for row in kept(given)] == [(PAYLOAD, "consent_required")]
    consent = given.consent(owner, given.reflection(owner))
    assert decided(receive(given, reflection))[0] == "refused", "it is for another reflection"
    given.consent(owner)
    received = receive(given, reflection)
    assert received["outcome"] == "received"
    sample = copy(given, received)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", received["consent_id"], owner)
    assert received["consent_id"] != consent
    assert decided(accept(given, received, sample)) == ("refused", "consent_required")
    assert given.truth("select count(*) from public.voice_clone_attempts")["count"] == 0


def test_what_is_no_event_for_a_clone_is_kept_as_well(given: Fixture, reflection: UUID) -> None:
    assert decided(receive(given, reflection, payload={"minutes": 3})) == ("skipped", "no_recording")
    assert decided(receive(given, uuid4(), "gone")) == ("refused", "reflection_not_found")
    assert len(kept(given)) == 2


def test_the_same_id_of_another_source_is_another_event(given: Fixture, reflection: UUID) -> None:
    receive(given, reflection)
    given.one(
        "select * from voice_clone.receive_legacy_event('conversation_ended', 'e', %s, '{}')", reflection
    )
    assert [row["source"] for row in kept(given)] == ["voice_clone_outbox", "conversation_ended"]


def test_a_refused_recording_can_be_put_right(given: Fixture, owner: UUID, reflection: UUID) -> None:
    given.consent(owner)
    received = receive(given, reflection)
    refused = given.one(
        "select * from voice_clone.refuse_legacy_event(%s, 'too_short', 'No.')", received["id"]
    )
    assert decided(refused) == ("refused", "too_short")
    better = {"recording": {"path": "y"}}
    again = receive(given, reflection, payload=better)
    assert (again["id"], again["outcome"]) == (received["id"], "received")
    assert accept(given, again)["outcome"] == "accepted"
    late = given.one("select * from voice_clone.refuse_legacy_event(%s, 'too_short', 'No.')", received["id"])
    assert late["outcome"] == "accepted", "who decided first stands"
    assert [(row["payload"], row["outcome"], row["code"]) for row in kept(given)] == [
        (better, "accepted", None)
    ]


def test_a_consent_that_is_being_revoked_is_awaited_without_other_locks(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    consent = given.consent(owner)
    received = receive(given, reflection)
    sample = copy(given, received)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(given.database.superuser) as withdrawal:
        withdrawal.execute("select voice_clone.revoke_consent(%s, %s)", (consent, owner))
        accepting = pool.submit(accept, given, received, sample)
        while given.superuser.execute("select from pg_locks where not granted").fetchone() is None:
            assert not accepting.done(), "it waits for nobody"
        withdrawal.execute(
            "select from public.reflections where id = %s for no key update nowait", (reflection,)
        )
        withdrawal.commit()
        assert decided(accepting.result()) == ("refused", "consent_required")


def test_an_event_whose_reflection_changes_hands_is_decided_under_the_lock_of_its_new_owner(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    given.consent(owner)
    received = receive(given, reflection)
    sample = copy(given, received)
    other = given.user()

    def accept_and_look() -> Row:
        with given.service.transaction():
            return accept(given, received, sample) | given.truth(FREE_CONSENTS, other)

    with meanwhile(given, accept_and_look) as accepting:
        give = "update public.reflections set user_id = %s where id = %s"
        given.superuser.execute(give, (other, reflection))
    row = accepting[0].result()
    assert (decided(row), row["free"]) == (("refused", "consent_required"), False)
    assert given.truth(FREE_CONSENTS, other)["free"]
    assert not given.superuser.execute("select from public.voice_clone_attempts").fetchall()


def test_an_event_that_names_another_reflection_meanwhile_is_tried_again(
    given: Fixture, owner: UUID, reflection: UUID
) -> None:
    """Only the consents of the first reflection's owner are locked."""
    given.consent(owner)
    received = receive(given, reflection)
    sample = copy(given, received)
    elsewhere = given.reflection(given.user())
    with meanwhile(given, lambda: accept(given, received, sample)) as accepting:
        given.superuser.execute(RECEIVE.encode(), ("e", elsewhere, Jsonb(PAYLOAD)))
    with refused("40001"):
        accepting[0].result()
    assert accept(given, received, sample)["outcome"] == "refused"
    assert not given.superuser.execute("select from public.voice_clone_attempts").fetchall()
