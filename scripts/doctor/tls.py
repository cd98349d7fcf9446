"""TLS of the addresses: encrypted where others could listen, with a certificate that clients accept."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg

from backend.checks.findings import Finding, good
from backend.checks.requests import SECONDS
from backend.settings.reach import is_public_host

SOON = timedelta(days=14)
REASONS = [  # what OpenSSL says, and what to do
    ("has expired", "Renew the certificate, and look why it was not renewed by itself"),
    ("not yet valid", "Synchronise the clocks, or wait until the certificate is valid"),
    ("mismatch", "Get a certificate for this name, or use the name that it is for"),
    (
        "self-signed|self signed|unable to get",
        "Let the server send the whole chain of a public authority; for an authority of your own set"
        " SSL_CERT_FILE here and for the processes",
    ),
]


def check_tls(setting: str, url: str) -> Iterator[Finding]:
    """Nothing where there is no connection, which others say."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        if is_public_host(host):
            yield Finding(
                part="tls",
                found=f"{setting} is not https: keys and tokens travel readable",
                remedy=f"Use https://{host}",
            )
        return
    try:
        ends = certificate_end(host, parts.port or 443)
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message.rstrip(".")
        yield Finding(part="tls", found=f"{setting}: {host}: {said}", remedy=remedy_of(said))
    except ssl.SSLError:
        yield Finding(
            part="tls",
            found=f"{setting}: {host} speaks no TLS at port {parts.port or 443}",
            remedy=f"Correct the port of {setting}, or let the proxy in front of it end TLS there",
        )
    except OSError:
        return
    else:
        yield judge_end(setting, host, ends, datetime.now(UTC))


def certificate_end(host: str, port: int) -> datetime:
    context = ssl.create_default_context()
    with (
        socket.create_connection((host, port), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        certificate = encrypted.getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def judge_end(setting: str, host: str, ends: datetime, now: datetime) -> Finding:
    if ends - now < SOON:
        return Finding(
            part="tls",
            state="warning",
            found=f"{setting}: the certificate of {host} ends on {ends:%Y-%m-%d}",
            remedy="Renew it, and look why it was not renewed by itself",
        )
    return good("tls", f"{host}, until {ends:%Y-%m-%d}")


def remedy_of(said: str) -> str:
    for words, remedy in REASONS:
        if any(word in said for word in words.split("|")):
            return remedy
    return "Correct the certificate of this server"


def check_encryption(connection: psycopg.Connection) -> Iterator[Finding]:
    """Of the connection to Postgres."""
    host = connection.info.host
    if is_public_host(host) and not connection.pgconn.ssl_in_use:
        yield unencrypted(host)


def unencrypted(host: str) -> Finding:
    return Finding(
        part="tls",
        found=f"DATABASE_URL: the connection to {host} is not encrypted",
        remedy="Add sslmode=require to DATABASE_URL, or verify-full with sslrootcert",
    )
