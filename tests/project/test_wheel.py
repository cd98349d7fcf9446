"""The wheel: what `pip install .` brings, and that its commands work away from a checkout."""

import os
import shutil
import subprocess
import sys
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from scripts.migrations import ROOT
from tests.clusters import Database
from tests.wheels import build_wheel, install_wheel

PACKAGES = ("backend", "queue_consumers", "scripts")
KINDS = {".py", ".sql", ".mjs", ".html", ".css", ".js"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(wheel, tmp_path_factory.mktemp("installed"))


def source_files(package: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*") if path.suffix in KINDS}


def run_installed(installed: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "scripts", *arguments],
        cwd=installed,
        env={**environment, "PYTHONPATH": str(installed), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_every_source_file_and_no_test(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert set().union(*(source_files(package) for package in PACKAGES)) <= names
    folders = {name.partition("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_has_the_migrations_and_the_configuration(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if name.startswith("scripts/project/")}
    copied = [*(ROOT / "supabase").glob("migrations/*.sql"), *(ROOT / "supabase").glob("tests/*/*.sql")]
    wanted = {Path("supabase/config.toml"), *(path.relative_to(ROOT) for path in copied)}
    assert names == {f"scripts/project/{path}" for path in wanted}


def test_the_wheel_names_its_license_its_command_and_its_extras(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (folder,) = {
            name.partition("/")[0] for name in archive.namelist() if ".dist-info" in name.partition("/")[0]
        }
        metadata = HeaderParser().parsestr(archive.read(f"{folder}/METADATA").decode())
        assert "likeness = scripts.__main__:run" in archive.read(f"{folder}/entry_points.txt").decode()
        assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == {"local", "dev", "speakers", "traces", "words"}


def test_an_installed_command_lists_the_commands(installed: Path) -> None:
    result = run_installed(installed, "--help")
    assert result.returncode == 0, result.stderr
    assert "migrate" in result.stdout


def test_an_installed_migrate_pushes_the_packaged_migrations(installed: Path, database: Database) -> None:
    cli = next((ROOT / "node_modules").glob("@supabase/cli-*/bin/supabase"))
    path = f"{cli.parent}{os.pathsep}{os.environ['PATH']}"
    result = run_installed(installed, "migrate", DATABASE_URL=database.postgres, PATH=path)
    assert "up to date" in result.stdout, result.stderr


def test_an_installed_migrate_without_the_cli_says_what_to_install(
    installed: Path, tmp_path: Path, database: Database
) -> None:
    assert shutil.which("supabase", path=str(tmp_path)) is None
    result = run_installed(installed, "migrate", DATABASE_URL=database.postgres, PATH=str(tmp_path))
    assert result.returncode == 1
    assert "npm install supabase" in result.stderr
