"""`likeness uninstall`: the command, and its report."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import psycopg
import typer
from msgspec import Struct
from postgrest import APIError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend.errors import AppError
from backend.settings.sections import sound_section
from backend.settings.supabase import SupabaseSettings
from scripts.operations import Operations, Row, operations
from scripts.uninstall.database import ChangedError, remove
from scripts.uninstall.folder import Folder, clear, look
from scripts.uninstall.objects import remove_buckets
from scripts.uninstall.plan import Plan, connect, make_plan

PREVENTED = 1  # the exit code
INTERRUPTED = 130
PAGE = 1000
SHARED = {"reflections", "organizations", "organization_members", "employees", "calls"}


class Options(Struct, frozen=True, kw_only=True):
    dsn: str
    columns: bool
    objects: SupabaseSettings | None  # where Storage is, if its objects go too


def uninstall(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The project's folder: the copied migrations go too."),
    ] = None,
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Really remove; without it nothing changes.")
    ] = False,
    voices: Annotated[
        bool,
        typer.Option("--voices", help="Only this: every voice ends, and is queued to leave its provider."),
    ] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Also the buckets that the migrations made, with their objects.")
    ] = False,
    columns: Annotated[
        bool, typer.Option("--columns", help="Also the columns that were added to the application's tables.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Give a project back what Likeness took from it. Without --apply, say what would go and what stays.

    First --voices, while the service and the consumers run; then stop them, and remove the rest, which in
    the database is one transaction. It may be interrupted and repeated. What the application made itself
    is left as it is; where something of it needs what would go, nothing is removed.

    The proof of consent goes too: `likeness export` keeps it, one person at a time.

    Needs: DATABASE_URL with the login of postgres; for --objects, SUPABASE_URL and SUPABASE_SECRET_KEY,
    which are enough for --voices.

    Exit codes: 0 removed, or nothing is in the way; 1 something is in the way, and is named; 2 wrong usage;
    130 interrupted.

    Example: likeness uninstall ../my-app --objects --apply
    """
    if apply and not (yes or sys.stdin.isatty()):
        raise typer.BadParameter("add --yes where nobody can be asked")
    try:
        if voices:
            withdraw(apply=apply, yes=yes, as_json=as_json)
        else:
            options = read_options(objects=objects, columns=columns)
            folder = look(directory) if directory else None
            run(options, folder, apply=apply, yes=yes, as_json=as_json)
    except psycopg.Error as error:
        sys.exit(f"The database refused, and its part is as it was: {error}")
    except AppError as error:
        sys.exit(f"Storage could not be emptied, and nothing else was removed: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Run the command again to continue.\n")
        sys.exit(INTERRUPTED)


def read_options(*, objects: bool, columns: bool) -> Options:
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise typer.BadParameter("DATABASE_URL is not set: postgresql://postgres:…@host:5432/postgres")
    supabase = None
    if objects:
        supabase = sound_section(SupabaseSettings, os.environ)
        if supabase is None:
            raise typer.BadParameter("set SUPABASE_URL and SUPABASE_SECRET_KEY: only Storage removes objects")
    return Options(dsn=dsn, columns=columns, objects=supabase)


def run(options: Options, folder: Folder | None, *, apply: bool, yes: bool, as_json: bool) -> None:
    with connect(options.dsn) as connection:
        plan = make_plan(connection, columns=options.columns, objects=options.objects is not None)
        if not as_json:
            show(plan, folder)
        if apply and not plan.obstacles:
            if not yes:
                typer.confirm(f"Remove Likeness from {place(connection.info)}?", abort=True, err=True)
            if options.objects:
                gone = [part.name for part in plan.parts if part.part == "bucket" and part.goes]
                asyncio.run(remove_buckets(options.objects, gone, tell))
            try:
                remove(connection, columns=options.columns, objects=options.objects is not None)
            except ChangedError as changed:
                sys.exit(f"Nothing was removed from the database: {changed}")
            if folder:
                clear(folder)
    done = apply and not plan.obstacles
    if as_json:
        print_json(plan, folder, applied=done)
    elif done:
        sys.stdout.write("Removed.\n")
    elif not plan.obstacles:
        sys.stdout.write("Nothing was changed. Add --apply to remove what goes.\n")
    sys.exit(PREVENTED if plan.obstacles else 0)


def place(info: psycopg.ConnectionInfo) -> str:
    return f"database {info.dbname} at {info.host}:{info.port}"


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def withdraw(*, apply: bool, yes: bool, as_json: bool) -> None:
    """One person in a transaction. An error of one stops no other; a second run finds those that are left."""
    failures: list[str] = []
    with operations() as project:
        people = list(owners(project))
        if apply and people and not yes:
            typer.confirm(f"End the voices of {len(people)} people for good?", abort=True, err=True)
        for each in people if apply else ():
            try:
                project.value("withdraw_voices", kind=each["kind"], id=each["id"])
            except (psycopg.DatabaseError, APIError) as error:
                if isinstance(error, psycopg.Error) and error.sqlstate is None:
                    raise  # the connection, and not this person
                failures.append(f"{each['kind']} {each['id']}: {error}")
    if as_json:
        report = {"applied": apply, "people": len(people), "failures": failures}
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    elif apply:
        sys.stdout.write(
            f"The voices of {len(people) - len(failures)} people end, and leave their providers while the"
            " consumers run.\nThen stop the service and the consumers, and run likeness uninstall.\n"
        )
    else:
        sys.stdout.write(f"The voices of {len(people)} people would end. Add --apply to end them for good.\n")
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    sys.exit(PREVENTED if failures else 0)


def owners(project: Operations) -> Iterator[Row]:
    after = None
    while page := project.rows("owners_of_voices", after=after, limit=PAGE):
        yield from page
        after = page[-1]["id"]


def print_json(plan: Plan, folder: Folder | None, *, applied: bool) -> None:
    files: dict[str, list[str]] = {}
    if folder:
        files["removed" if applied else "copies"] = [str(path) for path in folder.copies]
        files["different"] = [str(path) for path in folder.different]
    report = {"applied": applied, **msgspec.to_builtins(plan), "files": files}
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


def show(plan: Plan, folder: Folder | None) -> None:
    console = Console()
    table = Table("part", "name", "rows", "", title="What Likeness has in this project", title_justify="left")
    for part in plan.parts:
        table.add_row(
            part.part, escape(part.name), "" if part.rows is None else str(part.rows),
            "goes" if part.goes else "[yellow]stays[/]",
        )  # fmt: skip
    for name, fate in files_of(folder):
        table.add_row("file", escape(name), "", fate)
    console.print(table if table.rows else "Nothing of Likeness is there.")
    for line in remarks(plan, folder):
        console.print(line, markup=False, highlight=False)
    for each in plan.obstacles:
        console.print(
            f"[bold red]in the way[/] {escape(each.found)}\n  {escape(each.remedy)}", highlight=False
        )


def files_of(folder: Folder | None) -> list[tuple[str, str]]:
    if folder is None:
        return []
    copies = [(f"{len(folder.copies)} copies in {folder.path}", "goes")] if folder.copies else []
    return copies + [(str(path), "[yellow]stays: its text is another[/]") for path in folder.different]


def remarks(plan: Plan, folder: Folder | None) -> list[str]:
    lines: list[str] = []
    if made := [
        f"{part.name} ({part.rows} rows)" for part in plan.parts if part.name in SHARED and part.rows
    ]:
        lines.append(f"The migrations made these tables, which an application may use: {', '.join(made)}")
    if plan.proof.consents or plan.proof.erasures:
        lines.append(
            f"Lost for good: {plan.proof.consents} signed consents and {plan.proof.events} events, the proof"
            f" of who agreed to what, and the ledger of {plan.proof.erasures} erasures."
        )
        lines.append("Before that: likeness export user ID, for each person; likeness erase ledger --json")
    if any(part.part == "bucket" and not part.goes and part.rows for part in plan.parts):
        lines.append(
            "Objects stay in Storage. Only now can --objects tell the buckets that the migrations made."
        )
    if any(part.part == "column" and not part.goes for part in plan.parts):
        lines.append("Added columns stay. Only now can --columns tell them from the application's own.")
    if any(part.part == "extension" for part in plan.parts):
        lines.append("The extension stays: the application may use it. If not: drop extension pgmq")
    lines += [f"The function {name} names ours: it will fail." for name in plan.mentions]
    if folder is None and plan.is_installed:
        lines.append("Name the project's folder too, or its next push installs Likeness again.")
    if folder and folder.exposes:
        lines.append('Take "operations" out of [api].schemas in config.toml.')
    return lines
