"""Whether a voice provider can fetch from the project, told by the addresses alone: no call is made."""

import ipaddress
from urllib.parse import urlsplit

PRIVATE_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")


def is_public(url: str) -> bool:
    """Not where the URL is malformed, a fault that its own setting tells."""
    try:
        return is_public_host(urlsplit(url).hostname or "")
    except ValueError:
        return False


def is_public_host(host: str) -> bool:
    """No loopback or private address, and no name that only a private network knows."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(PRIVATE_NAMES)


def can_fetch(provider_url: str, project_url: str) -> bool:
    """A provider in a private network, such as a self-hosted one, is taken to reach the project there."""
    return is_public(project_url) or not is_public(provider_url)
