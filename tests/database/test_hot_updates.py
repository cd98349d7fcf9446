"""Most updates of an attempt, each renewal and each read of a queue write no index (HOT)."""

from tests.fixture import Fixture

LIFECYCLES = 20


def flush_statistics(given: Fixture) -> None:
    for connection in (given.service, given.superuser):
        connection.execute("select pg_stat_force_next_flush()")


def hot_share(given: Fixture, table: str) -> float:
    flush_statistics(given)
    row = given.truth(
        "select n_tup_upd as updates, n_tup_hot_upd as hot from pg_stat_all_tables"
        " where relid = %s::regclass", table,
    )  # fmt: skip
    return row["hot"] / row["updates"]


def test_most_transitions_write_no_index(given: Fixture) -> None:
    """Of an attempt, all but the one that activates it; of its sample, all.

    A page may also be full.
    """
    for _ in range(LIFECYCLES):
        user = given.user()
        given.launchable(user, given.reflection(user))
    assert hot_share(given, "public.voice_clone_attempts") > 0.7
    assert hot_share(given, "public.voice_samples") > 0.9


def test_a_renewal_writes_no_index(given: Fixture) -> None:
    attempts = [given.queued(given.user(), None) for _ in range(LIFECYCLES)]
    epochs = [given.claim(attempt)["lease_epoch"] for attempt in attempts]
    flush_statistics(given)
    given.superuser.execute("select pg_stat_reset()")
    for _ in range(10):
        for attempt, epoch in zip(attempts, epochs, strict=True):
            given.one("select voice_clone.renew_lease(%s, %s, 60)", attempt, epoch)
    assert hot_share(given, "voice_clone.deadlines") > 0.95


def test_a_read_of_a_queue_writes_no_index(given: Fixture) -> None:
    given.superuser.execute(
        "select voice_clone.send_messages('voice_cleanup', (select array_agg(voice_clone.queue_message("
        "'voice_cleanup', gen_random_uuid(), 1, null)) from generate_series(1, 500)), 0)"
    )
    read = "select msg_id from voice_clone.read_messages('voice_cleanup', 60, 50)"
    while given.service.execute(read).fetchall():
        pass
    assert hot_share(given, "pgmq.q_voice_cleanup") > 0.95
