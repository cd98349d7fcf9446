"""Settings of the Cartesia adapter, and their checks."""

from msgspec import Struct

from backend.settings.accounts import account_names, account_problems
from backend.settings.sections import plain_base

HOST = "api.cartesia.ai"
API_VERSION = "2026-08-14"  # errors are JSON since 2026-03-01


class CartesiaConfig(Struct, frozen=True, kw_only=True):
    api_key: str
    base_url: str = f"https://{HOST}"
    model_id: str = "sonic-3.5"
    account: str = ""  # its names, comma-separated
    create_seconds: float = 120.0
    call_seconds: float = 20.0
    speech_seconds: float = 120.0
    page_size: int = 100
    listing_lag_seconds: float = 15.0

    def __repr__(self) -> str:
        return f"CartesiaConfig(base_url={self.base_url!r}, model_id={self.model_id!r})"

    @property
    def accounts(self) -> tuple[str, ...]:
        return account_names(self.account, "cartesia", self.api_key)

    @property
    def base(self) -> str:
        return self.base_url.rstrip("/")

    def problems(self) -> list[str]:
        """Every fault that would make each call fail, as a message that names its variable."""
        found = []
        if not self.api_key:
            found.append("CARTESIA_API_KEY is missing")
        elif self.api_key != self.api_key.strip():
            found.append("CARTESIA_API_KEY has spaces around it")
        found += account_problems("CARTESIA_ACCOUNT", self.account, self.api_key)
        url = plain_base(self.base_url)
        host = (url and url.hostname) or ""
        if url is None:
            found.append("CARTESIA_BASE_URL is not a plain http(s) URL")
        elif host.endswith("cartesia.ai") and url.scheme != "https":
            found.append("CARTESIA_BASE_URL must be https: the key travels with each call")
        elif host.endswith("cartesia.ai") and host != HOST:
            found.append(f"CARTESIA_BASE_URL {host} is unknown: {HOST}")
        if not self.model_id:
            found.append("CARTESIA_MODEL_ID is missing")
        return found
