"""A copy of this checkout, so that what is built there does not touch it."""

import shutil
import subprocess
from pathlib import Path

from scripts.migrations import ROOT

UNUSED = ("examples/", "tests/", ".")  # of what an installation is made of
LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")


def copied_checkout(target: Path, *, whole: bool = False) -> Path:
    """The files that git has, and new ones; where it is not `whole`, only those of an installation."""
    listed = subprocess.run(LISTED, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).exists() and (whole or not name.startswith(UNUSED)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target
