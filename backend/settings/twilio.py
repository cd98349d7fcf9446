"""Settings of Twilio, whose callbacks name the recordings of calls. Without them its route answers 404."""

import re
from collections.abc import Iterator

from msgspec import field

from backend.settings.sections import Count, Section, derive, plain_base

ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
AUTH_TOKEN_LENGTH = 32  # characters


class TwilioSettings(Section, frozen=True, kw_only=True):
    public_url: str = field(name="PUBLIC_URL", default="")  # at which others reach the service
    account_sid: str = field(name="TWILIO_ACCOUNT_SID", default="")
    auth_token: str = field(name="TWILIO_AUTH_TOKEN", default="")
    api_url: str = field(name="TWILIO_API_URL", default="https://api.twilio.com")  # of the account's region
    max_recording_bytes: Count = field(name="MAX_RECORDING_BYTES", default=50 * 1024 * 1024)

    def __post_init__(self) -> None:
        derive(self, public_url=self.public_url.rstrip("/"), api_url=self.api_url.rstrip("/"))

    @property
    def is_configured(self) -> bool:
        return bool(self.account_sid)

    def problems(self) -> Iterator[str]:
        if self.public_url and plain_base(self.public_url) is None:
            yield "PUBLIC_URL is not a plain http(s) URL"
        if plain_base(self.api_url) is None:
            yield "TWILIO_API_URL is not a plain http(s) URL"
        if not self.account_sid and not self.auth_token:
            return
        if not ACCOUNT_SID.fullmatch(self.account_sid):
            yield "TWILIO_ACCOUNT_SID is not the SID of an account: AC and 32 hexadecimal digits"
        if len(self.auth_token) < AUTH_TOKEN_LENGTH:
            yield f"TWILIO_AUTH_TOKEN is missing or too short: it has {AUTH_TOKEN_LENGTH} characters"
        if not self.public_url:
            yield "PUBLIC_URL is missing: Twilio signs the address that it calls"
