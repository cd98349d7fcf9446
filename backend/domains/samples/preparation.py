"""Sample preparation: a sample is inspected by content, checked against the provider's limits, and converted.

A sample is refused for what was found in it, and for nothing else: what fails on our side is
InspectionUnavailable, and the uploaded object stays for the next try. Files are on disk, never whole in
memory.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, cast
from uuid import UUID

import anyio
from msgspec import Struct, to_builtins

from backend.audio.inspect import MAX_SECONDS
from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.domains.samples.findings import check
from backend.errors import AppError, InspectionUnavailable, InvalidFormat, SampleRefused, SampleTooLarge
from backend.providers.base import Limits
from backend.sandbox.errors import InputRefused
from backend.storage.buckets import SAMPLE_BUCKET

# Content types that a client may declare; the real format is detected from the content.
EXTENSIONS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "audio/webm": "webm",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
}

KEPT_TYPES = ("audio/wav", "audio/mpeg")  # of a sample that its user sends by itself
WAV_OR_MP3 = "Send a WAV or an MP3 file."
HELP = {
    "invalid_format": "Save the recording as WAV or MP3.",
    "sample_truncated": "Upload the whole file.",
    "sample_damaged": "Save or upload the file again, from the original recording.",
    "sample_too_long": "Cut the sample.",
    "too_many_samples": "Save it with 48000 Hz and one channel.",
}


# What our own minimum leaves open: a sample may fit one provider and not another.
ANY_PROVIDER = Limits(
    min_seconds=0, max_seconds=MAX_SECONDS, max_bytes=1 << 40, min_sample_rate=0, max_characters=0
)


class PreparedSample(Struct, frozen=True, kw_only=True):
    """A sample that passed: its measures, and the size of the WAV (24 kHz, mono, 16-bit) a provider gets."""

    inspection: Inspection
    content_type: str  # of the original, by content
    bytes: int  # of the original
    wav_bytes: int


def sample_path(user_id: UUID, folder: UUID, content_type: str) -> str:
    """`folder`: the attempt that an upload is opened for, or the sample."""
    return f"{user_id}/{folder}/sample.{EXTENSIONS[content_type]}"


def prepared_path(path: str) -> str:
    """Beside the original."""
    return f"{path.rpartition('/')[0]}/prepared.wav"


def plain_content_type(content_type: str, field: str = "content_type") -> str:
    """The content type without parameters; refused where it is no kind of audio that can be cloned."""
    plain = content_type.partition(";")[0].strip().lower()
    if plain not in EXTENSIONS:
        raise InvalidFormat(
            f"{plain or 'Nothing'} is not a kind of audio that can be cloned.",
            field=field,
            help=f"One of {', '.join(EXTENSIONS)}.",
        )
    return plain


def require_wav_or_mp3(content_type: str | None) -> str:
    """What a user sends by itself is one of these, whatever else could be read."""
    if content_type not in KEPT_TYPES:
        raise InvalidFormat("This is neither WAV nor MP3.", field="file", help=WAV_OR_MP3)
    return content_type


def require_size(size: int, most: int, field: str) -> None:
    if size > most:
        raise SampleTooLarge(
            f"The sample has {size} bytes, at most {most} are taken.", field=field, extra={"limit": most}
        )


@asynccontextmanager
async def temporary_file() -> AsyncIterator[BinaryIO]:
    """A file without a name: nothing is left of it when the process ends, however it ends.

    Raises InspectionUnavailable where it cannot be made or written, as on a full or read-only disk.
    """
    try:
        file = await anyio.to_thread.run_sync(make_temporary_file)
        try:
            yield file
        finally:
            file.close()
    except OSError as error:
        raise InspectionUnavailable(internal=f"temporary file: {error.strerror or error}") from error


def make_temporary_file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


async def prepare(
    context: AppContext,
    original: BinaryIO,
    wav: BinaryIO,
    limits: Limits,
    user_id: UUID | None,
    advice: str,
) -> PreparedSample:
    """Inspect and prepare in one decoding; refuse with what was measured and what would pass."""
    size = os.fstat(original.fileno()).st_size
    if size == 0:
        raise InvalidFormat("The file is empty.", field="sample")
    try:
        inspection = await context.inspector.inspect(
            original, prepared=wav, user=user_id, max_seconds=limits.max_seconds
        )
    except InputRefused as error:
        raise from_audio(error) from error
    require_fit(inspection, limits, advice)
    return PreparedSample(
        inspection=inspection,
        content_type=inspection.content_type,
        bytes=size,
        wav_bytes=os.fstat(wav.fileno()).st_size,
    )


async def store(
    context: AppContext, file: BinaryIO, path: str, content_type: str, bucket: str = SAMPLE_BUCKET
) -> None:
    """Send the file to the bucket, from the disk. Replaces what an earlier try left there."""
    with os.fdopen(os.dup(file.fileno()), "rb") as content:  # the HTTP client closes what it was given
        content.seek(0)
        await context.storage.upload(bucket, path, content, content_type, upsert=True)


def require_fit(inspection: Inspection, limits: Limits, help: str) -> None:  # noqa: A002 - as in AppError
    """Refuses a sample with what was measured and what would pass."""
    findings = check(inspection, limits)
    if findings:
        first = findings[0]
        limit = {} if first.required is None else {"limit": first.required}
        raise SampleRefused(
            first.message,
            code=first.code,
            field=first.field,
            help=f"{first.help} {help}",
            extra={**limit, "findings": to_builtins(findings), "measures": to_builtins(inspection)},
        )


def require_movable(language: str, measures: Inspection | None, limits: Limits) -> None:
    """Raises InvalidInput where the provider would not take the sample. Null where there is none."""
    if measures is not None:
        limits.require_language(language)
        require_fit(measures, limits, "Name another provider, or record a new sample.")


def from_audio(error: InputRefused) -> AppError:
    """Unreadable audio is 400, readable but unusable audio is 422."""
    kind = {"invalid_format": InvalidFormat, "sample_too_large": SampleTooLarge}.get(
        error.code, SampleRefused
    )
    return kind(
        error.message, code=error.code, field="sample", help=HELP.get(error.code), extra=error.details
    )
