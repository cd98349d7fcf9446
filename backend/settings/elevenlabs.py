"""Settings of the ElevenLabs adapter, and their checks."""

from msgspec import Struct

from backend.settings.accounts import account_names, account_problems
from backend.settings.sections import plain_base

HOSTS = {  # host → region in which the data stays
    "api.elevenlabs.io": "global",
    "api.us.elevenlabs.io": "us",
    "api.eu.residency.elevenlabs.io": "eu",
    "api.in.residency.elevenlabs.io": "in",
    "api.sg.residency.elevenlabs.io": "sg",
}


class ElevenLabsConfig(Struct, frozen=True, kw_only=True):
    api_key: str
    base_url: str = "https://api.elevenlabs.io"
    model_id: str = "eleven_multilingual_v2"
    account: str = ""  # its names, comma-separated
    output_format: str = "pcm_24000"
    create_seconds: float = 120.0
    call_seconds: float = 20.0
    speech_seconds: float = 120.0
    page_size: int = 100
    listing_lag_seconds: float = 15.0

    def __repr__(self) -> str:
        return f"ElevenLabsConfig(region={self.region!r}, model_id={self.model_id!r})"

    @property
    def accounts(self) -> tuple[str, ...]:
        return account_names(self.account, "elevenlabs", self.api_key)

    @property
    def base(self) -> str:
        return self.base_url.rstrip("/").removesuffix("/v1")

    @property
    def region(self) -> str | None:
        url = plain_base(self.base_url)
        return HOSTS.get(url.hostname or "") if url else None

    def problems(self) -> list[str]:
        """Every fault that would make each call fail, as a message that names its variable."""
        found = []
        if not self.api_key:
            found.append("ELEVENLABS_API_KEY is missing")
        elif self.api_key != self.api_key.strip():
            found.append("ELEVENLABS_API_KEY has spaces around it")
        found += account_problems("ELEVENLABS_ACCOUNT", self.account, self.api_key)
        url = plain_base(self.base_url)
        host = (url and url.hostname) or ""
        if url is None:
            found.append("ELEVENLABS_BASE_URL is not a plain http(s) URL")
        elif host.endswith("elevenlabs.io") and url.scheme != "https":
            found.append("ELEVENLABS_BASE_URL must be https: the key travels with each call")
        elif host.endswith("elevenlabs.io") and host not in HOSTS:
            found.append(f"ELEVENLABS_BASE_URL {host} is unknown: one of {', '.join(HOSTS)}")
        if not self.model_id:
            found.append("ELEVENLABS_MODEL_ID is missing")
        return found
