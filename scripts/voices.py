"""`python -m scripts voices move`: move the voices of a provider to another one."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from backend.settings.attempts import AttemptSettings
from backend.settings.sections import SettingsError, read_section
from backend.web.upstreams import Upstreams
from scripts.move_voices import MovedVoice, Moving, move_voices
from scripts.operations import end, operations
from scripts.reconcile.providers import configured_providers, read_keys

MEANINGS = {
    "movable": "would be moved",
    "switchable": "is made; its reflection, which has the old voice, would change over",
    "queued": "the new voice is being made",
    "switched": "the reflection has the new voice, once it is synced and heard",
    "moving": "an earlier run moved it; the new voice is being made",
    "beside": "the new voice is ready; the reflection keeps the old one, which works",
    "moved": "the new voice is ready",
    "later": "waits for a limit: run the command again",
    "refused": "cannot be moved: see code",
}
COLUMNS = ("voice_id", "user_id", "employee_id", "region", "outcome", "code", "moved_to")
REFUSED, UNUSABLE, AGAIN, INTERRUPTED = 1, 2, 3, 130  # exit codes


class Action(StrEnum):
    move = "move"


def voices(
    action: Annotated[Action, typer.Argument(help="move: to another provider.")],
    source: Annotated[str, typer.Option("--from", help="The provider that has the voices.")],
    target: Annotated[str, typer.Option("--to", help="The provider that gets them.")],
    apply: Annotated[bool, typer.Option("--apply", help="Move them; without it nothing changes.")] = False,
    switch_now: Annotated[
        bool,
        typer.Option(
            "--switch-now",
            help="Reflections and employees change over at once, although they can speak; they are silent "
            "until the new voice was heard.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="The largest number that one run moves.")] = 500,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Move voices to another provider: a new voice of the same sample, under the same consent.

    Lists them; with --apply moves them, one in a transaction. It may be interrupted and repeated.

    Needs: SUPABASE_URL, SUPABASE_SECRET_KEY and the settings of the providers; DATABASE_URL is taken where
    it is set.

    Exit codes: 0 listed, or every voice was or is being moved; 1 a voice cannot be moved, or the project
    could not be read; 2 a setting or a provider is missing; 3 some wait for a limit: run it again; 130
    interrupted.

    Example: likeness voices move --from qwen --to modal --apply
    """
    try:
        keys = read_keys()
    except SettingsError as error:
        end(str(error), UNUSABLE)
    problems: list[str] = []
    attempts = read_section(AttemptSettings, os.environ, problems)
    if attempts is None:
        end("\n".join(problems), UNUSABLE)
    local, remote = configured_providers(keys.supabase, keys.providers, Upstreams())
    providers = {local.name: local, **remote}
    if target not in providers:
        raise typer.BadParameter(f"{target!r} is not set up here: one of {', '.join(sorted(providers))}")
    run = Moving(
        source=source,
        target=providers[target],
        providers=providers,
        preview_required=attempts.preview_required,
        apply=apply,
        switch_now=switch_now,
        limit=limit,
    )
    done: list[MovedVoice] = []
    progress = Console(stderr=True)
    try:
        with operations(REFUSED) as project:
            for page in move_voices(project, run):
                done += page
                progress.print(f"{len(done)} voices", highlight=False)
    except SystemExit:  # the reason was told
        progress.print(f"The move stopped after {len(done)} voices, and can be repeated.")
        raise
    except KeyboardInterrupt:
        progress.print(f"Stopped after {len(done)} voices. Run the command again to continue.")
        sys.exit(INTERRUPTED)
    if json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        show(done, apply)
    sys.exit(exit_code(done) if apply else 0)


def exit_code(done: Sequence[MovedVoice]) -> int:
    outcomes = {voice.outcome for voice in done}
    return AGAIN if "later" in outcomes else REFUSED if "refused" in outcomes else 0


def show(done: Sequence[MovedVoice], applied: bool) -> None:
    console = Console()
    if not done:
        console.print("No voice is there.")
        return
    table = Table(*COLUMNS)
    for voice in done:
        table.add_row(*(str(getattr(voice, column) or "") for column in COLUMNS))
    console.print(table)
    for outcome, count in sorted(Counter(voice.outcome for voice in done).items()):
        console.print(f"{outcome}: {count} ({MEANINGS[outcome]})", markup=False, highlight=False)
    if not applied:
        console.print("Nothing was changed. Add --apply to move them.")
