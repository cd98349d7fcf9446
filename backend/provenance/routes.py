"""Verification: anybody may send an audio file, and is told what its mark says."""

import asyncio
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from backend.error_codes import ErrorCode as E
from backend.errors import InvalidInput, RequestTimeout
from backend.provenance.frames import Verification
from backend.provenance.verifying import MOST_BYTES, MarkReader
from backend.web.contract import BODY, CODES, NO_DATABASE, file_body
from backend.web.rate_limits import POLICY, RateLimits
from backend.web.request_bounds import BODY_BYTES

BODY_SECONDS = 30.0


@post(
    "/v1/verify",
    status_code=200,
    opt={
        POLICY: "verifications",
        BODY_BYTES: MOST_BYTES,
        BODY: file_body("The audio file."),
        NO_DATABASE: True,
        CODES: [E.FILE_EMPTY, E.RATE_LIMITED, E.VERIFICATION_UNAVAILABLE],
    },
    tags=("provenance",),
)
async def verify_audio(
    request: Request[Any, Any, Any],
    limits: NamedDependency[RateLimits],
    mark_reader: NamedDependency[MarkReader],
) -> Verification:
    """The body is the file. It is read in a process without rights, and kept nowhere.

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
        return await mark_reader.read(audio)
