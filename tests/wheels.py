"""The wheel of this checkout, and a folder that has it installed."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from scripts.migrations import ROOT


def build_wheel(folder: Path) -> Path:
    """Without network: hatchling is a dependency of development."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def install_wheel(wheel: Path, folder: Path) -> Path:
    """The wheel's packages; what they depend on comes from the environment of the tests."""
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
