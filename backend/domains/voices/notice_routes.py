"""ElevenLabs' webhook of the account: notices about voices."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from backend.context import AppContext
from backend.domains.voices.notices import PATH, authentic_notice, take_notice
from backend.errors import SignatureRefused
from backend.web.contract import BODY, CODES, EXAMPLE, SECURITY, body_of
from backend.web.error_codes import ErrorCode as E
from backend.web.rate_limits import RateLimits

NOTICE = {
    "type": "object",
    "description": "ElevenLabs' event.",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "examples": ["voice_removed"]},
        "data": {"type": "object", "properties": {"voice_id": {"type": "string"}}},
    },
}


@post(
    PATH,
    status_code=204,
    tags=["voices"],
    opt={
        SECURITY: [{"elevenlabs": []}],
        BODY: body_of({"application/json": NOTICE}),
        EXAMPLE: {"type": "voice_removed", "data": {"voice_id": "21m00Tcm4TlvDq8ikWAM"}},
        CODES: [E.SIGNATURE_REFUSED, E.RATE_LIMITED, E.ROUTE_NOT_FOUND],
    },
)
async def take_voice_notice(
    request: Request[Any, Any, Any],
    context: NamedDependency[AppContext],
    limits: NamedDependency[RateLimits],
) -> None:
    """A voice that ElevenLabs has removed closes its gate at once. Other events change nothing."""
    limits.require_address(request)
    header = request.headers.get("elevenlabs-signature", "")
    secret = context.settings.providers.elevenlabs_webhook_secret
    try:
        signed = authentic_notice(secret, await request.body(), header)
    except SignatureRefused:
        limits.count_refusal(request)
        raise
    await take_notice(context, signed)
