"""Only functions of every pgmq version are called; no pgmq type that an upgrade drops is named."""

import re
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from scripts.migrations import ROOT
from tests.clusters import Database

# With these arguments in 1.4.4, 1.5.1 and 1.13; of what metrics returns, its first six columns.
SAFE = {
    *("create", "send", "send_batch", "read", "set_vt", "delete", "archive", "pop"),
    *("list_queues", "purge_queue", "drop_queue", "metrics"),
}
MENTION = re.compile(r"\bpgmq\s*\.\s*\"?([^\s(\"]*)\"?\s*(\(?)")
COMMENT = re.compile(r"--[^\n]*")
NOT_OFFERED = (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege)
OURS = ["voice_clone", "operations", "private", "public"]


def unsafe_mentions(source: str) -> list[str]:
    """Every mention of pgmq that is not a call of a function in SAFE."""
    said = MENTION.findall(COMMENT.sub("", source))
    return [name for name, opening in said if name not in SAFE or not opening]


@pytest.mark.parametrize(
    ("source", "unsafe"),
    [
        ("perform pgmq.send(v_queue, '{}', 0)", []),
        ('select pgmq."archive" (q, array[1])', []),
        ("-- pgmq.read_with_poll(q, 1, 1) would hold a connection\nselect 1", []),
        ("select * from pgmq.read_with_poll(q, 1, 1)", ["read_with_poll"]),
        ("select message from pgmq.q_voice_preview", ["q_voice_preview"]),
        ("execute format('delete from pgmq.%I', q)", ["%I'"]),
        ("declare v pgmq.message_record;", ["message_record;"]),
        ("select pgmq.send", ["send"]),
    ],
)
def test_the_check_sees_what_is_unsafe(source: str, unsafe: list[str]) -> None:
    assert [name.rstrip(",") for name in unsafe_mentions(source)] == unsafe


def test_our_functions_call_nothing_else(database: Database) -> None:
    with psycopg.connect(database.superuser) as connection:
        functions = connection.execute(
            "select p.oid::regprocedure::text, p.prosrc from pg_proc p"
            " where p.pronamespace::regnamespace::text = any(%s)",
            [OURS],
        ).fetchall()
    callers = [name for name, source in functions if "pgmq" in source]
    assert len(callers) > 5
    # create_queue_tables secures and tunes the tables of the queue that it creates, when it is migrated.
    secured = {"voice_clone.create_queue_tables(text)": ["%I", "%I", "%I',", "%I"]}
    assert {name: unsafe for name, source in functions if (unsafe := unsafe_mentions(source))} == secured


def test_the_service_and_the_consumers_call_our_functions_alone() -> None:
    sources = [
        path
        for folder in ("backend", "queue_consumers")
        for kind in ("*.py", "*.sql")
        for path in (ROOT / folder).rglob(kind)
    ]
    assert len(sources) > 50
    assert [path.name for path in sources if mentions_pgmq(path)] == []


def mentions_pgmq(path: Path) -> bool:
    return MENTION.search(path.read_text()) is not None


NAMED_TYPES = """
select 'function ' || p.oid::regprocedure from pg_proc p
join pg_type t on t.oid = any (p.proargtypes::oid[] || coalesce(p.proallargtypes, '{}') || p.prorettype)
left join pg_type e on e.oid = t.typelem
where p.pronamespace::regnamespace::text = any(%(ours)s)
  and 'pgmq'::regnamespace in (t.typnamespace, e.typnamespace)
union all
select 'column ' || a.attrelid::regclass || '.' || a.attname from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_type t on t.oid = a.atttypid
where c.relnamespace::regnamespace::text = any(%(ours)s) and t.typnamespace = 'pgmq'::regnamespace
"""


def test_no_function_and_no_column_has_a_type_of_pgmqs(database: Database) -> None:
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        assert connection.execute(NAMED_TYPES, {"ours": OURS}).fetchall() == []
        connection.execute("create table public.tainted (record pgmq.queue_record)")
        connection.execute(
            "create function public.tainted() returns setof pgmq.message_record"
            " language plpgsql as $$ begin end $$"
        )
        found: list[Any] = connection.execute(NAMED_TYPES, {"ours": OURS}).fetchall()
    assert sorted(name for (name,) in found) == ["column tainted.record", "function tainted()"]


def test_here_even_the_owner_of_our_functions_cannot_pass_by_pgmqs(database: Database) -> None:
    """Otherwise one of our functions could use them, and no test on these versions would notice."""
    with psycopg.connect(database.postgres, autocommit=True) as connection:
        for statement in PASSING_BY:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


PASSING_BY: list[LiteralString] = [
    "select from pgmq.q_voice_preview",
    "delete from pgmq.a_voice_preview",
    "update pgmq.q_voice_preview set vt = now()",
    "insert into pgmq.q_voice_preview (vt) values (now())",
    "select from pgmq.meta",
]


def test_what_only_newer_versions_offer_is_not_here(database: Database) -> None:
    with psycopg.connect(database.postgres, autocommit=True) as connection:
        for call in NEWER:
            with pytest.raises(NOT_OFFERED):
                connection.execute(call)


NEWER: list[LiteralString] = [
    "select pgmq.read_with_poll('voice_preview', 1, 1, 1, 100)",
    "select pgmq.send('voice_preview', '{}'::jsonb, '{}'::jsonb, 0)",
    "select pgmq.send('voice_preview', '{}'::jsonb, now())",
    "select pgmq.enable_notify_insert('voice_preview')",
    "select pgmq.set_vt('voice_preview', array[1::bigint], 0)",
    "select pgmq.pop('voice_preview', 2)",
]
