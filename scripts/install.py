"""`likeness install DIR`: copy the migrations into the Supabase folder of an application."""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct, to_builtins

from scripts.migrations import MIGRATIONS, TESTS

PUSH = "supabase db push --include-all"


class Installed(Struct, frozen=True):
    """What became of each migration, by file name."""

    folder: str
    added: list[str]
    unchanged: list[str]
    different: list[str]  # a file of this name with another text: it is left as it is
    tests: list[str]  # of pgTAP: new, or of an earlier release


def install(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The project, or its folder supabase.")
    ] = None,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="Only print the SQL of all migrations.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Copy the migrations beside those of the application. Run again after an upgrade, it adds what is new.

    The pgTAP tests of `supabase test db` come too, in tests/voice_clone. Nothing else is changed, and no
    migration is replaced. Then `supabase db push --include-all` applies them.

    Needs: a Supabase project, which is a folder with supabase/config.toml.

    Exit codes: 0 everything is in place; 1 a file of the same name, or of the same version, has another text;
    2 DIR is no Supabase project.

    Example: likeness install ../my-app
    """
    if sql:
        sys.stdout.writelines(f"-- {path.name}\n{path.read_text()}\n" for path in ours())
        return
    if directory is None:
        raise typer.BadParameter("name the project's folder, or use --sql")
    target = migrations_folder(directory)
    done = copy(target, dry_run=dry_run)
    if as_json:
        print(json.dumps(to_builtins(done)))
    else:
        say(done, dry_run=dry_run)
    if done.different:
        sys.exit(1)


def ours() -> list[Path]:
    return sorted(MIGRATIONS.glob("*.sql"))


def migrations_folder(directory: Path) -> Path:
    for folder in (directory, directory / "supabase"):
        if (folder / "config.toml").is_file():
            return folder / "migrations"
    raise typer.BadParameter(f"{directory} has no supabase/config.toml: run `supabase init` there first")


def copy(target: Path, *, dry_run: bool) -> Installed:
    """A version that the application has too would be pushed once only, so it counts as different."""
    theirs = {path.name.partition("_")[0]: path for path in target.glob("*.sql")}
    done = Installed(str(target), [], [], [], [path.name for path in outdated(tests_beside(target))])
    for path in ours():
        there = theirs.get(path.name.partition("_")[0])
        if there is None:
            done.added.append(path.name)
        elif there.name == path.name and there.read_bytes() == path.read_bytes():
            done.unchanged.append(path.name)
        else:
            done.different.append(there.name)
    if not dry_run and not done.different:
        target.mkdir(exist_ok=True)
        for name in done.added:
            shutil.copyfile(MIGRATIONS / name, target / name)
        for path in outdated(tests_beside(target)):
            tests_beside(target).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tests_beside(target) / path.name)
    return done


def tests_beside(migrations: Path) -> Path:
    return migrations.parent / "tests" / TESTS.name


def outdated(folder: Path) -> list[Path]:
    """Our tests that are not there, or with another text."""
    return [
        path
        for path in sorted(TESTS.glob("*.sql"))
        if not (folder / path.name).is_file() or (folder / path.name).read_bytes() != path.read_bytes()
    ]


def say(done: Installed, *, dry_run: bool) -> None:
    if done.different:
        print(f"{done.folder} has other migrations of these versions, so nothing was copied:")
        print(*(f"  {name}" for name in done.different), sep="\n")
        print(
            "Rename those of the application. One that an earlier release of Likeness put there was changed:"
        )
        print("restore it, and write what the application needs into a migration of its own.")
        return
    verb = "would be added" if dry_run else "added"
    print(f"{done.folder}: {len(done.added)} migrations {verb}, {len(done.unchanged)} were there")
    if done.tests:
        print(f"{len(done.tests)} tests for `supabase test db` {verb}")
    if done.added:
        print(f"Next, in that project: {PUSH}")
