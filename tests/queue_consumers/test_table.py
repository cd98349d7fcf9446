"""The table of queues against the database and the documents: what is missing is named."""

from collections.abc import Collection, Iterator, Mapping

import psycopg

from backend.app.internal_routes import step_routes
from backend.app.queues import ALL_QUEUES, QUEUES, LifecycleQueue
from backend.app.service import ROUTES
from backend.lifecycle.cleanup import clean_up
from backend.lifecycle.mirror import mirror_reflections
from scripts.migrations import ROOT
from tests.clusters import Database
from tests.project.documents import inline_code, section, table_rows

LIFECYCLE = ROOT / "docs" / "lifecycle.md"


def missing(
    table: Mapping[str, LifecycleQueue], created: Collection[str], documented: Collection[str]
) -> Iterator[str]:
    for name in sorted({*table, *created, *documented}):
        if name not in table:
            yield f"{name}: no row in backend/app/queues.py"
        elif (table[name].step is None) == (table[name].handle_batch is None):
            yield f"{name}: its row needs either a step or a handler of many messages"
        elif table[name].step is not None and not table[name].address:
            yield f"{name}: its step has no address"
        if name not in created:
            yield f"{name}: no migration creates the queue"
        if name not in documented:
            yield f"{name}: not in docs/lifecycle.md"


def test_each_queue_has_a_row_a_step_a_migration_and_a_line_in_the_docs(database: Database) -> None:
    with psycopg.connect(database.superuser) as connection:
        created = {row[0] for row in connection.execute("select name from voice_clone.queues")}
    documented = {inline_code(cells[0])[0] for cells in table_rows(section(LIFECYCLE, "Queues"))}
    assert list(missing(QUEUES, created, documented)) == []


def test_what_is_missing_is_named() -> None:
    rows = [
        LifecycleQueue(name="complete", step=clean_up, address="/internal/{row_id}"),
        LifecycleQueue(name="set", handle_batch=mirror_reflections),
        LifecycleQueue(name="stepless", address="/internal/{row_id}"),
        LifecycleQueue(name="unaddressed", step=clean_up),
        LifecycleQueue(name="uncreated", handle_batch=mirror_reflections),
        LifecycleQueue(name="undocumented", handle_batch=mirror_reflections),
    ]
    table = {row.name: row for row in rows}
    created = {*table, "rowless"} - {"uncreated"}
    documented = {*table, "rowless"} - {"undocumented"}
    assert list(missing(table, created, documented)) == [
        "rowless: no row in backend/app/queues.py",
        "stepless: its row needs either a step or a handler of many messages",
        "unaddressed: its step has no address",
        "uncreated: no migration creates the queue",
        "undocumented: not in docs/lifecycle.md",
    ]


def test_a_name_has_one_row() -> None:
    assert len(QUEUES) == len(ALL_QUEUES)


def test_the_service_has_a_route_for_each_address() -> None:
    served = {path for route in ROUTES for path in getattr(route, "paths", ())}
    for queue in ALL_QUEUES:
        addresses = [address for address in (queue.address, queue.reflection_address) if address]
        assert len(step_routes(queue)) == len(addresses)
        for address in addresses:
            assert address.replace("_id}", "_id:uuid}") in served
