"""Settings from a file `.env`, which a process reads when it starts."""

import os
import sys
from pathlib import Path

from dotenv import load_dotenv


def read_env_file() -> None:
    """Set what `.env` in the current folder sets, unless the environment has it.

    ENV_FILE names another file; where it is empty none is read. Exits with a sentence where the file that it
    names is not there.
    """
    named = os.environ.get("ENV_FILE")
    path = Path(".env" if named is None else named)
    if named == "":
        return
    if path.is_file():
        load_dotenv(path, override=False, interpolate=False)
    elif named is not None:
        sys.exit(f"ENV_FILE: there is no file {path}")
