"""Verification: anybody may send an audio file, and is told what its mark says."""

import asyncio
import re
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter

from backend.database.pool import Database
from backend.errors import InvalidInput, NotFound, RequestTimeout
from backend.provenance.formats import container_of
from backend.provenance.frames import Verification
from backend.provenance.kept_manifests import find_manifest, read_manifest
from backend.provenance.verifying import MOST_BYTES, MarkReader
from backend.web.contract import BODY, CODES, MEDIA, file_body
from backend.web.error_codes import ErrorCode as E
from backend.web.rate_limits import POLICY, RateLimits
from backend.web.request_bounds import BODY_BYTES

BODY_SECONDS = 30.0
# What may have a kept manifest: no container that holds one, or samples whose first bytes look like MP3.
MAY_BE_KEPT = {None, "audio/mpeg"}
MANIFEST_TYPE = "application/c2pa"
HASH = re.compile(r"[0-9a-fA-F]{64}")


@post(
    "/v1/verify",
    status_code=200,
    opt={
        POLICY: "verifications",
        BODY_BYTES: MOST_BYTES,
        BODY: file_body("The audio file."),
        CODES: [E.FILE_EMPTY, E.RATE_LIMITED, E.VERIFICATION_UNAVAILABLE],
    },
    tags=("provenance",),
)
async def verify_audio(
    request: Request[Any, Any, Any],
    limits: NamedDependency[RateLimits],
    mark_reader: NamedDependency[MarkReader],
    database: NamedDependency[Database],
) -> Verification:
    """The body is the file. It is read in a process without rights, and kept nowhere.

    A file that can hold no mark has the one that was kept under its hash.

    `verdict`: valid, edited, invalid, unmarked or unreadable; `explanation` says it in words.
    """
    limits.count_address(request, request.route_handler)
    async with mark_reader.place():
        try:
            async with asyncio.timeout(BODY_SECONDS):  # a slow client holds its place no longer
                audio = await request.body()
        except TimeoutError:
            raise RequestTimeout from None
        if not audio:
            raise InvalidInput(
                "The body has no audio.", code="file_empty", help="The body is the file itself."
            )
        manifest = None
        if container_of(audio) in MAY_BE_KEPT:
            manifest = await find_manifest(database.reads, audio)
        return await mark_reader.read(audio, manifest)


@get(
    "/v1/provenance/{digest:str}",
    opt={POLICY: "verifications", MEDIA: [MANIFEST_TYPE], CODES: [E.NOT_FOUND, E.RATE_LIMITED]},
    tags=("provenance",),
)
async def read_kept_manifest(
    digest: Annotated[str, PathParameter(description="SHA-256 of the audio: 64 hexadecimal digits.")],
    request: Request[Any, Any, Any],
    limits: NamedDependency[RateLimits],
    database: NamedDependency[Database],
) -> Response[bytes]:
    """The C2PA manifest of speech in a format that holds none (Opus, PCM): a reader takes it beside it.

    Anybody with the audio can compute its hash. It is kept for a year.
    """
    limits.count_address(request, request.route_handler)
    manifest = await read_manifest(database.reads, bytes.fromhex(digest)) if HASH.fullmatch(digest) else None
    if manifest is None:
        raise NotFound("No manifest is kept for such audio.")
    return Response(manifest, media_type=MANIFEST_TYPE)
