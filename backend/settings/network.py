"""Settings of requests to addresses that others choose."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec import field

from backend.settings.sections import Section

Network = IPv4Network | IPv6Network


class NetworkSettings(Section, frozen=True, kw_only=True):
    allowed_private_networks: str = field(name="ALLOWED_PRIVATE_NETWORKS", default="")  # comma-separated

    @property
    def allowed(self) -> Sequence[Network]:
        return parse_networks(self.allowed_private_networks)

    def problems(self) -> Iterator[str]:
        try:
            parse_networks(self.allowed_private_networks)
        except ValueError as error:
            yield f"ALLOWED_PRIVATE_NETWORKS {error}"


def parse_networks(text: str) -> list[Network]:
    """Of a comma-separated list. Raises ValueError."""
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]
