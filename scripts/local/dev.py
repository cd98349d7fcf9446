"""`python -m scripts dev`: everything, until Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import httpx
import typer
from rich.console import Console

from backend.settings.providers import ProviderName
from scripts.local.log_lines import follow_logs
from scripts.local.product import running_everything
from scripts.local.supabase.postgres import PostgresError
from scripts.local.supabase.processes import ProcessError
from scripts.local.supabase.stack import DEMO_EMAIL, Stack, StackError
from scripts.migrations import MigrationError

T = TypeVar("T")
FAULTS = (StackError, PostgresError, MigrationError, ProcessError)


def dev(
    provider: Annotated[
        ProviderName, typer.Option(help="Simulated, unless its key is in the environment.")
    ] = "local",
    consumers: Annotated[
        bool, typer.Option(help="Without them, pg_cron has to drain the queues: see the runbook.")
    ] = True,
) -> None:
    """Start Postgres, Auth, Data API, Storage, simulator, service and consumers, and run until Ctrl-C.

    Writes addresses, keys and the demo user to .local/stack.json, which goes when it stops; LOCAL_DIR names
    another directory. PORT is the port of the service. Each part keeps its port from start to start.

    With QWEN_API_KEY (and QWEN_REGION), ELEVENLABS_API_KEY, CARTESIA_API_KEY, PIPECAT_URL or MODAL_URL in
    the environment the provider of that name is the real one.

    Schemas `cron`, `net` and `vault` stand for pg_cron, pg_net and the vault: what a runbook schedules runs.

    Prints each request that the service answers, and each warning.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    A process that ends is started again, with a line that says so.

    Exit codes: 0 stopped by a signal; 1 a process did not start, or ended again and again; the message has
    the end of its log.

    Example: likeness dev --provider qwen
    """
    try:
        asyncio.run(cancelled_by_signal(run(provider, consumers=consumers)))
    except FAULTS as error:
        sys.exit(str(error))


async def cancelled_by_signal(work: Coroutine[Any, Any, T]) -> T | None:
    """Run it; the first SIGINT or SIGTERM cancels it, so that all stops in order, the second ends at once.

    None when it was cancelled.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(work)

    def on_signal(number: int) -> None:
        if running.cancelling():
            os._exit(128 + number)  # the kernel ends the children
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await running
    except asyncio.CancelledError:
        if not running.cancelling():
            raise
        return None


async def run(provider: ProviderName, *, consumers: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    async with running_everything(provider=provider, consumers=consumers, cron=True) as stack:
        await ensure_demo_user(stack)
        announce(stack, console)
        following = asyncio.ensure_future(follow_logs(stack.processes.children, console))
        try:
            await stack.processes.keep_running(lambda line: console.print(line, markup=False))
        finally:
            following.cancel()


async def ensure_demo_user(stack: Stack) -> None:
    """Sign up, or sign in where an earlier run did.

    Raises:
        StackError: Auth refuses both.
    """
    credentials = {"email": DEMO_EMAIL, "password": stack.secrets.demo_password}
    headers = {"apikey": stack.secrets.publishable_key}
    url = f"{stack.supabase_url}/auth/v1"
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
        signed_in = await client.post(f"{url}/token?grant_type=password", json=credentials)
        if signed_in.status_code == 200:
            return
        signed_up = await client.post(f"{url}/signup", json=credentials)
        if signed_up.status_code != 200:
            raise StackError(f"{DEMO_EMAIL} can neither sign in nor sign up: {signed_up.text}")


def announce(stack: Stack, console: Console) -> None:
    for line in stack.ports.moved:
        console.print(f"[yellow]{line}[/yellow]")
    for what, where in (
        ("Page", f"{stack.api_url}/"),
        ("API", stack.api_url),
        ("Provider", stack.provider),
        ("Supabase", stack.supabase_url),
        ("Publishable key", stack.publishable_key),
        ("Sign in as", f"{DEMO_EMAIL}  password {stack.secrets.demo_password}"),
        ("Postgres", stack.cluster.dsn("postgres")),
        ("Simulator", stack.simulator_url),
        ("All of it, as JSON", str(stack.file)),
        ("Logs", str(stack.processes.logs)),
    ):
        console.print(f"[bold]{what:<20}[/bold]{where}")
    console.print("Ctrl-C stops everything.")
