"""Dockerfile and compose.yaml: linted, and each name in them is one that exists here."""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from ruamel.yaml import YAML

from scripts.migrations import ROOT
from tests.checkouts import copied_checkout
from tests.scripts.contained import USER

DOCKERFILE, COMPOSE = ROOT / "Dockerfile", ROOT / "compose.yaml"
BIN = Path(sys.executable).parent
OF_PYTHON = {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its argument, on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, rest.strip()) for name, rest in re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)]


def arguments(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def copied() -> dict[str, str]:
    """What the first stage copies of the repository, and to where."""
    pairs = [
        (source, target)
        for rest in arguments("COPY")
        if not rest.startswith("--from")
        for *sources, target in [rest.split()]
        for source in sources
    ]
    return dict(pairs)


def processes() -> dict[str, dict[str, Any]]:
    return YAML(typ="safe").load(COMPOSE)["services"]


def named_settings() -> set[str]:
    return set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert json.loads(run(BIN / "hadolint", "--no-color", "--format", "json", DOCKERFILE)) == []


def test_the_compose_file_is_valid_by_the_schema_of_compose() -> None:
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_the_image_has_the_python_that_ci_tests_with() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (tested,) = re.findall(r'python-version: "([\d.]+)"', workflow)
    base, *stages = arguments("FROM")
    assert base.startswith(f"python:{tested}-slim-")
    assert {stage.split()[0] for stage in stages} == {"python"}


@pytest.mark.parametrize("process", ["service", "consumers"])
def test_a_container_has_no_right_that_it_does_not_need(process: str) -> None:
    given = processes()[process]
    assert (given["build"], given["image"]) == (".", "likeness"), "neither is pulled"
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert [each.partition(":")[0] for each in given["tmpfs"]] == ["/tmp"]  # noqa: S108
    assert {"mem_limit", "cpus", "pids_limit", "stop_grace_period"} <= given.keys()
    assert not {"privileged", "cap_add", "user", "volumes", "network_mode", "pid"} & given.keys()


def test_the_image_runs_as_a_user_that_owns_nothing() -> None:
    assert arguments("USER") == [f"{USER}:{USER}"]
    assert not any("--chown" in rest for rest in arguments("COPY"))


def test_only_one_port_is_open_and_on_this_machine_alone() -> None:
    ports = {name: given.get("ports", []) for name, given in processes().items()}
    assert ports == {"service": ["127.0.0.1:8000:8000"], "consumers": []}
    assert arguments("EXPOSE") == ["8000"]
    assert processes()["service"]["environment"]["PORT"] == "8000"


def test_both_files_set_only_settings_that_exist() -> None:
    in_image = set(re.findall(r"([A-Z0-9_]+)=", " ".join(arguments("ENV"))))
    in_compose = {name for given in processes().values() for name in given["environment"]}
    assert in_image - OF_PYTHON <= named_settings()
    assert in_compose <= named_settings()
    assert {given["env_file"] for given in processes().values()} == {".env"}


def test_the_commands_of_both_files_are_commands_of_likeness() -> None:
    entry = json.loads(arguments("ENTRYPOINT")[0])
    commands = [json.loads(arguments("CMD")[0]), *(given["command"] for given in processes().values())]
    checks = [
        json.loads(re.sub(r"^.*?CMD ", "", arguments("HEALTHCHECK")[0])),
        processes()["consumers"]["healthcheck"]["test"][1:],
    ]
    for started in [*({tuple(entry + each) for each in commands}), *map(tuple, checks)]:
        assert started[0] == "likeness"
        run(BIN / "python", "-m", "scripts", *started[1:], "--help")


def test_each_source_exists_and_is_let_through_by_dockerignore() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert let_through == set(copied())
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    refused = [line for line in lines[1:] if not line.startswith("!")]
    assert any(fnmatch("scripts/local/.env", each) for each in refused)


def test_the_wheel_is_whole_when_it_is_built_of_what_is_copied_alone(tmp_path: Path) -> None:
    """Without network, as the Dockerfile builds it."""
    context = tmp_path / "context"
    for source, target in copied().items():
        place = context / (Path(source).name if target == "./" else target)
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / source, place)
    built = {}
    for folder in (context, ROOT):
        run(
            *(sys.executable, "-m", "hatchling", "build", "--target", "wheel"),
            *("--directory", str(tmp_path / folder.name)),
            cwd=folder,
        )
        (wheel,) = (tmp_path / folder.name).glob("*.whl")
        built[folder.name] = set(ZipFile(wheel).namelist())
    assert built["context"] == built[ROOT.name]


@pytest.mark.long
def test_what_the_dockerfile_installs_runs_without_anything_else(tmp_path: Path) -> None:
    """Its commands, in folders of this test; then those of the image, which find all that they import."""
    source, target, wheel = tmp_path / "source", tmp_path / "likeness", tmp_path / "wheel"
    copied_checkout(source)
    run(sys.executable, "-m", "venv", tmp_path / "builder")
    for command in arguments("RUN"):
        moved = command.replace("/opt/likeness", str(target)).replace("/wheel", str(wheel))
        if not moved.startswith(str(target)):
            moved = f"PATH={tmp_path / 'builder' / 'bin'}:$PATH; {moved}"
        run("sh", "-ec", moved, cwd=source)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = ("env", "-i", f"HOME={elsewhere}")
    modules = "backend.app.service, queue_consumers.__main__, backend.audio.examine, backend.audio.denoise"
    run(*clean, target / "bin" / "python", "-c", f"import {modules}", cwd=elsewhere)
    assert "health" in run(*clean, target / "bin" / "likeness", "--help", cwd=elsewhere)
    missing = subprocess.run(
        [*clean, target / "bin" / "likeness", "serve"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (missing.returncode, "DATABASE_URL is missing" in missing.stdout + missing.stderr) == (1, True)
    assert not (target / "bin" / "pip").exists()
