"""Our queue functions on every pgmq, each of them once."""

from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from tests.world import World

QUEUE = "voice_cleanup"  # in which a launch leaves nothing


def send(world: World, *events: str, delay: int = 0) -> list[int]:
    bodies = [Jsonb({"event": event}) for event in events]
    return world.one("select voice_clone.send_messages(%s, %s, %s) as ids", QUEUE, bodies, delay)["ids"]


def read(world: World, visibility: int = 60) -> list[dict[str, Any]]:
    sql = "select * from voice_clone.read_messages(%s, %s, 100)"
    return world.service.execute(sql, (QUEUE, visibility)).fetchall()


def metrics(world: World) -> dict[str, Any]:
    return world.one("select * from voice_clone.queue_metrics() where queue = %s", QUEUE)


def test_a_voice_goes_all_the_way(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    world.launchable(user, reflection)
    assert world.one("select * from voice_clone.launch_gate(%s, %s)", reflection, user)["launchable"]
    for queue in ("voice_clone_process", "voice_mirror", "voice_runtime_sync", "voice_preview"):
        assert world.messages(queue), queue


def test_messages_are_read_once_in_order_and_acknowledged_once(world: World) -> None:
    sent = send(world, "first", "second", "third")
    found = read(world)
    assert [(row["msg_id"], row["read_ct"]) for row in sorted(found, key=lambda row: row["msg_id"])] == [
        (msg_id, 1) for msg_id in sent
    ]
    assert {row["message"]["event"] for row in found} == {"first", "second", "third"}
    assert read(world) == []
    acknowledge = "select voice_clone.acknowledge_messages(%s, %s) as ids"
    assert sorted(world.one(acknowledge, QUEUE, sent[:2])["ids"]) == sent[:2]
    assert world.one(acknowledge, QUEUE, sent[:2])["ids"] == []
    assert metrics(world)["queue_length"] == 1


def test_a_postponed_message_is_invisible_until_it_is_not(world: World) -> None:
    sent = send(world, "now", "later")
    postpone = "select voice_clone.postpone_messages(%s, %s, %s)"
    world.one(postpone, QUEUE, sent, [0, 3600])
    assert [row["msg_id"] for row in read(world)] == sent[:1]
    world.one(postpone, QUEUE, sent, [0, 0])
    assert [(row["msg_id"], row["read_ct"]) for row in read(world)] == [(sent[0], 2), (sent[1], 1)]


def test_nothing_is_sent_where_there_is_nothing_to_send(world: World) -> None:
    assert send(world) == []


def test_a_delayed_message_waits_beside_the_queue_or_in_it(world: World) -> None:
    (short,) = send(world, "short", delay=5)
    assert send(world, "long", delay=6) == []
    told = metrics(world)
    assert (told["queue_length"], told["deferred_length"], told["dead_length"]) == (1, 1, 0)
    assert read(world) == []
    world.one("select voice_clone.postpone_messages(%s, %s, %s)", QUEUE, [short], [0])
    world.superuser.execute("update voice_clone.deferred_messages set due_at = now()")
    assert [row["message"]["event"] for row in read(world)] == ["short", "long"]


def bury(world: World, ids: list[int], bodies: list[Any]) -> None:
    world.one(
        "select voice_clone.dead_letter_messages(%s, %s, %s, %s, %s)",
        QUEUE,
        ids,
        [Jsonb(body) for body in bodies],
        [5 for _ in ids],
        ["budget_used" for _ in ids],
    )


def test_a_message_is_one_dead_letter_however_often_it_is_buried(world: World) -> None:
    sent = send(world, "first", "second")
    bodies = [row["message"] for row in read(world)]
    bury(world, sent[:1], bodies[:1])
    bury(world, sent, bodies)
    dead = [row["message"] for row in world.superuser.execute(
        "select message from pgmq.q_voice_cleanup_dead order by msg_id"
    )]  # fmt: skip
    assert [(each["event"], each["dead_message_id"]) for each in dead] == [
        ("first", sent[0]),
        ("second", sent[1]),
    ]
    assert {(each["dead_reads"], each["dead_reason"]) for each in dead} == {(5, "budget_used")}
    assert (metrics(world)["queue_length"], metrics(world)["dead_length"]) == (0, 2)
    assert world.truth("select count(*) from pgmq.a_voice_cleanup")["count"] == 0, "nothing is kept twice"


def test_burying_what_is_gone_leaves_no_letter(world: World) -> None:
    bury(world, [4711], [{"event": str(uuid4())}])
    assert metrics(world)["dead_length"] == 0


def test_operators_see_every_queue(world: World) -> None:
    told = world.superuser.execute("select * from operations.queue_metrics()").fetchall()
    assert {row["queue"] for row in told} == {
        row["name"] for row in world.superuser.execute("select name from voice_clone.queues")
    }
