"""A callback of Twilio about a recording: read after its signature is checked, and stored as a row."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.recordings.signatures import Form, is_signed
from backend.errors import InvalidInput, MalformedBody, RouteNotFound, SignatureRefused
from backend.settings.twilio import TwilioSettings
from backend.web.logs import log

queries = load_queries(__file__)
PATH = "/twilio/voice/recording"
MOST_FIELDS = 100
EARLIEST = datetime(2008, 1, 1, tzinfo=UTC)
HELP = "The callback's address must begin with PUBLIC_URL, and TWILIO_AUTH_TOKEN must be the account's."


class RecordingCallback(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Other fields are left out: Twilio adds some without notice."""

    account_sid: Annotated[str, Meta(pattern="^AC[0-9a-fA-F]{32}$")]
    call_sid: Annotated[str, Meta(pattern="^CA[0-9a-fA-F]{32}$")]
    recording_sid: Annotated[str, Meta(pattern="^RE[0-9a-fA-F]{32}$")]
    recording_status: Literal["in-progress", "completed", "absent", "failed"]
    recording_url: Annotated[str, Meta(max_length=2048)] = ""
    recording_duration: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    recording_channels: Annotated[int, Meta(ge=1, le=100)] | None = None
    recording_start_time: str | None = None


class Received(Struct, frozen=True, kw_only=True):
    recording_id: UUID
    status: str
    is_new: bool


def authentic_form(settings: TwilioSettings, body: bytes, query: str, signature: str) -> Form:
    """The fields, once the signature is checked. Raises SignatureRefused, RouteNotFound, MalformedBody."""
    if not settings.is_configured:
        raise RouteNotFound
    try:
        form = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise MalformedBody("The body is not a form, or has too many fields.") from None
    url = f"{settings.public_url}{PATH}" + (f"?{query}" if query else "")
    if not is_signed(signature, settings.auth_token, url, form):
        raise SignatureRefused(help=HELP)
    return form


async def receive(context: AppContext, form: Form, organization: UUID | None) -> Received | None:
    """None where there is nothing to fetch: a recording that has not ended, or failed. Safe to run twice."""
    callback = read_callback(context.settings.twilio, form)
    if callback.recording_status != "completed":
        return None
    parameters = {
        "account_sid": callback.account_sid,
        "call_sid": callback.call_sid,
        "recording_sid": callback.recording_sid,
        "recorded_at": started_at(callback.recording_start_time),
        "seconds": callback.recording_duration,
        "channels": callback.recording_channels,
        "organization": organization,
    }
    received = required(await context.database.fetch_one(queries.receive, parameters, row=Received))
    log.info(
        "recording_received",
        recording_id=str(received.recording_id),
        status=received.status,
        is_new=received.is_new,
    )
    return received


def read_callback(settings: TwilioSettings, form: Form) -> RecordingCallback:
    """Raises SignatureRefused for another account, InvalidInput for an address that is not the account's."""
    fields = {name: value for name, value in form if value}
    try:
        callback = msgspec.convert(fields, RecordingCallback, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error
    if callback.account_sid != settings.account_sid:
        raise SignatureRefused(help=HELP)
    if callback.recording_url and callback.recording_url not in media_urls(settings, callback.recording_sid):
        raise InvalidInput(
            "The recording is not at the account's own media host.",
            code="recording_url_refused",
            field="RecordingUrl",
            help="TWILIO_API_URL is the host of the account's region.",
        )
    return callback


def media_urls(settings: TwilioSettings, recording_sid: str) -> tuple[str, str]:
    """The address of a recording, without and with the format. It is requested, never the callback's own."""
    url = f"{settings.api_url}/2010-04-01/Accounts/{settings.account_sid}/Recordings/{recording_sid}"
    return url, f"{url}.wav"


def started_at(text: str | None) -> datetime | None:
    """RFC 2822. None where it is missing, unreadable or impossible: then the callback's arrival counts."""
    try:
        found = parsedate_to_datetime((text or "")[:64])
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found if EARLIEST < found <= datetime.now(UTC) else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
