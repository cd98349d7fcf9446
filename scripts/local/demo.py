"""`python -m scripts demo`: start everything, run the main job once, stop."""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from backend.settings.providers import ProviderName
from scripts.local.dev import FAULTS, cancelled_by_signal
from scripts.local.main_job import DemoError, Result, run_main_job
from scripts.local.product import running_everything
from scripts.local.sample import speak_sample
from scripts.local.speech_flow import SpeechResult, run_speech_flow
from scripts.local.supabase.stack import Stack

FlowName = Literal["reflection", "speech"]
Run = Callable[[Stack, str, Path, str | None, Path], Coroutine[Any, Any, Result | SpeechResult]]
FLOWS: dict[FlowName, Run] = {"reflection": run_main_job, "speech": run_speech_flow}


def demo(
    provider: Annotated[ProviderName, typer.Option(help="All but local are simulated.")] = "local",
    sample: Annotated[
        Path | None, typer.Option(help="A WAV recording of 3 to 60 seconds; synthesized if not given.")
    ] = None,
    flow: Annotated[FlowName, typer.Option(help="What is run: see below.")] = "reflection",
) -> None:
    """Run the main job once, on everything that it needs, and print how long each step took.

    Flows: `reflection`, from a sample to a reflection that may be launched; `speech`, from a sample and a
    text to a speech, then failures with their words, with Postgres stopped and started.

    The last line is one JSON object; `speech` in it is a WAV file in which the new voice speaks.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    Exit codes: 0 done; 1 a step failed, and the message names it; 130 interrupted.

    Example: likeness demo --provider elevenlabs --sample recording.wav
    """
    try:
        result = asyncio.run(cancelled_by_signal(run(provider, sample, FLOWS[flow])))
    except (*FAULTS, DemoError) as error:
        sys.exit(str(error))
    if result is None:
        sys.exit(130)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


async def run(provider: str, sample: Path | None, flow: Run) -> Result | SpeechResult:
    started = time.monotonic()
    async with running_everything(provider=provider) as stack:
        sys.stdout.write(f"{time.monotonic() - started:7.2f} s  everything started, at {stack.api_url}\n")
        folder = stack.directory / "demo"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        recording, transcript = await asyncio.to_thread(take_sample, sample, folder / "sample.wav")
        return await flow(stack, provider, recording, transcript, folder / f"speech-{provider}.wav")


def take_sample(sample: Path | None, target: Path) -> tuple[Path, str | None]:
    """A copy of the given recording, or a synthesized one; and its transcript if it is known."""
    if sample is None:
        return target, speak_sample(target)
    if not sample.is_file():
        raise DemoError(f"There is no file {sample}.")
    shutil.copyfile(sample, target)
    return target, None
