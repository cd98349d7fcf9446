"""Each of our queue functions, on every pgmq."""

from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from tests.fixture import Fixture

QUEUE = "voice_cleanup"  # in which a launch leaves nothing


def send(given: Fixture, *events: str, delay: int = 0) -> list[int]:
    bodies = [Jsonb({"event": event}) for event in events]
    return given.one("select voice_clone.send_messages(%s, %s, %s) as ids", QUEUE, bodies, delay)["ids"]


def read(given: Fixture, visibility: int = 60) -> list[dict[str, Any]]:
    sql = "select * from voice_clone.read_messages(%s, %s, 100)"
    return given.service.execute(sql, (QUEUE, visibility)).fetchall()


def metrics(given: Fixture) -> dict[str, Any]:
    return given.one("select * from voice_clone.queue_metrics() where queue = %s", QUEUE)


def test_a_voice_goes_all_the_way(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    assert given.one("select * from voice_clone.launch_gate(%s, %s)", reflection, user)["launchable"]
    for queue in ("voice_clone_process", "voice_mirror", "voice_runtime_sync", "voice_preview"):
        assert given.messages(queue), queue


def test_messages_are_read_once_in_order_and_acknowledged_once(given: Fixture) -> None:
    sent = send(given, "first", "second", "third")
    found = read(given)
    assert [(row["msg_id"], row["read_ct"]) for row in sorted(found, key=lambda row: row["msg_id"])] == [
        (msg_id, 1) for msg_id in sent
    ]
    assert {row["message"]["event"] for row in found} == {"first", "second", "third"}
    assert read(given) == []
    acknowledge = "select voice_clone.acknowledge_messages(%s, %s) as ids"
    assert sorted(given.one(acknowledge, QUEUE, sent[:2])["ids"]) == sent[:2]
    assert given.one(acknowledge, QUEUE, sent[:2])["ids"] == []
    assert metrics(given)["queue_length"] == 1


def test_a_postponed_message_is_invisible_until_it_is_not(given: Fixture) -> None:
    sent = send(given, "now", "later")
    postpone = "select voice_clone.postpone_messages(%s, %s, %s)"
    given.one(postpone, QUEUE, sent, [0, 3600])
    assert [row["msg_id"] for row in read(given)] == sent[:1]
    given.one(postpone, QUEUE, sent, [0, 0])
    assert [(row["msg_id"], row["read_ct"]) for row in read(given)] == [(sent[0], 2), (sent[1], 1)]


def test_nothing_is_sent_where_there_is_nothing_to_send(given: Fixture) -> None:
    assert send(given) == []


def test_a_delayed_message_waits_beside_the_queue_or_in_it(given: Fixture) -> None:
    (short,) = send(given, "short", delay=5)
    assert send(given, "long", delay=6) == []
    told = metrics(given)
    assert (told["queue_length"], told["deferred_length"], told["dead_length"]) == (1, 1, 0)
    assert read(given) == []
    given.one("select voice_clone.postpone_messages(%s, %s, %s)", QUEUE, [short], [0])
    given.superuser.execute("update voice_clone.deferred_messages set due_at = now()")
    assert [row["message"]["event"] for row in read(given)] == ["short", "long"]


def dead_letter(given: Fixture, ids: list[int], bodies: list[Any]) -> None:
    given.one(
        "select voice_clone.dead_letter_messages(%s, %s, %s, %s, %s)",
        QUEUE,
        ids,
        [Jsonb(body) for body in bodies],
        [5 for _ in ids],
        ["budget_used" for _ in ids],
    )


def test_a_message_becomes_one_dead_letter_even_if_two_readers_dead_letter_it(given: Fixture) -> None:
    sent = send(given, "first", "second")
    bodies = [row["message"] for row in read(given)]
    dead_letter(given, sent[:1], bodies[:1])
    dead_letter(given, sent, bodies)
    dead = given.superuser.execute("select * from voice_clone.dead_letters order by id").fetchall()
    assert [(each["message"]["event"], each["message_id"]) for each in dead] == [
        ("first", sent[0]),
        ("second", sent[1]),
    ]
    assert {(each["reads"], each["reason"]) for each in dead} == {(5, "budget_used")}
    assert (metrics(given)["queue_length"], metrics(given)["dead_length"]) == (0, 2)
    assert given.truth("select count(*) from pgmq.a_voice_cleanup")["count"] == 0, "nothing is kept twice"


def test_dead_lettering_a_missing_message_sends_no_dead_letter(given: Fixture) -> None:
    dead_letter(given, [4711], [{"event": str(uuid4())}])
    assert metrics(given)["dead_length"] == 0


def test_operators_see_every_queue(given: Fixture) -> None:
    told = given.superuser.execute("select * from operations.queue_metrics()").fetchall()
    assert {row["queue"] for row in told} == {
        row["name"] for row in given.superuser.execute("select name from voice_clone.queues")
    }
