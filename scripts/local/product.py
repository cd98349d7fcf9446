"""The product on top of a stack: provider simulator, service, consumers; then stack.json."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from backend.provenance.certificates import make_development_key_pair
from backend.settings.providers import ProviderName
from scripts.local.real_provider import described, real_settings
from scripts.local.supabase.keys import write_private
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack, StackError, running_stack
from scripts.migrations import ROOT

API_PORT = 8000
SIMULATOR_PORT = 54390
REGION = "singapore"
TWILIO_ACCOUNT_SID = f"AC{0:032x}"
TWILIO_AUTH_TOKEN = f"sim-{0:032x}"


@asynccontextmanager
async def running_product(
    stack: Stack,
    *,
    provider: ProviderName = "local",
    settings: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    consumers: bool = True,
) -> AsyncIterator[Stack]:
    """Start them, wait until each is ready, write stack.json; stop them on leaving, consumers first.

    `environ` may have the key of the provider, which is then the real one, and PORT.

    Raises:
        StackError: the settings of the real provider do not fit together, or PORT is no port.
    """
    environ = environ or {}
    simulator_port = stack.ports.take(SIMULATOR_PORT, "the simulator")
    api_port = stack.ports.take(API_PORT, "the service", chosen=chosen_port(environ))
    stack.simulator_url = f"http://127.0.0.1:{simulator_port}"
    stack.api_url = f"http://127.0.0.1:{api_port}"
    simulated = service_settings(stack, provider)
    real = real_settings(provider, environ, simulated)
    stack.provider, stack.provider_is_real = described(provider, is_real=bool(real)), bool(real)
    env = {**simulated, **real, **(settings or {})}
    python, processes = sys.executable, stack.processes
    state = stack.directory / "simulator.json"
    command = [python, "-m", "scripts.local.simulator", "--port", str(simulator_port), "--state", state]
    simulator = await processes.start("simulator", command, {}, cwd=ROOT)
    service = await processes.start("service", [python, "-m", "backend"], env, cwd=ROOT)
    workers: list[Child] = []
    if consumers:
        workers.append(await processes.start("consumers", [python, "-m", "queue_consumers"], env, cwd=ROOT))
    try:
        await asyncio.gather(
            stack.until_ready(),
            simulator.await_output("provider simulator:"),
            service.await_url(f"{stack.api_url}/health/ready"),
            *(worker.await_output("listening") for worker in workers),
        )
        write_private(stack.file, msgspec.json.encode(stack.describe()))
        yield stack
    finally:
        stack.file.unlink(missing_ok=True)
        for child in (*workers, service, simulator):
            await processes.stop(child, grace_seconds=30)


@asynccontextmanager
async def running_everything(
    *, provider: ProviderName = "local", consumers: bool = True, cron: bool = False
) -> AsyncIterator[Stack]:
    """Stack and services on LOCAL_DIR, started side by side, which is the quickest."""
    real_settings(provider, os.environ, {})  # its faults are said before anything starts
    chosen_port(os.environ)
    async with (
        running_stack(wait=False, cron=cron) as stack,
        running_product(stack, provider=provider, environ=os.environ, consumers=consumers),
    ):
        yield stack


def chosen_port(environ: Mapping[str, str]) -> int:
    """PORT, or 0 where it is not set."""
    port = environ.get("PORT") or "0"
    if not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise StackError(f"PORT is {port!r}, and not a port")
    return int(port)


def service_settings(stack: Stack, provider: str) -> dict[str, str]:
    """The environment of service and consumers, with the simulator as each provider."""
    secrets, port = stack.secrets, stack.api_url.rsplit(":", 1)[1]
    return {
        "ENV_FILE": "",
        "DATABASE_URL": stack.database_url,
        "DATABASE_PREPARE_THRESHOLD": "2",
        "SUPABASE_URL": stack.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": stack.publishable_key,
        "OPERATIONS_PAGE": "true",
        "SUPABASE_SECRET_KEY": secrets.secret_key,
        "SUPABASE_JWT_SECRET": secrets.jwt_secret,
        "SUPABASE_JWKS_URL": "off",
        "JWT_ISSUER": f"{stack.supabase_url}/auth/v1",
        "JWT_AUDIENCE": "authenticated",
        "INTERNAL_TOKEN": secrets.internal_token,
        "SERVICE_URL": stack.api_url,
        "CORS_ORIGINS": "*",
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "PUBLIC_URL": stack.api_url,
        "TWILIO_ACCOUNT_SID": TWILIO_ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": TWILIO_AUTH_TOKEN,
        "TWILIO_API_URL": f"{stack.simulator_url}/twilio",
        "HOST": "127.0.0.1",
        "PORT": port,
        "LISTEN_DATABASE_URL": "",
        **mark_settings(stack),
        "VOICE_PROVIDER": provider,
        "QWEN_API_KEY": f"sk-sim-{REGION}",
        "QWEN_REGION": REGION,
        "QWEN_BASE_URL": f"{stack.simulator_url}/qwen/{REGION}",
        "QWEN_WORKSPACE_ID": "",
        "ELEVENLABS_API_KEY": "sim-local",
        "ELEVENLABS_BASE_URL": f"{stack.simulator_url}/elevenlabs",
        "CARTESIA_API_KEY": "sim-local",
        "CARTESIA_BASE_URL": f"{stack.simulator_url}/cartesia",
        "PIPECAT_URL": f"{stack.simulator_url}/pipecat",
        "MODAL_URL": f"{stack.simulator_url}/modal",
        "MODAL_API_KEY": "sim-local",
    }


def mark_settings(stack: Stack) -> dict[str, str]:
    """A certificate of development, made once: `likeness verify` knows the marks of earlier runs."""
    chain, key = stack.directory / "c2pa-certificate.pem", stack.directory / "c2pa-key.pem"
    if not (chain.exists() and key.exists()):
        made = make_development_key_pair()
        write_private(key, made.key.encode())
        write_private(chain, made.chain.encode())
    return {"C2PA_CERTIFICATE_FILE": str(chain), "C2PA_KEY_FILE": str(key)}
