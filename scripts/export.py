"""`likeness export`: everything that is held about a person, as a ZIP with the hash of each file."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import msgspec
import typer
from msgspec import Struct

from backend.errors import AppError
from backend.settings.sections import sound_section
from backend.settings.supabase import SupabaseSettings
from backend.storage.buckets import (
    EMPLOYEE_FILE_BUCKET,
    PREVIEW_BUCKET,
    RECORDING_BUCKET,
    SAMPLE_BUCKET,
    SPEECH_BUCKET,
)
from backend.storage.client import Storage
from backend.web.timestamps import utc_text
from backend.web.upstreams import Upstreams
from scripts.operations import operations

BUCKETS = {
    "user": (SAMPLE_BUCKET, PREVIEW_BUCKET, SPEECH_BUCKET),
    "employee": (SAMPLE_BUCKET, PREVIEW_BUCKET, RECORDING_BUCKET, EMPLOYEE_FILE_BUCKET),
}
MISSING = 1  # the exit code


class Kind(StrEnum):
    user = "user"
    employee = "employee"


class Exported(Struct, frozen=True):
    """A file in the ZIP. `sha256` is null where Storage lists an object that it does not give."""

    name: str
    bytes: int
    sha256: str | None


def export(
    kind: Annotated[Kind, typer.Argument(help="About whom.")],
    subject: Annotated[UUID, typer.Argument(help="The id of the user or employee.")],
    output: Annotated[Path | None, typer.Option(help="The ZIP; without it, KIND-ID.zip here.")] = None,
) -> None:
    """Write everything that is held about a user or an employee to a ZIP. Changes nothing.

    The ZIP has a JSON file for each table, each recording, preview and speech, and manifest.json with the
    SHA-256 of each file. A run that is interrupted leaves no ZIP.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY; DATABASE_URL of the owner where the Data API is not used.

    Exit codes: 0 complete; 1 a file is missing in Storage, or the project cannot be reached; 2 wrong usage.

    Example: likeness export user 3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11 --output ada.zip
    """
    settings = sound_section(SupabaseSettings, os.environ)
    if settings is None:
        raise typer.BadParameter("set SUPABASE_URL and SUPABASE_SECRET_KEY: the files are in Storage")
    target = output or Path(f"{kind}-{subject}.zip")
    with operations() as project:
        tables = project.value("held", kind=kind.value, subject=str(subject))
    part = target.with_name(f"{target.name}.part")
    try:
        with ZipFile(part, "w", ZIP_DEFLATED) as archive:
            done = [write_table(archive, name, rows or []) for name, rows in sorted(tables.items())]
            done += asyncio.run(write_objects(archive, settings, kind, subject))
            manifest = {
                "kind": kind,
                "subject": subject,
                "exported_at": utc_text(datetime.now(UTC)),
                "files": done,
            }
            archive.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
        part.replace(target)
    except AppError as error:
        sys.exit(f"Storage could not be read: {error}")
    finally:
        part.unlink(missing_ok=True)
    missing = [each.name for each in done if each.sha256 is None]
    sys.stdout.write(f"{target}: {len(done)} files, {sum(each.bytes for each in done)} bytes\n")
    for name in missing:
        sys.stderr.write(f"missing in Storage: {name}\n")
    sys.exit(MISSING if missing else 0)


def write_table(archive: ZipFile, name: str, rows: Any) -> Exported:
    text = msgspec.json.format(msgspec.json.encode(rows))
    archive.writestr(f"data/{name}.json", text)
    return Exported(f"data/{name}.json", len(text), hashlib.sha256(text).hexdigest())


async def write_objects(
    archive: ZipFile, settings: SupabaseSettings, kind: Kind, subject: UUID
) -> list[Exported]:
    upstreams = Upstreams()
    storage = Storage(settings, upstreams.storage)
    done: list[Exported] = []
    async with upstreams:
        for bucket in BUCKETS[kind]:
            async for path in storage.walk(bucket, str(subject)):
                done.append(await write_object(archive, storage.stream(bucket, path), f"{bucket}/{path}"))
                sys.stderr.write(f"{done[-1].name}: {done[-1].bytes} bytes\n")
    return done


async def write_object(archive: ZipFile, chunks: AsyncIterator[bytes], name: str) -> Exported:
    """Audio is stored as it is, because it hardly becomes smaller."""
    digest, size = hashlib.sha256(), 0
    try:
        first = await anext(chunks, b"")
    except AppError:
        return Exported(name, 0, None)
    entry = ZipInfo(name, datetime.now(UTC).timetuple()[:6])
    with archive.open(entry, "w") as file:
        file.write(first)
        digest.update(first)
        size += len(first)
        async for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return Exported(name, size, digest.hexdigest())
