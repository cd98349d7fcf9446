"""The address of the service: can the service listen there, and do consumers reach it?"""

import errno
import socket
from collections.abc import Iterator

from backend.checks.findings import Finding, good
from backend.checks.requests import Unreachable, send
from backend.settings.server import ServerSettings

CHECK_PATH = "/internal/check"


def check_port(server: ServerSettings) -> Iterator[Finding]:
    """Listens there for a moment. Without SO_REUSEPORT, so that two services never share a port unnoticed."""
    if server.port == 0:
        return
    try:
        host = resolve_host(server)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, server.port))
            probe.listen()
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        yield Finding(
            part="port",
            found=f"{server.address} is taken by another process"
            if is_taken
            else f"{server.address}: {error.strerror or error}",
            remedy="Stop that process, or set PORT to another" if is_taken else "Correct HOST and PORT",
            prevents_start=True,
        )


def resolve_host(server: ServerSettings) -> str:
    """The address of HOST, which may be a name such as localhost; OSError where it has none."""
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    return next((each for each in addresses if ":" not in each), addresses[0])


def check_service(url: str, internal_token: str) -> Iterator[Finding]:
    """From where consumers call it: does it answer, and does it accept the internal token?"""
    try:
        answer = send("GET", f"{url}{CHECK_PATH}", {"authorization": f"Bearer {internal_token}"})
    except Unreachable as error:
        yield Finding(
            part="service",
            found=f"{url} cannot be reached: {error}",
            remedy="Start `likeness serve`, and set SERVICE_URL to where it listens",
        )
        return
    if answer.status == 401:
        yield Finding(
            part="service",
            found=f"{url} refuses INTERNAL_TOKEN",
            remedy="Give the service and the consumers the same INTERNAL_TOKEN",
            prevents_start=True,
        )
    elif answer.status != 204:
        yield Finding(
            part="service",
            found=f"{url} answers with HTTP {answer.status}, and not as this service",
            remedy="Set SERVICE_URL to the address of the service, and run the same release of both",
        )
    else:
        yield good("service", url)


def check_health(url: str) -> Iterator[Finding]:
    """The parts that the service itself finds wanting."""
    try:
        answer = send("GET", f"{url}/health/ready").json()
    except Unreachable:
        return  # check_service says it
    parts = answer if isinstance(answer, dict) else {}
    for part in ("database", "storage"):
        if (state := str(parts.get(part, "ok"))) != "ok":
            yield Finding(
                part="service",
                found=f"{url}/health/ready says {part}: {state}",
                remedy=f"Compare the settings of the running service for its {part} with these",
            )
