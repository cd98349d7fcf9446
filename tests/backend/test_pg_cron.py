"""The runbook's SQL, unchanged, on what stands for pg_cron, pg_net and the vault in `make dev`."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from scripts.local.supabase.cron import next_run, opened
from scripts.local.supabase.postgres import HERE
from scripts.migrations import ROOT
from tests.backend.conftest import INTERNAL_TOKEN, served
from tests.clusters import Database
from tests.fixture import Fixture, Row

Owner = psycopg.Connection[Row]
RUNBOOK = ROOT / "docs" / "runbooks" / "run-the-sweep-from-pg-cron.md"


@pytest.fixture
def owner(given: Fixture, database: Database) -> Iterator[Owner]:
    """The login that runs the runbook, and later pg_cron's commands."""
    for _ in range(2):  # each start of `make dev`
        with given.superuser.transaction():
            given.superuser.execute((HERE / "cron.sql").read_bytes())
    with Owner.connect(database.postgres, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def steps() -> list[str]:
    return [block.strip() for block in re.findall(r"```sql\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)]


def checks() -> list[str]:
    """The queries of the table that says what to look at."""
    return re.findall(r"^\| `(select .*?;)` \|", RUNBOOK.read_text(), re.MULTILINE)


async def test_the_runbook_makes_pg_cron_the_clock(
    given: Fixture, owner: Owner, database: Database, tmp_path: Path
) -> None:
    *setup, stop = steps()
    for step in setup:
        owner.execute(step.encode())
    user = given.user()
    reflection = given.reflection(user)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'mirror_progress'")
    attempt = given.queued(user, reflection)
    async with served(tmp_path, given.database.service) as service, opened(database.postgres) as cron:
        secrets = {
            "likeness_url": str(service.http.base_url).rstrip("/"), "likeness_internal_token": INTERNAL_TOKEN
        }  # fmt: skip
        for name, secret in secrets.items():
            owner.execute("update vault.secrets set secret = %s where name = %s", (secret, name))
        await cron.tick()
        assert owner.execute("select from cron.job_run_details").fetchall() == [], "no interval has passed"
        owner.execute("update cron.job set scheduled_at = now() - interval '2 days'")
        await cron.tick()
        await cron.finish()
    ran, answers, _ = [owner.execute(check.encode()).fetchall() for check in checks()]
    assert [each["status"] for each in ran] == ["succeeded"] * 3
    assert [each["status_code"] for each in answers] == [200, 200], "one drain for each queue with messages"
    assert given.voice(reflection)["attemptId"] == str(attempt)
    owner.execute(stop.encode())
    assert owner.execute("select from cron.job").fetchall() == []


async def test_a_job_that_fails_and_a_call_without_an_answer_are_written_down(
    owner: Owner, database: Database
) -> None:
    owner.execute("select cron.schedule('bad', '1 seconds', 'select 1 / 0')")
    owner.execute("select cron.schedule('good', '1 seconds', 'select 1')")
    owner.execute("select net.http_post('http://127.0.0.1:1/nobody')")
    owner.execute("update cron.job set scheduled_at = now() - interval '1 minute'")
    async with opened(database.postgres) as cron:
        await cron.tick()
        await cron.finish()
        await cron.tick()
    ran = owner.execute("select status, return_message from cron.job_run_details order by runid").fetchall()
    assert [each["status"] for each in ran] == ["failed", "succeeded"], "once in its interval"
    assert "division by zero" in ran[0]["return_message"]
    (answer,) = owner.execute("select * from net._http_response").fetchall()
    assert (answer["status_code"], bool(answer["error_msg"])) == (None, True)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("5 seconds", datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)),
        ("*/10 * * * *", datetime(2026, 1, 1, 12, 10, tzinfo=UTC)),
        ("17 3 * * *", datetime(2026, 1, 2, 3, 17, tzinfo=UTC)),
        ("soon", None),
    ],
)
def test_a_schedule_is_read_as_pg_cron_reads_it(schedule: str, wanted: datetime | None) -> None:
    assert next_run(schedule, datetime(2026, 1, 1, 12, tzinfo=UTC)) == wanted


async def test_a_changed_schedule_counts_from_its_change(owner: Owner, database: Database) -> None:
    with Owner.connect(database.postgres, autocommit=True, row_factory=dict_row) as other:
        async with opened(database.postgres) as cron:
            other.execute("select cron.schedule('a', '1 seconds', 'select 1')")
            other.execute("update cron.job set scheduled_at = now() - interval '1 minute'")
            await cron.tick()
            other.execute("select cron.schedule('a', '0 0 1 1 *', 'select 2')")
            await cron.tick()
    assert len(owner.execute("select from cron.job_run_details").fetchall()) == 1
