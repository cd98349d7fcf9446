"""The runbook's SQL, unchanged, on schemas shaped like those of pg_cron, pg_net and the vault."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row

from scripts.migrations import ROOT
from tests.backend.conftest import INTERNAL_TOKEN, served
from tests.clusters import Database
from tests.fixture import Fixture, Row

Owner = psycopg.Connection[Row]
RUNBOOK = ROOT / "docs" / "runbooks" / "run-the-sweep-from-pg-cron.md"
EXTENSIONS: LiteralString = """
    create schema cron;
    create table cron.job (jobid bigserial, jobname text unique, schedule text, command text);
    create table cron.job_run_details (end_time timestamptz);
    create function cron.schedule(job_name text, schedule text, command text) returns bigint
    language sql as 'insert into cron.job (jobname, schedule, command) values ($1, $2, $3) returning jobid';
    create function cron.unschedule(job_name text) returns boolean
    language sql as 'delete from cron.job where jobname = $1 returning true';
    create schema net;
    create table net.requests (url text, headers jsonb, body jsonb);
    create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}',
      headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds int default 5000)
    returns bigint
    language sql as 'insert into net.requests values ($1, $4, $2) returning 1::bigint';
    create schema vault;
    create table vault.decrypted_secrets (name text, decrypted_secret text);
    create function vault.create_secret(new_secret text, new_name text) returns uuid
    language sql as 'insert into vault.decrypted_secrets values ($2, $1) returning gen_random_uuid()';
"""


@pytest.fixture
def owner(database: Database) -> Iterator[Owner]:
    """The login that runs the runbook, and later pg_cron's commands."""
    with Owner.connect(database.postgres, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(EXTENSIONS)
        yield connection


def steps() -> list[str]:
    return [block.strip() for block in re.findall(r"```sql\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)]


async def test_the_runbook_makes_pg_cron_the_clock(given: Fixture, owner: Owner, tmp_path: Path) -> None:
    *setup, stop = steps()
    for step in setup:
        owner.execute(step.encode())
    jobs = owner.execute("select * from cron.job").fetchall()
    assert len(jobs) == 3
    user = given.user()
    reflection = given.reflection(user)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'mirror_progress'")
    attempt = given.queued(user, reflection)
    async with served(tmp_path, given.database.service) as service:
        owner.execute(
            "update vault.decrypted_secrets set decrypted_secret = %s where name = 'likeness_url'",
            (str(service.http.base_url).rstrip("/"),),
        )
        owner.execute(
            "update vault.decrypted_secrets set decrypted_secret = %s where name = 'likeness_internal_token'",
            (INTERNAL_TOKEN,),
        )
        for job in jobs:
            owner.execute(job["command"].encode())
        requests = owner.execute("select * from net.requests order by url").fetchall()
        answers = [
            await service.http.post(each["url"], json=each["body"], headers=each["headers"])
            for each in requests
        ]
    assert [each["url"].split("/")[-2] for each in requests] == ["voice_clone_process", "voice_mirror"]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert given.voice(reflection)["attemptId"] == str(attempt)
    owner.execute(stop.encode())
    assert owner.execute("select from cron.job").fetchall() == []
