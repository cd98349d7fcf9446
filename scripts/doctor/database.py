"""The database as an operator sees it: pgmq, rights, row level security, notifications, consumers, clock."""

import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from backend.checks.database import PUSH, check_database, connect, refused
from backend.checks.findings import Finding, good
from backend.database.probes import ConsumersState
from backend.database.probes import queries as probes
from backend.database.queries import load_queries
from backend.settings.database import DatabaseSettings
from backend.web.authentication import LEEWAY
from scripts.doctor.anchors import AnchorsState, judge_anchors
from scripts.doctor.poolers import Mode, check_poolers, mode_of
from scripts.doctor.tls import check_encryption
from scripts.doctor.voice_checks import VoiceChecksState, judge_voice_checks

queries = load_queries(__file__)

OLDEST_PGMQ = (1, 4, 4)  # that tests/contracts runs on
NOTIFY_SECONDS = 2.0
OURS = [  # in schema public, written by functions of voice_clone alone
    "speech_jobs", "voice_clone_attempts", "voice_consents", "voice_consent_statements", "voice_samples",
    "voice_sessions", "voices", "webhook_deliveries", "webhooks",
]  # fmt: skip
ADOPTED = ["reflections", "organizations", "organization_members", "employees", "calls"]
NAMED = 10  # tables of one finding


def check_everything(settings: DatabaseSettings, *, with_consumers: bool) -> Iterator[Finding]:
    findings = list(check_database(settings))
    yield from findings
    if not any(each.part == "database" and each.state == "ok" for each in findings):
        return
    try:
        with connect(settings.url) as connection:
            yield from check_login(connection)
            yield from check_encryption(connection)
            yield from check_pgmq(connection)
            yield from check_rights(connection)
            if any(each.part == "schema" and each.state == "ok" for each in findings):
                if with_consumers:
                    yield check_consumers(connection)
                yield from check_anchors(connection)
                yield from check_voice_checks(connection)
            yield check_clock("database", database_time(connection), datetime.now(UTC))
        mode = mode_of(settings.url)
        listens = mode_to_listen(settings, mode)
        yield from check_poolers(settings, mode, listens)
        yield from check_notifications(settings, listens)
    except psycopg.Error as error:
        yield refused("DATABASE_URL", settings.url, error)


def check_login(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    row = connection.execute(queries.login).fetchone()
    named = ("is a superuser", "bypasses row level security", "owns the tables")
    too_much = [name for name, has in zip(named, row or (), strict=False) if has]
    if too_much:
        yield Finding(
            part="login",
            found=f"{connection.info.user} {', '.join(too_much)}",
            remedy="Let the processes log in as voice_clone_service, which owns nothing",
        )
    else:
        yield good("login", connection.info.user)


def check_pgmq(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    version, is_there = connection.execute(queries.pgmq).fetchone() or (None, False)
    oldest = ".".join(map(str, OLDEST_PGMQ))
    if not is_there:
        yield Finding(
            part="pgmq",
            found="it is not installed",
            remedy=f"Enable the extension pgmq (Database → Extensions). {PUSH}",
        )
    elif version and numbers(version) < OLDEST_PGMQ:
        yield Finding(
            part="pgmq",
            found=f"version {version} is older than {oldest}",
            remedy="Upgrade it as postgres: `alter extension pgmq update`",
        )
    else:
        yield good("pgmq", f"version {version}" if version else "installed as plain SQL")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def check_rights(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    tables = {"tables": [*OURS, *ADOPTED], "ours": OURS}
    open_tables = [name for (name,) in connection.execute(queries.without_row_level_security, tables)]
    granted = [name for (name,) in connection.execute(queries.too_many_grants, tables)]
    if open_tables:
        yield Finding(
            part="row level security",
            found=f"it is off for {shortened(open_tables)}",
            remedy="As postgres, for each: `alter table … enable row level security`",
        )
    else:
        yield good("row level security", "on for every table")
    if granted:
        yield Finding(
            part="grants",
            found=f"clients may do what only our functions should: {shortened(granted)}",
            remedy="As postgres, for each: `revoke … on … from …`; supabase/schema.md has what is meant",
        )
    else:
        yield good("grants", "no client may write what our functions write")


def shortened(names: list[str]) -> str:
    more = len(names) - NAMED
    return f"{'; '.join(names[:NAMED])}{f' and {more} more' if more > 0 else ''}"


def check_consumers(connection: psycopg.Connection[Any]) -> Finding:
    state = (
        connection.cursor(row_factory=class_row(ConsumersState)).execute(probes.consumers_state).fetchone()
    )
    assert state is not None  # noqa: S101 - a function that returns one row
    return judge_consumers(state)


def judge_consumers(state: ConsumersState) -> Finding:
    if str(state) == "ok":
        return good("consumers", f"{state.alive} alive")
    return Finding(
        part="consumers",
        found=str(state),
        remedy="Start `likeness work`; where pg_cron drains the queues"
        " (docs/runbooks/run-the-sweep-from-pg-cron.md), use --no-consumers",
    )


def check_anchors(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    state = connection.cursor(row_factory=class_row(AnchorsState)).execute(queries.anchors).fetchone()
    assert state is not None  # noqa: S101 - a function that returns one row
    return judge_anchors(state)


def check_voice_checks(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    accounts = connection.cursor(row_factory=class_row(VoiceChecksState)).execute(queries.voice_checks)
    return judge_voice_checks(accounts.fetchall())


def database_time(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute(queries.clock).fetchone()
    assert row is not None  # noqa: S101 - select
    return row[0]


def check_clock(whose: str, theirs: datetime, ours: datetime) -> Finding:
    """Tokens, leases and signed URLs are compared with clocks; LEEWAY is what tokens allow."""
    difference = abs((theirs - ours).total_seconds())
    if difference > LEEWAY:
        return Finding(
            part=f"clock of the {whose}",
            found=f"this machine and the {whose} differ by {difference:.0f} seconds",
            remedy="Synchronise this machine's clock (NTP)",
        )
    return good(f"clock of the {whose}", f"as this machine's, within {LEEWAY} seconds")


def mode_to_listen(settings: DatabaseSettings, mode: Mode) -> Mode:
    """An address that cannot be reached has none, and check_database says it."""
    if not settings.listen_url:
        return mode
    try:
        return mode_of(settings.listen_url)
    except psycopg.Error:
        return "none"


def check_notifications(settings: DatabaseSettings, listens: Mode) -> Iterator[Finding]:
    """Whether a notification arrives. A transaction pooler would keep the LISTEN, so it gets none."""
    if listens != "transaction" and hears(settings.listen_url or settings.url, settings.url):
        yield good("notifications", "LISTEN works: messages are read at once")
    else:
        yield Finding(
            part="notifications",
            state="warning",
            found="none arrive: consumers poll, and event streams read late",
            remedy="Behind a transaction pooler set LISTEN_DATABASE_URL to a direct or session-mode address",
        )


def hears(listening: str, notifying: str) -> bool:
    """False too where there is no connection to listen on, which check_database says."""
    channel = f"likeness_doctor_{secrets.token_hex(8)}"
    try:
        with connect(listening) as listener, connect(notifying) as sender:
            listener.execute(f"listen {channel}".encode())
            sender.execute("select pg_notify(%s, '')", (channel,))
            heard = any(True for _ in listener.notifies(timeout=NOTIFY_SECONDS, stop_after=1))
            listener.execute(f"unlisten {channel}".encode())
            return heard
    except psycopg.Error:
        return False
