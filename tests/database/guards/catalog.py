"""The guards of the SQL functions, read from the catalog.

A guard is what refuses: `raise exception`; a part of the condition before it; the call of a function that
raises; and a part of a `where` that says who has the lease. `test_strangers.py` removes those that say whose
a row is.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

from backend.database.queries import load_queries
from tests.database.guards.plpgsql import Token, clauses, condition_before, split, statement_end, tokens

CALLS = re.compile(r"voice_clone\.(require|check|refuse|reject|forbid)_\w+")
OF_LEASES = re.compile(r"\b(lease_\w+|p_epoch)\b")
KEY = 100  # letters of a key
queries = load_queries(__file__)


class Function(Struct, frozen=True):
    signature: str
    name: str
    body: str
    definition: str

    def with_body(self, body: str) -> str:
        """The statement that replaces it."""
        assert self.body in self.definition
        return self.definition.replace(self.body, body)


class Guard(Struct, frozen=True):
    """`start` to `end` of the function's body becomes `without`."""

    function: Function
    key: str
    start: int
    end: int
    without: str

    def removal(self) -> str:
        body = self.function.body
        return self.function.with_body(body[: self.start] + self.without + body[self.end :])


def functions(connection: psycopg.Connection[Any], signature: str | None = None) -> list[Function]:
    """All, or the one with this signature."""
    cursor = connection.cursor(row_factory=dict_row)
    return [Function(**each) for each in cursor.execute(queries.functions, {"signature": signature})]


def guards(connection: psycopg.Connection[Any], signature: str | None = None) -> dict[str, Guard]:
    """By key: the function and how the guard begins. Those that begin alike are numbered."""
    found: dict[str, Guard] = {}
    for function in functions(connection, signature):
        seen = Counter[str]()
        for start, end, without in places(function.body):
            text = " ".join(function.body[start:end].split())
            key = f"{function.signature}: {text[:KEY]}"
            seen[key] += 1
            key += f" #{seen[key]}" if seen[key] > 1 else ""
            found[key] = Guard(function, key, start, end, without)
    return found


def find_guard(connection: psycopg.Connection[Any], key: str) -> Guard:
    return guards(connection, key.partition(": ")[0])[key]


def places(body: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, what stands there instead)."""
    found = tokens(body)
    for at, token in enumerate(found):
        if token.text == "raise" and found[at + 1].text == "exception":
            yield whole(found, at)
            yield from of_condition(condition_before(found, at))
        elif token.text == "perform" and CALLS.match(body[found[at + 1].start :]):
            yield whole(found, at)
    for clause in clauses(found):
        parts = split(clause, "and")
        for part in parts if len(split(clause, "or")) == 1 else ():
            if OF_LEASES.search(body[part[0].start : part[-1].end]):
                yield part[0].start, part[-1].end, "true"


def whole(found: Sequence[Token], at: int) -> tuple[int, int, str]:
    return found[at].start, found[statement_end(found, at)].start, "null"


def of_condition(condition: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Each alternative that is never true; of one condition, each part that is always true."""
    alternatives = split(condition, "or")
    parts = split(condition, "and")
    if len(alternatives) > 1:
        yield from ((each[0].start, each[-1].end, "false") for each in alternatives)
    elif len(parts) > 1:
        yield from ((each[0].start, each[-1].end, "true") for each in parts)
