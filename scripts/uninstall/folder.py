"""The part of an uninstall in the folder of a project: the files that `likeness install` copied."""

import tomllib
from pathlib import Path

from msgspec import Struct

from scripts.install import migrations_folder, ours, tests_beside
from scripts.migrations import TESTS


class Folder(Struct, frozen=True):
    path: Path
    copies: list[Path]  # equal to ours
    different: list[Path]  # of our name, with another text: they stay
    exposes: bool  # config.toml names schema operations


def look(directory: Path) -> Folder:
    path = migrations_folder(directory)
    tests = tests_beside(path)
    pairs = [(path / each.name, each) for each in ours()]
    pairs += [(tests / each.name, each) for each in sorted(TESTS.glob("*.sql"))]
    equal = {there: there.read_bytes() == each.read_bytes() for there, each in pairs if there.is_file()}
    config = tomllib.loads((path.parent / "config.toml").read_text())
    return Folder(
        path.parent,
        [there for there, is_equal in equal.items() if is_equal],
        [there for there, is_equal in equal.items() if not is_equal],
        "operations" in config.get("api", {}).get("schemas", []),
    )


def clear(folder: Folder) -> None:
    for path in folder.copies:
        path.unlink(missing_ok=True)
    tests = folder.path / "tests" / TESTS.name
    if tests.is_dir() and not any(tests.iterdir()):
        tests.rmdir()
