"""The product on top of a stack: provider simulator, service, consumers; then stack.json."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from backend.provenance.certificates import make_development_key_pair
from scripts.local.supabase.keys import write_private
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT

API_PORT = 8000
SIMULATOR_PORT = 54390
REGION = "singapore"
TWILIO_ACCOUNT_SID = f"AC{0:032x}"
TWILIO_AUTH_TOKEN = f"sim-{0:032x}"


@asynccontextmanager
async def running_product(
    stack: Stack, *, provider: str = "local", settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """Start them, wait until each is ready, write stack.json; stop them on leaving, consumers first."""
    simulator_port, api_port = stack.ports.take(SIMULATOR_PORT), stack.ports.take(API_PORT)
    stack.simulator_url = f"http://127.0.0.1:{simulator_port}"
    stack.api_url = f"http://127.0.0.1:{api_port}"
    env = {**service_settings(stack, provider), **(settings or {})}
    python, processes = sys.executable, stack.processes
    state = stack.directory / "simulator.json"
    command = [python, "-m", "scripts.local.simulator", "--port", str(simulator_port), "--state", state]
    simulator = await processes.start("simulator", command, {}, cwd=ROOT)
    service = await processes.start("service", [python, "-m", "backend"], env, cwd=ROOT)
    consumers = await processes.start("consumers", [python, "-m", "queue_consumers"], env, cwd=ROOT)
    try:
        await asyncio.gather(
            stack.until_ready(),
            simulator.await_output("provider simulator:"),
            service.await_url(f"{stack.api_url}/health/ready"),
            consumers.await_output("listening"),
        )
        write_private(stack.file, msgspec.json.encode(stack.describe()))
        yield stack
    finally:
        for child in (consumers, service, simulator):
            await processes.stop(child, grace_seconds=30)


@asynccontextmanager
async def running_everything(*, provider: str = "local") -> AsyncIterator[Stack]:
    """Stack and services on LOCAL_DIR, started side by side, which is the quickest."""
    async with running_stack(wait=False) as stack, running_product(stack, provider=provider):
        yield stack


def service_settings(stack: Stack, provider: str) -> dict[str, str]:
    """The environment of service and consumers; providers are always the simulator's."""
    secrets, port = stack.secrets, stack.api_url.rsplit(":", 1)[1]
    return {
        "ENV_FILE": "",
        "DATABASE_URL": stack.database_url,
        "DATABASE_PREPARE_THRESHOLD": "2",
        "SUPABASE_URL": stack.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": stack.publishable_key,
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
