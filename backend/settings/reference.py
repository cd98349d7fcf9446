"""Settings of a self-hosted model, and their checks. It is configured twice: as pipecat and as modal."""

from typing import Literal

from msgspec import Struct

from backend.settings.sections import plain_base


class ReferenceConfig(Struct, frozen=True, kw_only=True):
    name: Literal["pipecat", "modal"]
    url: str
    api_key: str = ""
    create_seconds: float = 60.0  # of the check; what remains of the limit is for Storage
    speech_seconds: float = 120.0

    def __repr__(self) -> str:
        return f"ReferenceConfig(name={self.name!r})"  # an address may name its account

    @property
    def base(self) -> str:
        return self.url.rstrip("/").removesuffix("/synthesize")

    def problems(self) -> list[str]:
        """Every fault that would make each call fail, as a message that names its variable."""
        variable = self.name.upper()
        found = []
        url = plain_base(self.url)
        if not self.url:
            found.append(f"{variable}_URL is missing")
        elif url is None:
            found.append(f"{variable}_URL is not a plain http(s) URL")
        elif (url.hostname or "").endswith(".modal.run") and url.scheme != "https":
            found.append(f"{variable}_URL must be https: samples travel with each call")
        if self.name == "modal" and not self.api_key:
            found.append("MODAL_API_KEY is missing")
        elif self.api_key != self.api_key.strip():
            found.append(f"{variable}_API_KEY has spaces around it")
        return found
