"""Notices of ElevenLabs about voices. One that says that a voice was removed closes its gate at once.

ElevenLabs' documentation of webhooks: `ElevenLabs-Signature` is `t=SECONDS,v0=HEX`, the HMAC-SHA256 of
`SECONDS.BODY` with the webhook's secret.
"""

import hmac
import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import MalformedBody, RouteNotFound, SignatureRefused
from backend.providers.base import VoiceProvider
from backend.web.logs import log

queries = load_queries(__file__)
PATH = "/elevenlabs/voices"
MOST_SECONDS = 30 * 60  # between the signature and its arrival; as ElevenLabs' own clients allow
REMOVED = "voice_removed"
ANNOUNCED = {"voice_removal_notice", "voice_removal_notice_withdrawn"}
HELP = "ELEVENLABS_WEBHOOK_SECRET must be the secret of the webhook at ElevenLabs, and the clocks must agree."


class NoticedVoice(Struct, frozen=True):
    voice_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class VoiceNotice(Struct, frozen=True):
    """Other fields are left out: ElevenLabs adds some without notice."""

    type: Annotated[str, Meta(max_length=100)]
    data: NoticedVoice = NoticedVoice()


class Signed(Struct, frozen=True):
    notice: VoiceNotice
    at: int  # seconds since 1970, when it was signed


def authentic_notice(secret: str, body: bytes, header: str) -> Signed:
    """Raises RouteNotFound without a secret, SignatureRefused, MalformedBody."""
    if not secret:
        raise RouteNotFound
    fields = {name: value for name, _, value in (part.partition("=") for part in header.split(",", 8)[:8])}
    seconds, given = fields.get("t", ""), fields.get("v0", "")
    expected = hmac.digest(secret.encode(), seconds.encode() + b"." + body, "sha256").hex()
    is_signed = hmac.compare_digest(expected.encode(), given.encode())
    if not is_signed or not seconds.isdecimal() or abs(time.time() - int(seconds)) > MOST_SECONDS:
        raise SignatureRefused("The signature is not of this webhook, or it is old.", help=HELP)
    try:
        return Signed(msgspec.json.decode(body, type=VoiceNotice), int(seconds))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MalformedBody("The body is no notice about a voice.") from None


async def take_notice(context: AppContext, signed: Signed) -> None:
    """Safe to run twice, and late: a voice that became ready after the signature is kept."""
    provider, notice = context.providers.get("elevenlabs"), signed.notice
    voice = notice.data.voice_id
    if notice.type not in {REMOVED, *ANNOUNCED} or provider is None or voice is None:
        log.info("voice_notice_ignored", type=notice.type)
        return
    lost = await lose(context, provider, voice, signed.at) if notice.type == REMOVED else None
    log.warning("voice_noticed", type=notice.type, provider_voice_id=voice, voices=lost)


async def lose(context: AppContext, provider: VoiceProvider, voice: str, at: int) -> int:
    """How many voices of ours spoke with it."""
    values: dict[str, Any] = {
        "provider": provider.name, "region": provider.region, "accounts": list(provider.accounts),
        "voice": voice, "at": at,
    }  # fmt: skip
    return await context.database.fetch_value(queries.lose, values, of=int) or 0
