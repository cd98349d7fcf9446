"""Webhooks in the database: what is queued, in which order, who delivers, and what failures lead to."""

import json
import re
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database import situations
from tests.database.situations import refused
from tests.fixture import Fixture, Row

SECRET = "whsec_" + "A" * 43 + "="
OTHER = "whsec_" + "B" * 43 + "="
THIRD = "whsec_" + "C" * 43 + "="


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


@pytest.fixture
def webhook(given: Fixture, user: UUID) -> UUID:
    return register(given, user)


def register(given: Fixture, user: UUID, webhook: UUID | None = None) -> UUID:
    return given.one(
        "select id from voice_clone.create_webhook(%s, %s, 'https://example.org/hook', %s)",
        webhook or uuid4(), user, SECRET,
    )["id"]  # fmt: skip


def row(given: Fixture, webhook: UUID) -> Row:
    return given.truth("select * from public.webhooks where id = %s", webhook)


def deliveries(given: Fixture, webhook: UUID) -> list[Row]:
    return given.superuser.execute(
        "select * from public.webhook_deliveries where webhook_id = %s order by event_id", (webhook,)
    ).fetchall()


def statuses(given: Fixture, webhook: UUID) -> list[str]:
    return [each["status"] for each in deliveries(given, webhook)]


def claim(given: Fixture, webhook: UUID, cap: int = 2, most: int = 4) -> Row:
    return given.one("select * from voice_clone.claim_webhook(%s, 'worker', %s, %s)", webhook, cap, most)


def work(given: Fixture, webhook: UUID, most: int = 4) -> Row:
    return given.one("select * from voice_clone.claimed_webhook(%s, %s)", webhook, most)


def record(
    given: Fixture,
    webhook: UUID,
    epoch: int,
    results: dict[int, str],
    *,
    wait: float = 0,
    message: int | None = None,
) -> str:
    sent = [
        {"event_id": event, "outcome": outcome, "response_status": 200 if outcome == "delivered" else 500,
         "code": None if outcome == "delivered" else "webhook_refused"}
        for event, outcome in results.items()
    ]  # fmt: skip
    return given.one(
        "select voice_clone.record_deliveries(%s, %s, %s, %s, %s) as said",
        webhook, epoch, json.dumps(sent), wait, message,
    )["said"]  # fmt: skip


def deliver(
    given: Fixture, webhook: UUID, outcome: str = "delivered", most: int = 4, **more: Any
) -> list[int]:
    """One whole step; the events that it sent."""
    claimed = claim(given, webhook, most=most)
    assert claimed["outcome"] == "claimed", claimed
    events = [each["event_id"] for each in work(given, webhook, most)["deliveries"]]
    record(given, webhook, claimed["lease_epoch"], dict.fromkeys(events, outcome), **more)
    return events


def age(given: Fixture, webhook: UUID, table: str = "webhooks", **times: str) -> None:
    """These columns lie that long in the past."""
    key = "id" if table == "webhooks" else "webhook_id"
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        for column, interval in times.items():
            given.superuser.execute(
                f"update public.{table} set {column} = now() - %s::interval where {key} = %s".encode(),  # noqa: S608
                (interval, webhook),
            )


def sent(given: Fixture) -> int:
    return given.truth("select count(*) from pgmq.q_webhooks where vt <= clock_timestamp()")["count"]


def purge(given: Fixture) -> None:
    given.superuser.execute("select pgmq.purge_queue('webhooks')")


def sweep(given: Fixture) -> dict[str, int]:
    did = situations.sweep(given)
    return {what: count for what, count in did.items() if what.startswith(("webhooks", "deliveries"))}


# -- what is queued


def test_each_transition_is_queued_for_each_webhook_of_the_owner(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    other, strangers = register(given, user), register(given, given.user())
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    events = given.service.execute(
        "select * from voice_clone.attempt_events(%s, %s, 0)", (attempt, user)
    ).fetchall()
    for each in (webhook, other):
        found = deliveries(given, each)
        assert [(d["event_id"], d["version"], d["events"], d["recorded_at"]) for d in found] == [
            (e["id"], e["version"], e["events"], e["recorded_at"]) for e in events
        ]
        assert {(d["attempt_id"], d["reflection_id"]) for d in found} == {(attempt, reflection)}
    assert deliveries(given, strangers) == []
    assert sent(given) == 2 * len(events)


def test_a_poll_of_the_verification_is_no_event(given: Fixture, user: UUID, webhook: UUID) -> None:
    attempt = given.queued(user, None)
    before = len(deliveries(given, webhook))
    given.superuser.execute(
        "update public.voice_clone_attempts set verify_count = verify_count + 1 where id = %s", (attempt,)
    )
    assert len(deliveries(given, webhook)) == before


def test_nothing_is_queued_or_sent_without_a_webhook(given: Fixture, user: UUID) -> None:
    register(given, given.user())
    given.queued(user, None)
    assert given.truth("select count(*) from public.webhook_deliveries")["count"] == sent(given) == 0


def test_a_transition_that_is_rolled_back_queues_nothing(given: Fixture, user: UUID, webhook: UUID) -> None:
    with given.service.transaction(force_rollback=True):
        given.open(user, None)
    assert (deliveries(given, webhook), sent(given)) == ([], 0)


def test_a_transition_does_not_wait_for_a_webhook_that_is_being_deleted(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    with psycopg.connect(given.database.service) as deleting:
        deleting.execute("select voice_clone.delete_webhook(%s, %s)", (webhook, user))
        with given.service.transaction():
            given.service.execute("set local lock_timeout = '1ms'")
            given.open(user, None)
    assert given.truth("select count(*) from public.webhooks")["count"] == 0


def test_a_transition_does_not_wait_for_a_worker(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    with psycopg.connect(given.database.service) as worker:
        worker.execute("select voice_clone.claim_webhook(%s, 'worker', 2, 4)", (webhook,))
        with given.service.transaction():
            given.service.execute("set local lock_timeout = '1ms'")
            given.open(user, None)
    assert len(deliveries(given, webhook)) == 2


# -- order and leases


def test_a_later_event_of_an_attempt_waits_for_an_earlier_one(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    first, second = given.queued(user, None), given.open(user, None)
    events = {
        a: [d["event_id"] for d in deliveries(given, webhook) if d["attempt_id"] == a]
        for a in (first, second)
    }
    assert deliver(given, webhook, "refused") == [events[first][0], events[second][0]]
    assert claim(given, webhook)["outcome"] == "nothing_to_do", "the next of the first attempt waits"
    third = given.open(user, None)
    newest = deliveries(given, webhook)[-1]
    assert newest["attempt_id"] == third
    assert deliver(given, webhook) == [newest["event_id"]], "another attempt does not wait"
    age(given, webhook, "webhook_deliveries", due_at="1 second")
    assert deliver(given, webhook) == [events[first][0], events[second][0]]
    assert deliver(given, webhook) == [events[first][1]]


def test_events_are_delivered_in_their_order_and_a_few_at_once(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    attempts = [given.queued(user, None) for _ in range(3)]
    order: list[int] = []
    while claim_outcome := deliver_or_nothing(given, webhook, most=2):
        assert len(claim_outcome) <= 2
        order += claim_outcome
    assert sorted(order) == [d["event_id"] for d in deliveries(given, webhook)]
    for attempt in attempts:
        own = [d["event_id"] for d in deliveries(given, webhook) if d["attempt_id"] == attempt]
        assert [event for event in order if event in own] == own


def deliver_or_nothing(given: Fixture, webhook: UUID, most: int) -> list[int]:
    if given.one("select count(*) from voice_clone.read_messages('webhooks', 0, 1)")["count"] == 0:
        return []
    pending = statuses(given, webhook).count("pending")
    return deliver(given, webhook, most=most) if pending else []


def test_one_worker_at_a_time_delivers_to_a_webhook(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    epoch = claim(given, webhook)["lease_epoch"]
    assert claim(given, webhook)["outcome"] == "busy"
    age(given, webhook, lease_expires_at="1 second", leased_at="1 minute")
    newer = claim(given, webhook)["lease_epoch"]
    assert newer == epoch + 1
    (event,) = [d["event_id"] for d in deliveries(given, webhook)]
    before = deliveries(given, webhook)
    with refused("VC002"):
        record(given, webhook, epoch, {event: "delivered"})
    assert deliveries(given, webhook) == before
    record(given, webhook, newer, {event: "delivered"})
    with refused("VC002"):
        record(given, webhook, newer, {event: "delivered"})


def test_a_message_goes_with_what_it_delivered(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    (message,) = given.messages("webhooks")
    assert message["message"]["id"] == str(webhook)
    assert set(message["message"]) == {"event", "id", "version", "enqueued_at"}
    with given.service.transaction(force_rollback=True):
        deliver(given, webhook, message=message["msg_id"])
    assert [each["msg_id"] for each in given.messages("webhooks")] == [message["msg_id"]]
    deliver(given, webhook, message=message["msg_id"])
    assert given.messages("webhooks") == []


def test_a_worker_that_ends_sends_the_message_for_what_is_left(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.queued(user, None)
    purge(given)
    deliver(given, webhook)
    assert sent(given) == 1
    purge(given)
    deliver(given, webhook)
    assert sent(given) == 0


def test_an_owner_has_so_many_webhooks_delivered_to_at_once(given: Fixture, user: UUID) -> None:
    webhooks = [register(given, user) for _ in range(3)]
    strangers = register(given, stranger := given.user())
    given.open(user, None)
    given.open(stranger, None)
    outcomes = [claim(given, each)["outcome"] for each in webhooks]
    assert outcomes == ["claimed", "claimed", "user_busy"]
    assert claim(given, strangers)["outcome"] == "claimed"


# -- failures


def test_a_server_that_is_away_puts_off_the_whole_webhook(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.queued(user, None)
    waits = []
    for _ in range(4):
        deliver(given, webhook, "failed")
        assert claim(given, webhook)["outcome"] == "not_due"
        waits.append(
            given.truth("select not_before - now() as wait from public.webhooks")["wait"].total_seconds()
        )
        age(given, webhook, not_before="1 second")
        age(given, webhook, "webhook_deliveries", due_at="1 second")
    assert all(1.5 < later / earlier < 2.5 for earlier, later in pairwise(waits))
    assert row(given, webhook)["failure_count"] == 4
    deliver(given, webhook)
    assert (row(given, webhook)["failure_count"], row(given, webhook)["failing_since"]) == (0, None)
    deliver(given, webhook)
    assert statuses(given, webhook) == ["delivered", "delivered"]


def test_a_server_that_is_back_gets_everything_at_once(given: Fixture, user: UUID, webhook: UUID) -> None:
    for _ in range(3):
        given.open(user, None)
    deliver(given, webhook, "failed")
    age(given, webhook, not_before="1 second")
    given.open(user, None)
    assert len(deliver(given, webhook)) == 1
    assert len(deliver(given, webhook)) == 3


def test_the_backoff_is_at_least_what_the_server_said(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    deliver(given, webhook, "failed", wait=250)
    wait = given.truth("select not_before - now() as wait from public.webhooks")["wait"].total_seconds()
    assert 200 < wait <= 250


def test_an_event_that_is_refused_holds_up_no_other_attempt(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.open(user, None)
    deliver(given, webhook, "refused")
    assert row(given, webhook)["not_before"] is None
    given.open(user, None)
    deliver(given, webhook)
    assert statuses(given, webhook) == ["pending", "delivered"]


def test_an_event_that_is_refused_for_days_fails_and_the_next_follows(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.queued(user, None)
    deliver(given, webhook, "refused")
    age(given, webhook, "webhook_deliveries", queued_at="4 days", due_at="1 second")
    purge(given)
    deliver(given, webhook, "refused")
    assert statuses(given, webhook) == ["failed", "pending"]
    assert sent(given) == 1
    deliver(given, webhook)
    assert statuses(given, webhook) == ["failed", "delivered"]
    assert deliveries(given, webhook)[0]["error_code"] == "webhook_refused"


def test_a_webhook_that_fails_for_days_is_disabled_and_says_why(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.queued(user, None)
    deliver(given, webhook, "failed")
    age(given, webhook, failing_since="4 days", not_before="1 second")
    age(given, webhook, "webhook_deliveries", due_at="1 second")
    deliver(given, webhook, "failed")
    found = row(given, webhook)
    assert (found["status"], found["disabled_reason"]) == ("disabled", "failing")
    assert [d["error_code"] for d in deliveries(given, webhook)] == ["webhook_refused", "webhook_disabled"]
    assert statuses(given, webhook) == ["failed", "failed"]
    purge(given)
    given.open(user, None)
    assert (len(deliveries(given, webhook)), sent(given)) == (2, 0)
    assert claim(given, webhook)["outcome"] == "inactive"


def test_a_webhook_that_is_gone_is_disabled_at_once(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    deliver(given, webhook, "gone")
    assert row(given, webhook)["disabled_reason"] == "gone"


def test_a_webhook_that_is_enabled_again_begins_without_its_failures(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.open(user, None)
    deliver(given, webhook, "gone")
    given.one("select * from voice_clone.enable_webhook(%s, %s)", webhook, user)
    found = row(given, webhook)
    assert (found["status"], found["disabled_reason"], found["failure_count"]) == ("enabled", None, 0)
    given.open(user, None)
    deliver(given, webhook)
    assert statuses(given, webhook) == ["failed", "delivered"]


# -- the sweep


def test_the_sweep_sends_a_lost_message_once_for_a_webhook(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.queued(user, None)
    purge(given)
    assert sweep(given) == {}
    age(given, webhook, "webhook_deliveries", sweep_at="1 second")
    assert sweep(given) == {"webhooks_sent": 1}
    assert (sent(given), sweep(given)) == (1, {})


def test_the_sweep_sends_what_is_due_after_a_long_backoff(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    purge(given)
    deliver(given, webhook, "failed", wait=60)
    assert sent(given) == 0
    age(given, webhook, "webhook_deliveries", sweep_at="1 second")
    assert sweep(given) == {}, "the webhook's backoff is not over"
    age(given, webhook, not_before="1 second")
    age(given, webhook, "webhook_deliveries", sweep_at="1 second", due_at="1 second")
    assert (sweep(given), sent(given)) == ({"webhooks_sent": 1}, 1)


def test_the_sweep_finds_what_a_worker_left_that_died(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    claim(given, webhook)
    purge(given)
    (pending,) = deliveries(given, webhook)
    assert pending["sweep_at"] == row(given, webhook)["lease_expires_at"]
    age(given, webhook, lease_expires_at="1 second", leased_at="1 minute")
    age(given, webhook, "webhook_deliveries", sweep_at="1 second")
    assert sweep(given) == {"webhooks_sent": 1}
    assert claim(given, webhook)["outcome"] == "claimed"


def test_what_was_queued_while_the_webhook_was_disabled_fails(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.open(user, None)
    given.superuser.execute(
        "update public.webhooks set status = 'disabled', disabled_reason = 'failing', disabled_at = now()"
    )
    age(given, webhook, "webhook_deliveries", sweep_at="1 second")
    assert sweep(given) == {"deliveries_failed": 1}
    assert [(d["status"], d["error_code"]) for d in deliveries(given, webhook)] == [
        ("failed", "webhook_disabled")
    ]


def test_a_delivery_that_ended_long_ago_is_removed(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.queued(user, None)
    deliver(given, webhook)
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.webhook_deliveries set finished_at = now() - interval '31 days'"
            " where status = 'delivered'"
        )
    assert sweep(given) == {"deliveries_removed": 1}
    assert statuses(given, webhook) == ["pending"]


# -- what its owner asks for


def test_a_user_has_ten_webhooks(given: Fixture, user: UUID) -> None:
    webhooks = [register(given, user) for _ in range(10)]
    with refused("VC007", "too_many_webhooks"):
        register(given, user)
    assert register(given, user, webhooks[0]) == webhooks[0], "the same one again"
    register(given, given.user())


def test_after_a_rotation_both_secrets_sign_for_a_while(given: Fixture, user: UUID, webhook: UUID) -> None:
    rotate = "select voice_clone.rotate_webhook_secret(%s, %s, %s) as until"
    assert work(given, webhook)["secrets"] == [SECRET]
    until = given.one(rotate, webhook, user, OTHER)["until"]
    assert until == given.truth("select max(expires_at) as at from voice_clone.webhook_secrets")["at"]
    assert work(given, webhook)["secrets"] == [OTHER, SECRET]
    given.one(rotate, webhook, user, THIRD)
    assert work(given, webhook)["secrets"] == [THIRD, OTHER, SECRET]
    given.superuser.execute(
        "update voice_clone.webhook_secrets set expires_at = now() where expires_at is not null"
    )
    assert work(given, webhook)["secrets"] == [THIRD]
    given.one(rotate, webhook, user, "whsec_" + "D" * 43 + "=")
    assert given.truth("select count(*) from voice_clone.webhook_secrets")["count"] == 2


def test_an_event_is_replayed_before_later_ones_of_its_attempt(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    attempt = given.queued(user, None)
    first, second = (d["event_id"] for d in deliveries(given, webhook))
    replay = "select status, try_count from voice_clone.replay_event(%s, %s, %s)"
    deliver(given, webhook)
    assert given.one(replay, webhook, user, first) == {"status": "pending", "try_count": 0}
    assert deliver(given, webhook) == [first]
    assert deliver(given, webhook) == [second]
    given.claim(attempt)
    assert given.one(replay, webhook, user, second)["status"] == "pending"
    assert deliver(given, webhook) == [second]


def test_an_event_from_before_the_webhook_is_replayed(given: Fixture, user: UUID) -> None:
    attempt = given.queued(user, None)
    event = given.one("select * from voice_clone.attempt_events(%s, %s, 0)", attempt, user)["id"]
    webhook = register(given, user)
    replay = "select * from voice_clone.replay_event(%s, %s, %s)"
    assert given.one(replay, webhook, user, event)["attempt_id"] == attempt
    assert deliver(given, webhook) == [event]
    others = given.queued(given.user(), None)
    strange = given.truth("select id from voice_clone.events where attempt_id = %s", others)["id"]
    for unknown in (strange, 2**62):
        with refused("VC004"):
            given.one(replay, webhook, user, unknown)


def test_a_disabled_webhook_replays_nothing(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.open(user, None)
    (event,) = deliver(given, webhook, "gone")
    with refused("VC007", "webhook_disabled"):
        given.one("select * from voice_clone.replay_event(%s, %s, %s)", webhook, user, event)


def test_a_deleted_user_leaves_no_webhook(given: Fixture, user: UUID, webhook: UUID) -> None:
    given.queued(user, None)
    given.superuser.execute("delete from auth.users where id = %s", (user,))
    for table in ("public.webhooks", "public.webhook_deliveries", "voice_clone.webhook_secrets"):
        assert given.truth(f"select count(*) from {table}")["count"] == 0  # noqa: S608
    assert claim(given, webhook)["outcome"] == "inactive"


def test_a_delivery_keeps_its_event_and_takes_only_the_edges(
    given: Fixture, user: UUID, webhook: UUID
) -> None:
    given.open(user, None)
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute("update public.webhook_deliveries set events = '{queued}'")
    assert caught.value.sqlstate == "VC001"
    deliver(given, webhook)
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute("update public.webhook_deliveries set status = 'failed', error_code = 'x'")
    assert caught.value.sqlstate == "VC001"
    assert re.search("delivered to failed", str(caught.value))
