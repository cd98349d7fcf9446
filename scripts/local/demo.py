"""`python -m scripts demo`: start everything, run the main job once, stop."""

import asyncio
import shutil
import sys
import wave
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console

from backend.settings.providers import ProviderName
from scripts.local.dev import FAULTS, cancelled_by_signal
from scripts.local.main_job import DemoError, Result, Steps, run_main_job
from scripts.local.product import running_everything
from scripts.local.sample import speak_sample
from scripts.local.speech_flow import SpeechResult, run_speech_flow
from scripts.local.supabase.stack import Stack

FlowName = Literal["reflection", "speech"]
Run = Callable[[Stack, str, Path, str | None, Path], Coroutine[Any, Any, Result | SpeechResult]]
FLOWS: dict[FlowName, Run] = {"reflection": run_main_job, "speech": run_speech_flow}
LEAST_SECONDS, MOST_SECONDS = 3, 60


def demo(
    provider: Annotated[
        ProviderName, typer.Option(help="Simulated, unless its key is in the environment.")
    ] = "local",
    sample: Annotated[
        Path | None, typer.Option(help="A WAV recording of 3 to 60 seconds; synthesized if not given.")
    ] = None,
    flow: Annotated[FlowName, typer.Option(help="What is run: see below.")] = "reflection",
    json: Annotated[bool, typer.Option("--json", help="The last line is JSON, on a terminal too.")] = False,
) -> None:
    """Run the main job once, on everything that it needs, and print how long each step took.

    Flows: `reflection`, from a sample to a reflection that may be launched; `speech`, from a sample and a
    text to a speech, then failures with their words, with Postgres stopped and started.

    With QWEN_API_KEY (and QWEN_REGION), ELEVENLABS_API_KEY, CARTESIA_API_KEY, PIPECAT_URL or MODAL_URL in
    the environment the provider of that name is the real one; its voice is removed there at the end.

    Where the output is no terminal, the last line is one JSON object; `speech` in it is a WAV file in which
    the new voice speaks.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    Exit codes: 0 done; 1 a step failed, and the message names it; 130 interrupted.

    Example: likeness demo --provider elevenlabs --sample recording.wav
    """
    try:
        if sample:
            check_sample(sample)
        result = asyncio.run(cancelled_by_signal(run(provider, sample, FLOWS[flow])))
    except (*FAULTS, DemoError) as error:
        sys.exit(str(error))
    if result is None:
        sys.exit(130)
    if json or not sys.stdout.isatty():
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    else:
        invite(result)


async def run(provider: ProviderName, sample: Path | None, flow: Run) -> Result | SpeechResult:
    with Steps() as steps:
        return await start_and_run(steps, provider, sample, flow)


async def start_and_run(
    steps: Steps, provider: ProviderName, sample: Path | None, flow: Run
) -> Result | SpeechResult:
    steps.doing("Starting Postgres, Auth, Data API, Storage, the service and the consumers")
    async with running_everything(provider=provider) as stack:
        steps.done(f"everything started, at {stack.api_url}; provider: {stack.provider}")
        folder = stack.directory / "demo"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        recording, transcript = await asyncio.to_thread(take_sample, sample, folder / "sample.wav")
        return await flow(stack, provider, recording, transcript, folder / f"speech-{provider}.wav")


def check_sample(sample: Path) -> None:
    """Raises DemoError where the service would refuse the file for its form."""
    try:
        with wave.open(str(sample)) as file:
            seconds = file.getnframes() / file.getframerate()
    except OSError as error:
        raise DemoError(f"{sample} cannot be read: {error.strerror}.") from error
    except (EOFError, wave.Error) as error:
        raise DemoError(f"{sample} is no WAV file with PCM samples: {error or 'it is cut off'}.") from error
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise DemoError(f"{sample} lasts {seconds:.1f} s; {LEAST_SECONDS} to {MOST_SECONDS} s are needed.")


def take_sample(sample: Path | None, target: Path) -> tuple[Path, str | None]:
    """A copy of the given recording, or a synthesized one; and its transcript if it is known."""
    if sample is None:
        return target, speak_sample(target)
    shutil.copyfile(sample, target)
    return target, None


def invite(result: Result | SpeechResult) -> None:
    """What there is to listen to."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nDone in {result.seconds:.1f} s. Listen to:")
    console.print(f"  [bold]{result.sample}[/]  the sample")
    console.print(f"  [bold]{result.speech}[/]  the new voice, of {result.provider}")
