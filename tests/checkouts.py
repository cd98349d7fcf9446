"""A copy of this checkout, so that what is built there does not touch it."""

import shutil
from pathlib import Path

from scripts.migrations import ROOT

UNUSED = {"examples", "node_modules", "tests"}  # of the checkout's own folder


def copied_checkout(target: Path) -> Path:
    def ignored(folder: str, names: list[str]) -> set[str]:
        here = (
            {name for name in names if name.startswith(".") or name in UNUSED}
            if folder == str(ROOT)
            else set()
        )
        return here | ({"__pycache__"} & set(names))

    return Path(shutil.copytree(ROOT, target, ignore=ignored))
