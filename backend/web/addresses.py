"""Addresses that others choose: which URLs and which IP addresses an outgoing request may go to.

Docs: docs/decisions/0050-addresses-that-others-choose.md.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from msgspec import Struct
from yarl import URL

from backend.errors import InvalidInput
from backend.settings.network import Network

Address = IPv4Address | IPv6Address

MOST_CHARACTERS = 2048  # of a URL
URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")  # RFC 3986 without the fragment
LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"{LABEL}(\.{LABEL})*")
NUMERIC_LABEL = re.compile(
    r"[0-9]+|0x[0-9a-f]*"
)  # a last label that resolvers read as a part of an IPv4 address
DEFAULT_PORTS = {"https": 443, "http": 80}

# The registry of special-purpose IPv4 addresses, and multicast.
SPECIAL_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
]
# Only global unicast is public. The forms that carry an IPv4 address (mapped, compatible, NAT64) are outside
# of it, or listed here (6to4, Teredo).
PUBLIC_IPV6 = IPv6Network("2000::/3")
SPECIAL_IPV6 = [
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]


class AddressRefused(InvalidInput):
    """This address is not one that the service sends requests to."""

    code = "address_refused"
    help = "A public https address, with a host name or an IP address in its usual form, and no user in it."


class OutsideUrl(Struct, frozen=True, kw_only=True):
    """A URL of which nothing is wrong by its form. Its host is not resolved yet."""

    url: URL
    scheme: str
    host: str  # lower case; an IPv6 address without brackets
    port: int
    literal: Address | None  # where the host is an IP address


def parse_url(text: str) -> OutsideUrl:
    """Raises AddressRefused. Two parsers that disagree are no danger: the request uses these very parts."""
    if len(text) > MOST_CHARACTERS or not URL_CHARACTERS.fullmatch(text):
        raise AddressRefused("The address is too long, or has characters that a URL must not have.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("The address is not a URL.") from error
    if parts.scheme not in DEFAULT_PORTS or not text.lower().startswith(f"{parts.scheme}://"):
        raise AddressRefused("The address must begin with https://.")
    if "@" in parts.netloc:
        raise AddressRefused("The address must not have a user or a password.")
    if port == 0 or parts.netloc.endswith(":"):
        raise AddressRefused("The address has no usable port.")
    host, literal = parse_host(parts.hostname or "", bracketed="[" in parts.netloc)
    number = port or DEFAULT_PORTS[parts.scheme]
    url = URL.build(
        scheme=parts.scheme,
        authority=f"[{host}]:{number}" if ":" in host else f"{host}:{number}",
        path=parts.path or "/",
        query_string=parts.query,
        encoded=True,
    )
    return OutsideUrl(url=url, scheme=parts.scheme, host=host, port=number, literal=literal)


def parse_host(host: str, *, bracketed: bool) -> tuple[str, Address | None]:
    """A host name, or an IP address in its one usual form: no octal, hexadecimal, decimal or short form."""
    try:
        literal = ip_address(host)
    except ValueError:
        literal = None
    if literal is not None:
        if (literal.version == 6) is not bracketed or "%" in host:
            raise AddressRefused("The host is not an IP address in its usual form.")
        return str(literal), literal
    name = host.rsplit(".", 1)[-1]
    if bracketed or len(host) > 253 or not HOST_NAME.fullmatch(host) or NUMERIC_LABEL.fullmatch(name):
        raise AddressRefused("The host is neither a name nor an IP address in its usual form.")
    return host, None


def is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    return (
        address.scope_id is None
        and address in PUBLIC_IPV6
        and not any(address in network for network in SPECIAL_IPV6)
    )


def require_allowed(scheme: str, address: Address, allowed: Sequence[Network]) -> None:
    """`allowed`: networks that an operator named; http goes to no other. Raises AddressRefused."""
    if any(address in network for network in allowed):
        return
    if not is_public(address):
        raise AddressRefused("The address is not a public one.", internal=f"refused {address}")
    if scheme != "https":
        raise AddressRefused("The address must begin with https://.")


def require_possible(outside: OutsideUrl, allowed: Sequence[Network]) -> None:
    """What can be said of an address before its host is resolved. Raises AddressRefused."""
    if outside.literal is not None:
        require_allowed(outside.scheme, outside.literal, allowed)
    elif outside.scheme != "https" and not allowed:
        raise AddressRefused("The address must begin with https://.")
