"""`likeness doctor`: the command, and its report."""

import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from backend.checks.findings import Check, Finding, good, run_checks
from backend.checks.listening import check_health, check_service
from backend.errors import AppError
from backend.settings import load_settings
from backend.settings.attempts import AttemptSettings
from backend.settings.database import DatabaseSettings
from backend.settings.sections import SettingsError, read_section, sound_section
from backend.settings.server import ServerSettings
from backend.settings.supabase import SupabaseSettings
from backend.settings.twilio import TwilioSettings
from backend.web.authentication import TokenVerifier
from backend.web.upstreams import Upstreams
from scripts.doctor import project
from scripts.doctor.cors import check_preflights
from scripts.doctor.database import check_everything
from scripts.doctor.providers import check_providers
from scripts.doctor.tls import check_tls

FAULTS = 1  # the exit code
STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


class Report(Struct, frozen=True):
    faults: int
    warnings: int
    findings: list[Finding]


def doctor(
    *,
    no_service: Annotated[bool, typer.Option("--no-service", help="The service is not started yet.")] = False,
    no_consumers: Annotated[
        bool, typer.Option("--no-consumers", help="None runs: pg_cron drains the queues.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A file with a user's access token: check that it is accepted."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check a project and a deployment from outside, and say what to do about each fault. Changes nothing.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY; DATABASE_URL for what only SQL shows; the service's other
    settings for the providers and the service.

    Exit codes: 0 no fault; 1 a fault, and each is named with its remedy.

    Example: likeness doctor --json
    """
    findings = examine(os.environ, with_service=not no_service, with_consumers=not no_consumers)
    if token_file and (supabase := sound_section(SupabaseSettings, os.environ)):
        findings.append(asyncio.run(check_token(supabase, token_file.read_text().strip())))
    states = [each.state for each in findings]
    report = Report(states.count("fault"), states.count("warning"), findings)
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report)
    sys.exit(FAULTS if report.faults else 0)


def examine(environ: Mapping[str, str], *, with_service: bool, with_consumers: bool) -> list[Finding]:
    """What can be checked with the settings that have no fault."""
    checks: list[Check] = []
    database = sound_section(DatabaseSettings, environ)
    if database:
        checks.append(partial(check_everything, database, with_consumers=with_consumers))
    if supabase := sound_section(SupabaseSettings, environ):
        sample = read_section(AttemptSettings, environ, [])
        recording = read_section(TwilioSettings, environ, [])
        checks += [
            partial(project.check_keys, supabase),
            partial(project.check_data_api, supabase),
            partial(check_tls, "SUPABASE_URL", supabase.url),
            partial(
                project.check_limits,
                supabase,
                sample and sample.max_sample_bytes,
                recording and recording.max_recording_bytes,
            ),
        ]
        if supabase.publishable_key:
            checks.append(partial(project.check_visitors, supabase))
        if database is None:
            checks.append(partial(project.check_operations, supabase, with_consumers=with_consumers))
    server = sound_section(ServerSettings, environ)
    if server and with_service:
        checks.append(partial(check_service, server.service_url, server.internal_token))
        checks.append(partial(check_health, server.service_url))
        checks.append(partial(check_tls, "SERVICE_URL", server.service_url))
    if supabase:
        service_url = server.service_url if server and with_service else ""
        origins = server.allowed_origins if server else []
        checks.append(partial(check_preflights, supabase.url, service_url, origins))
    return [*check_settings(environ), *run_checks(checks)]


def check_settings(environ: Mapping[str, str]) -> list[Finding]:
    """Every fault of the settings; or the providers, which need all of them."""
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        remedy = ".env.example describes each setting"
        return [Finding(part="settings", found=problem, remedy=remedy) for problem in error.problems]
    return [good("settings", "complete"), *asyncio.run(check_providers(settings))]


async def check_token(settings: SupabaseSettings, token: str) -> Finding:
    """As the service verifies it."""
    async with Upstreams() as upstreams:
        try:
            caller = await TokenVerifier(settings, upstreams.keys).verify(token)
        except AppError as error:
            return Finding(
                part="token",
                found=f"{error.code}: {error.message}",
                remedy="Compare SUPABASE_JWT_SECRET, SUPABASE_JWKS_URL, JWT_ISSUER and JWT_AUDIENCE"
                " with the project that signed it",
            )
    return good("token", f"of user {caller.user_id}")


def show(report: Report) -> None:
    console = Console()
    table = Table("part", "state", "found", "remedy")
    for each in report.findings:
        table.add_row(
            each.part, f"[{STYLES[each.state]}]{each.state}[/]", escaped(each.found), escaped(each.remedy)
        )
    console.print(table)
    console.print(f"{counted(report.faults, 'fault')}, {counted(report.warnings, 'warning')}")


def counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def escaped(text: str) -> str:
    return text.replace("[", "\\[")
