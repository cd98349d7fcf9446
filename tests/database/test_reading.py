"""A read touches only the messages that it takes, whatever the planner's statistics say."""

import pytest

from tests.fixture import Fixture

QUEUE = "voice_preview"
WAITING = 5000
# pages and rows as pg_class has them, after a vacuum that came too early, or none
STATISTICS = {
    "never vacuumed": (0, -1),
    "vacuumed when drained": (2, 0),
    "when almost drained": (140, 3),
    "true": (140, WAITING),
}


def send(given: Fixture, count: int, delay_seconds: int = 0) -> None:
    given.superuser.execute(
        "select voice_clone.send_messages(%s, (select array_agg("
        "voice_clone.queue_message('voice_preview', gen_random_uuid(), 1, null)) from"
        " generate_series(1, %s)), %s)",
        [QUEUE, count, delay_seconds],
    )


def read(given: Fixture, count: int, table: str) -> tuple[int, int]:
    """How many messages were read, and how many rows of the table were visited."""
    with given.superuser.transaction():
        came = given.superuser.execute(
            "select msg_id from voice_clone.read_messages(%s, 30, %s)", [QUEUE, count]
        ).fetchall()
        looked_at = given.truth(
            "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows"
            " from pg_stat_xact_user_tables where relname = %s",
            table,
        )
    return len(came), looked_at["rows"]


@pytest.mark.parametrize("believed", STATISTICS)
@pytest.mark.parametrize("count", [1, 16, 200])
def test_a_read_takes_the_oldest_off_the_index(given: Fixture, believed: str, count: int) -> None:
    send(given, WAITING)
    given.superuser.execute(
        "update pg_class set relpages = %s, reltuples = %s where oid = 'pgmq.q_voice_preview'::regclass",
        STATISTICS[believed],
    )
    came, looked_at = read(given, count, "q_voice_preview")
    assert came == count
    assert looked_at <= 3 * count + 1


@pytest.mark.parametrize("analyzed", [False, True], ids=["unknown", "analyzed"])
def test_what_is_due_is_found_among_what_is_not(given: Fixture, analyzed: bool) -> None:
    send(given, WAITING, 3600)
    due = (
        "update voice_clone.deferred_messages set due_at = now() - interval '1 s' where id in ("
        "select id from voice_clone.deferred_messages order by id desc limit 3)"
    )
    given.superuser.execute(due)
    if analyzed:
        given.superuser.execute("analyze voice_clone.deferred_messages")
    came, looked_at = read(given, 16, "deferred_messages")
    assert came == 3
    assert looked_at <= 20
