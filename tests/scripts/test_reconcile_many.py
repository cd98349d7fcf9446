"""Voices of a whole account: read page by page, in the memory of one page, and on where a kill stopped it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scripts.migrations import ROOT
from tests.backend.storages import failing_storage, saying
from tests.clusters import Database, cloned_database
from tests.conftest import Cluster
from tests.fixture import Fixture
from tests.scripts.test_reconcile_voices import environment
from tests.simulators import Simulator, simulator

PAGE = 100  # voices of one page of ElevenLabs
GONE, LATE = 40, 30
# The most memory that it had, in kilobytes, as its last line.
MEASURED = """
import atexit, resource, runpy, sys
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
runpy.run_module("scripts", run_name="__main__", alter_sys=True)
"""
ROWS = """
insert into public.voices (id, user_id, attempt_id, name, language, tts_provider, provider_region,
  provider_voice_id, provider_target_model, provider_voice_kind, created_at, deleted_at)
select gen_random_uuid(), %(user)s, gen_random_uuid(), 'V', 'en', 'elevenlabs', '', 'voice-' || n, 'm',
  'custom', now() - interval '1 day', case when n > %(voices)s + %(gone)s then now() end
from generate_series(1, %(rows)s) n where n <= %(voices)s - %(late)s or n > %(voices)s
"""
CLOSED = """
insert into voice_clone.enrollments
  (attempt_id, lease_epoch, provider, region, provider_voice_kind, label, status, settles_at, updated_at)
select gen_random_uuid(), 1, 'elevenlabs', '', 'ivc', 'label_' || n, 'closed', now(), now() - interval '1 day'
from generate_series(%(voices)s - %(late)s + 1, %(voices)s) n
"""


def fill(given: Fixture, rows: int, voices: int) -> None:
    """Some rows are in use and gone; some voices have an enrollment that was closed; others are deleted."""
    values = {"user": given.user(), "rows": rows, "voices": voices, "gone": GONE, "late": LATE}
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(ROWS.encode(), values)
        given.superuser.execute(CLOSED.encode(), values)
    given.superuser.execute("analyze public.voices")


def account(path: Path, voices: int) -> Path:
    """What the simulator remembers."""
    with path.open("w") as file:
        for number in range(1, voices + 1):
            label = f"label_{number}"
            kept = {"provider": "elevenlabs", "voice_id": f"voice-{number}", "label": label}
            file.write(
                json.dumps({"kept": {**kept, "account": "default", "labels": {"likeness": label}}}) + "\n"
            )
    return path


async def start(given: Fixture, providers: Simulator, storage: str) -> subprocess.Popen[str]:
    arguments = ["reconcile", "voices", "--provider", "elevenlabs", "--json"]
    return await asyncio.to_thread(
        lambda: subprocess.Popen(
            [sys.executable, "-c", MEASURED, *arguments],
            env=environment(given, providers, storage) | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


async def measured(given: Fixture, providers: Simulator, storage: str) -> tuple[dict[str, Any], str, int]:
    """Its last line, what it said of its progress, and its kilobytes."""
    process = await start(given, providers, storage)
    output, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1, errors
    return json.loads(output.splitlines()[-1]), errors, int(errors.splitlines()[-1])


@pytest.mark.parametrize(
    ("rows", "voices"), [(5_000, 1_000), pytest.param(100_000, 10_000, marks=pytest.mark.long)]
)
async def test_a_whole_account_is_read_once_in_the_memory_of_a_page(
    given: Fixture, cluster: Cluster, tmp_path: Path, rows: int, voices: int
) -> None:
    fill(given, rows, voices)
    async with failing_storage(saying(200, b"[]")) as storage:
        with simulator("--instant", "--state", str(account(tmp_path / "many", voices))) as providers:
            providers.fault("elevenlabs", "list", "hang", match=str(3 * PAGE))
            process = await start(given, providers, storage)
            await asyncio.to_thread(providers.wait, "elevenlabs", "list", count=4, timeout=90)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.communicate)
            providers.fault("elevenlabs", "list", "throttled", retry_after=1)
            end, said, many_kilobytes = await measured(given, providers, storage)
            calls = providers.calls("elevenlabs", "list")
        assert "elevenlabs: goes on after" in said
        assert "elevenlabs: waits for 1" in said
        pages = voices // PAGE
        assert len(calls) <= pages + 2, "one that was refused, and one whose page the kill left unwritten"
        assert end["findings"] == {"gone": GONE, "late": LATE}
        few: Database
        with cloned_database(cluster) as few, closing(Fixture(few)) as small:
            fill(small, 300, 200)
            with simulator("--instant", "--state", str(account(tmp_path / "few", 200))) as providers:
                _, _, few_kilobytes = await measured(small, providers, storage)
    assert many_kilobytes - few_kilobytes < 8_000
