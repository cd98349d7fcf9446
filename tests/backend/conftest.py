"""The application as a process of its own, with any database behind it, and what it logged; the simulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import Child, Processes
from tests.documented import HOOKS
from tests.preloaded import launch
from tests.simulators import Simulator, simulator

NOBODY = "http://127.0.0.1:1"  # where nothing listens
INTERNAL_TOKEN = "internal-token-of-forty-letters-or-so-00"


@pytest.fixture(scope="module")
def providers() -> Iterator[Simulator]:
    with simulator() as started:
        yield started


class Served(msgspec.Struct):
    """The running application: a client for it, and its process."""

    http: httpx.AsyncClient
    child: Child

    async def log(self, request_id: str) -> list[dict[str, object]]:
        """The log lines of one request. The summary line comes last, after the response."""
        about: list[dict[str, object]] = []
        async with asyncio.timeout(30):
            while not about or about[-1]["event"] != "request":
                await asyncio.sleep(0.01)
                lines = [msgspec.json.decode(line) for line in self.child.output().splitlines() if line]
                about = [line for line in lines if line.get("request_id") == request_id]
        return about


@asynccontextmanager
async def served(
    logs: Path, database_url: str, supabase_url: str = NOBODY, **settings: str
) -> AsyncIterator[Served]:
    """tests.backend.faults on a free port, until the block ends."""
    port = free_port()
    env = {
        "DATABASE_URL": database_url,
        "DATABASE_TIMEOUT_SECONDS": "0.5",
        "SUPABASE_URL": supabase_url,
        "SUPABASE_SECRET_KEY": "sb_secret_of_this_very_test",
        "SUPABASE_JWT_SECRET": "a secret of more than thirty-two letters",
        "SUPABASE_JWKS_URL": "off",
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        "MAX_SAMPLE_BYTES": "100000",
        **settings,
    }
    processes = Processes(logs)
    child = await processes.launch("faults", launch("tests.backend.faults", str(port), env=env))
    try:
        url = f"http://127.0.0.1:{port}"
        await child.await_url(f"{url}/health/live")
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, event_hooks=HOOKS) as http:
            yield Served(http, child)
    finally:
        await processes.stop_all()
