"""The part of an uninstall in the folder of a project: the files that `likeness install` copied."""

import tomllib
from pathlib import Path

from msgspec import Struct

from scripts.install import migrations_folder, ours


class Folder(Struct, frozen=True):
    path: Path
    copies: list[str]  # equal to ours
    different: list[str]  # of our name, with another text: they stay
    exposes: bool  # config.toml names schema operations


def look(directory: Path) -> Folder:
    path = migrations_folder(directory)
    found = [(path / each.name, each) for each in ours() if (path / each.name).is_file()]
    equal = {there.name: there.read_bytes() == each.read_bytes() for there, each in found}
    config = tomllib.loads((path.parent / "config.toml").read_text())
    return Folder(
        path,
        [name for name, is_equal in equal.items() if is_equal],
        [name for name, is_equal in equal.items() if not is_equal],
        "operations" in config.get("api", {}).get("schemas", []),
    )


def clear(folder: Folder) -> None:
    for name in folder.copies:
        (folder.path / name).unlink(missing_ok=True)
