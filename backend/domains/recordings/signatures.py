"""The signature of a Twilio callback: HMAC-SHA1 of the public address and the sorted form.

The address is the one that Twilio calls: it is made of a setting and of the query, and no header says it.
"""

import hmac
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80}
Form = Sequence[tuple[str, str]]


def is_signed(signature: str, auth_token: str, url: str, form: Form) -> bool:
    """Twilio may sign the default port of an address, or leave it out."""
    given = signature.encode()
    return any(hmac.compare_digest(given, sign(auth_token, each, form).encode()) for each in with_ports(url))


def sign(auth_token: str, url: str, form: Form) -> str:
    values: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in form:
        values[name].add(value)
    signed = url + "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    return b64encode(hmac.digest(auth_token.encode(), signed.encode(), "sha1")).decode()


def with_ports(url: str) -> list[str]:
    """The address with and without its port, where that is the default one."""
    parts = urlsplit(url)
    default = PORTS[parts.scheme]
    if parts.port not in (None, default):
        return [url]
    bare = parts.netloc.removesuffix(f":{default}")
    return [parts._replace(netloc=netloc).geturl() for netloc in (bare, f"{bare}:{default}")]
