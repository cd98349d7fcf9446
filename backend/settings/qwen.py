"""Settings of the Qwen adapter, and their checks: key, region and base URL must agree."""

import math
import re
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from backend.settings.accounts import account_names, account_problems
from backend.settings.sections import plain_base

TARGET_MODEL = "qwen3-tts-vc-2026-01-22"
REGIONS = {  # region → the shared host, and the name in the hosts of its workspaces
    "beijing": ("dashscope.aliyuncs.com", "cn-beijing"),
    "singapore": ("dashscope-intl.aliyuncs.com", "ap-southeast-1"),
}
_WORKSPACE_HOST = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.maas\.aliyuncs\.com")


class QwenConfig(Struct, frozen=True, kw_only=True):
    api_key: str
    region: str
    base_url: str | None = None  # if it is not the region's own host
    workspace_id: str | None = None
    account: str = ""  # its names, comma-separated
    target_model: str = TARGET_MODEL
    send_sample_as: Literal["signed_url", "data_url"] = "signed_url"  # data_url: Storage is out of reach
    create_seconds: float = 120.0
    call_seconds: float = 20.0
    speech_seconds: float = 60.0
    page_size: int = 100
    listing_lag_seconds: float = 15.0

    @property
    def accounts(self) -> tuple[str, ...]:
        return account_names(self.account, "qwen", self.api_key, self.workspace_id or "")

    @property
    def signed_url_seconds(self) -> int:
        """Longer than the create call, so that a fetch that Qwen queued still succeeds."""
        return max(300, math.ceil(self.create_seconds) + 60)

    def __repr__(self) -> str:
        return f"QwenConfig(region={self.region!r}, target_model={self.target_model!r})"

    @property
    def base(self) -> str:
        """The base URL of the API, without a trailing `/api/v1`."""
        if self.base_url:
            return self.base_url.rstrip("/").removesuffix("/api/v1")
        host, place = REGIONS[self.region]
        return (
            f"https://{self.workspace_id}.{place}.maas.aliyuncs.com"
            if self.workspace_id
            else f"https://{host}"
        )

    def problems(self) -> list[str]:
        """Every fault that would make each call fail, as a message that names its variable."""
        found = []
        if not self.api_key:
            found.append("QWEN_API_KEY is missing")
        elif not self.api_key.startswith("sk-") or self.api_key != self.api_key.strip():
            found.append("QWEN_API_KEY is not a key: keys start with sk- and hold no spaces")
        found += account_problems("QWEN_ACCOUNT", self.account, self.api_key)
        if not self.region:
            found.append("QWEN_REGION is missing: beijing or singapore, where the key was made")
        elif self.region not in REGIONS:
            found.append(f"QWEN_REGION {self.region!r} is unknown: beijing or singapore")
        if self.workspace_id and not re.fullmatch(r"[A-Za-z0-9-]+", self.workspace_id):
            found.append("QWEN_WORKSPACE_ID may hold letters, digits and hyphens only")
        if "realtime" in self.target_model or not self.target_model.startswith("qwen"):
            found.append(
                f"QWEN_TARGET_MODEL {self.target_model!r} does not speak over HTTP with a cloned voice"
            )
        if self.base_url:
            found += self._base_problems(self.base_url)
        return found

    def _base_problems(self, base_url: str) -> list[str]:
        url = plain_base(base_url)
        if url is None:
            return ["QWEN_BASE_URL is not a plain http(s) URL"]
        host = url.hostname or ""
        found = []
        if host.endswith(".aliyuncs.com") and url.scheme != "https":
            found.append("QWEN_BASE_URL must be https: the key travels with each call")
        workspace = _WORKSPACE_HOST.fullmatch(host)
        if self.workspace_id and workspace and workspace[1] != self.workspace_id.lower():
            found.append("QWEN_BASE_URL is the host of another workspace than QWEN_WORKSPACE_ID")
        there = region_of(base_url)
        if there is None and host.endswith(".aliyuncs.com"):
            found.append(f"QWEN_BASE_URL {host} is in no region that clones voices: Beijing or Singapore")
        elif there and self.region in REGIONS and there != self.region:
            found.append(f"QWEN_BASE_URL is in {there.title()}, QWEN_REGION says {self.region.title()}")
        return found


def region_of(base_url: str) -> str | None:
    """The region of a base URL: by its host, or by its path if it is a gateway's or the simulator's."""
    url = urlsplit(base_url)
    workspace = _WORKSPACE_HOST.fullmatch(url.hostname or "")
    for region, (host, place) in REGIONS.items():
        if url.hostname == host or (workspace and workspace[2] == place):
            return region
        if region in url.path.split("/"):
            return region
    return None
