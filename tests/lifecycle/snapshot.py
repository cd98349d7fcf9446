"""A snapshot of the whole database after a step, and the connections that the steps use."""

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps

from tests.clusters import Database
from tests.lifecycle.rows import TIMES

Row = dict[str, Any]
PROOF = Path(__file__).with_name("proof.sql")


class Snapshot(Struct):
    """The whole database as `proof.watch` returns it, rows as JSON; empty at first."""

    attempts: list[Row] = []
    deadlines: list[Row] = []
    due: list[str] = []
    misfiled: list[str] = []
    misreplayed: list[str] = []
    events: list[Row] = []
    enrollments: list[Row] = []
    voices: list[Row] = []
    speeches: list[Row] = []
    webhooks: list[Row] = []
    deliveries: list[Row] = []
    reflections: list[Row] = []
    uncovered: list[str] = []
    samples: list[Row] = []
    messages: list[Row] = []
    job_slots: list[Row] = []
    waiting_jobs: list[Row] = []
    takedowns: list[Row] = []
    strangers: int = 0

    def attempt(self, id_: str) -> Row:
        return next(a for a in self.attempts if a["id"] == id_)

    def deadline(self, id_: str) -> Row:
        nothing = {"sweep_at": None, "lease_epoch": None, "lease_expires_at": None}
        return next((d for d in self.deadlines if d["attempt_id"] == id_), nothing)

    def live(self) -> dict[tuple[str, int], Row]:
        return {(m["queue"], m["number"]): m for m in self.messages if not m["archived"]}

    def seen_by_clients(self) -> object:
        return self.attempts, self.voices, self.reflections


def watch(
    superuser: psycopg.Connection[Row], stranger: psycopg.Connection[Row], after: int = 0, read: int = 0
) -> Snapshot:
    """`after` and `read`: the last events that were seen and read."""
    row = superuser.execute("select proof.watch(%s, %s)::text as seen", (after, read)).fetchone()
    client = stranger.execute("select user_id, others from proof.others_seen").fetchone()
    assert row is not None
    assert client is not None
    assert client["user_id"] is not None
    seen = msgspec.json.decode(row["seen"], type=Snapshot)
    seen.strangers = client["others"]
    return seen


def stranger(dsn: str) -> psycopg.Connection[Row]:
    """The connection of a signed-in client who owns nothing. `dsn`: a superuser's."""
    made = psycopg.Connection[Row].connect(dsn, autocommit=True, row_factory=dict_row)
    claims = msgspec.json.encode({"sub": str(uuid4()), "role": "authenticated"}).decode()
    made.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
    made.execute("set role authenticated")
    return made


class Bench:
    """One database for all examples of a run, with two people in it."""

    def __init__(self, database: Database) -> None:
        self.service = psycopg.Connection[Row].connect(
            database.service, autocommit=True, row_factory=dict_row
        )
        self.superuser = psycopg.Connection[Row].connect(
            database.superuser, autocommit=True, row_factory=dict_row
        )
        set_json_dumps(msgspec.json.encode, self.service)
        self.steps = 0  # that were taken, over all examples
        self.effects: Counter[str] = Counter()  # steps that changed something, by name
        self.users = [str(uuid4()) for _ in range(2)]
        self.superuser.execute(PROOF.read_bytes())
        self.superuser.execute("set client_min_messages = error")
        self.client = stranger(database.superuser)
        for name, seconds in TIMES.items():
            self.superuser.execute(
                "update voice_clone.timeouts set value = make_interval(secs => %s) where name = %s",
                (seconds, name),
            )

    def add_users(self) -> None:
        """Those that an example deleted are back for the next."""
        for user in self.users:
            self.superuser.execute(
                "insert into auth.users (id, email) values (%s, %s) on conflict (id) do nothing",
                (user, f"{user}@example.org"),
            )

    def close(self) -> None:
        self.service.close()
        self.superuser.close()
        self.client.close()

    def watch(self, before: Snapshot | None = None, *, rereads: bool = False) -> Snapshot:
        """Old events are read again only where a step may change them."""
        last = before.events[-1]["id"] if before and before.events else 0
        kept = [] if before is None or rereads else before.events
        seen = watch(self.superuser, self.client, last, last if kept else 0)
        seen.events = kept + seen.events
        return seen

    def ask(self, sql: str, /, **parameters: object) -> Row | None:
        """As the product's login; ids are text, as in JSON."""
        row = self.service.execute(sql.encode(), parameters).fetchone()
        return row and {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}

    def ids(self, sql: str, now: Row | None) -> list[str]:
        """Of the rows that are due at that time, as a superuser."""
        assert now is not None
        return [row["id"] for row in self.superuser.execute(sql.encode(), (now["now"],)).fetchall()]

    def force(self, sql: str, /, **parameters: object) -> Row | None:
        """As a superuser, so that only the schema's own guards can refuse."""
        cursor = self.superuser.execute(sql.encode(), parameters)
        return cursor.fetchone() if cursor.description else None
