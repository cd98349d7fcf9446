"""`python -m scripts verify FILE`: read the mark of an audio file."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from backend.provenance.frames import Verification
from backend.provenance.verifying import MarkReader
from scripts.trust import trust_files

MOST_BYTES = 200 * 1024 * 1024
NOT_VALID = 1  # the exit codes
UNUSABLE = 2


def verify(
    file: Annotated[Path, typer.Argument(help="A WAV, MP3, FLAC or M4A file; any with --manifest.")],
    manifest: Annotated[
        Path | None, typer.Option(help="What is kept beside the file: GET /v1/provenance/{its SHA-256}.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(help="PEM of the roots to trust.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read the mark of an audio file: is it as it was signed, who signed it, and what does it say?

    Needs: nothing of the service. Roots are those of --trust, or of C2PA_TRUST_FILE and
    C2PA_CERTIFICATE_FILE.

    Exit codes: 0 valid; 1 edited, invalid, unmarked or unreadable; 2 a file could not be opened.

    Example: likeness verify speech.wav
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            sys.exit(f"{file} is larger than {MOST_BYTES} bytes.")
        beside = manifest.read_bytes() if manifest else None
        finding = asyncio.run(read(file.read_bytes(), beside, anchors(trust)))
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        sys.exit(UNUSABLE)
    if json:
        sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
    else:
        show(finding)
    sys.exit(0 if finding.verdict == "valid" else NOT_VALID)


def anchors(trust: Path | None) -> str:
    return "\n".join(path.read_text() for path in trust_files(trust))


async def read(audio: bytes, manifest: bytes | None, roots: str) -> Verification:
    reader = MarkReader(roots, memory_bytes=1 << 30)
    try:
        return await reader.read(audio, manifest)
    finally:
        await reader.aclose()


def show(finding: Verification) -> None:
    console = Console(highlight=False)
    console.print(f"{finding.verdict}: {finding.explanation}", markup=False, soft_wrap=True)
    if finding.signed_by is None:
        return
    signer = finding.signed_by
    trusted = "trusted" if signer.is_trusted else "not trusted: anybody may have made this certificate"
    said = {
        "signed by": f"{signer.name or '?'}, {signer.organization or '?'} ({trusted})",
        "made with": finding.generator,
        "source type": finding.source_type,
        "provider": " ".join(filter(None, (finding.provider, finding.model))),
        "made at": finding.made_at,
        "time stamp": finding.stamped_at,
    }
    for name, value in said.items():
        if value:
            console.print(f"{name}: {printable(value)}", markup=False, soft_wrap=True)


def printable(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)
