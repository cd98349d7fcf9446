"""An uninstall drops our queues by what every pgmq version offers, and leaves the application's."""

import psycopg

from scripts.uninstall.database import remove
from scripts.uninstall.plan import connect
from tests.clusters import Database


def test_our_queues_go_and_those_of_the_application_stay(database: Database) -> None:
    with psycopg.connect(database.postgres) as owner:
        owner.execute("select pgmq.create('theirs')")
    with connect(database.postgres) as connection:
        remove(connection, columns=True, objects=False)
    with psycopg.connect(database.superuser) as superuser:
        assert superuser.execute("select queue_name from pgmq.list_queues()").fetchall() == [("theirs",)]
        tables = superuser.execute(
            "select relname from pg_class where relnamespace = 'pgmq'::regnamespace and relname ~ '^[qa]_'"
            " and relkind = 'r' order by 1"
        ).fetchall()
    assert tables == [("a_theirs",), ("q_theirs",)]
