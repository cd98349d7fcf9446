"""Requests to addresses that others choose: refused before any byte leaves, or sent to what was checked."""

import asyncio
import contextlib
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from backend.web.addresses import AddressRefused, is_public, parse_url
from backend.web.guarded_http import BodyTooLarge, GuardedHttp, Redirected
from backend.web.http_client import FAILURES, NEVER_SENT
from tests.backend.name_server import NameServer, name_server

SECRET = {"authorization": "Basic c2VjcmV0"}
LOOPBACK = [ip_network("127.0.0.0/8")]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Recorded:
    """A server of raw connections, with what each of them sent."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0


@asynccontextmanager
async def recorded(
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    then: Serve | None = None,
) -> AsyncIterator[Recorded]:
    made = Recorded()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            made.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if then is not None:
                await then(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, host, 0, ssl=tls) as listening:
        made.port = listening.sockets[0].getsockname()[1]
        yield made


async def fetch(client: GuardedHttp, url: str, most: int = 100) -> bytes:
    async with client.request("GET", url, headers=SECRET) as response:
        return await response.read(most)


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        yield server


REFUSED_FORMS = [
    "file:///etc/passwd",
    "gopher://media.test:{port}/",
    "ftp://media.test/",
    "http://media.test:{port}/",
    "http://8.8.8.8/",
    "https:/media.test/",
    "https:media.test",
    "//media.test/",
    "https://",
    "https://:443/",
    "https://media.test:/",
    "https://media.test:0/",
    "https://media.test:65536/",
    "https://media.test:443:443/",
    "https://ada@media.test/",
    "https://ada:secret@media.test/",
    "https://media.test@127.0.0.1:{port}/",
    "https://media.test\\@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}#@media.test/",
    "https://media.test/ a",
    "https://media.test/\r\nhost: a",
    "https://médiа.test/",
    "https://%6dedia.test/",
    "https://media..test/",
    "https://media.test./",
    "https://-media.test/",
    "https://" + "a" * 2050 + ".test/",
    "https://127.0.0.1:{port}/",
    "https://127.1:{port}/",
    "https://127.0.1:{port}/",
    "https://2130706433:{port}/",
    "https://0x7f000001:{port}/",
    "https://0x7f.0.0.1:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://017700000001:{port}/",
    "https://127.0.0.01:{port}/",
    "https://0:{port}/",
    "https://0.0.0.0:{port}/",
    "https://[::1]:{port}/",
    "https://[::]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/",
    "https://[2001:0:7f00:1::]:{port}/",
    "https://[fe80::1]:{port}/",
    "https://[fe80::1%25eth0]:{port}/",
    "https://[fd00::1]:{port}/",
    "https://[ff02::1]:{port}/",
    "https://[127.0.0.1]:{port}/",
    "https://[media.test]:{port}/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
]


@pytest.mark.parametrize("form", REFUSED_FORMS)
async def test_an_address_that_is_not_public_gets_no_connection(form: str, names: NameServer) -> None:
    names.answers["media.test"] = [["127.0.0.1"]]
    async with recorded() as server, GuardedHttp(resolve=names.resolve) as client:
        with pytest.raises(AddressRefused):
            await fetch(client, form.replace("{port}", str(server.port)))
        assert server.connections == 0


PRIVATE_ANSWERS = [
    ["127.0.0.1"],
    ["::1"],
    ["10.1.2.3"],
    ["100.64.0.1"],
    ["169.254.169.254"],
    ["::ffff:127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["fe80::1"],
    ["fd00::1"],
    ["0.0.0.0"],  # noqa: S104
    ["224.0.0.1"],
    ["8.8.8.8", "127.0.0.1"],
    ["2001:4860:4860::8888", "10.0.0.1"],
]


@pytest.mark.parametrize("answer", PRIVATE_ANSWERS, ids=" ".join)
async def test_a_name_with_any_private_address_gets_no_connection(
    answer: list[str], names: NameServer
) -> None:
    names.answers["media.test"] = [answer]
    async with recorded() as server, GuardedHttp(resolve=names.resolve) as client:
        with pytest.raises(AddressRefused, match="not a public one"):
            await fetch(client, f"https://media.test:{server.port}/")
        assert (server.connections, names.lookups) == (0, ["media.test"])


async def test_the_systems_own_resolver_is_checked_too() -> None:
    async with recorded() as server, GuardedHttp() as client:
        with pytest.raises(AddressRefused, match="not a public one"):
            await fetch(client, f"https://localhost:{server.port}/")
        assert server.connections == 0


async def test_a_name_that_changes_its_answer_is_resolved_once_for_a_request(names: NameServer) -> None:
    """Checked is 127.0.0.2, which is allowed here; the answer of the next lookup is 127.0.0.1."""
    names.answers["media.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    allowed = [ip_network("127.0.0.2/32")]
    async with (
        recorded(host="127.0.0.2") as checked,
        recorded() as other,
        GuardedHttp(resolve=names.resolve, allowed=allowed) as client,
    ):
        url = f"http://media.test:{checked.port}/"
        assert await fetch(client, url) == b"ok"
        assert (checked.connections, names.lookups) == (1, ["media.test"])
        with pytest.raises(AddressRefused):
            await fetch(client, url)
        with pytest.raises(AddressRefused):
            await fetch(client, f"http://media.test:{other.port}/")
        assert (checked.connections, other.connections) == (1, 0)


async def test_http_goes_to_no_public_address_even_where_private_networks_are_allowed(
    names: NameServer,
) -> None:
    names.answers["media.test"] = [["8.8.8.8"]]
    async with GuardedHttp(resolve=names.resolve, allowed=LOOPBACK) as client:
        for url in ("http://media.test/", "http://8.8.8.8/"):
            with pytest.raises(AddressRefused, match="https"):
                await fetch(client, url)


async def test_a_name_without_an_address_is_an_outage_and_nothing_was_sent(names: NameServer) -> None:
    async with GuardedHttp(resolve=names.resolve) as client:
        with pytest.raises(NEVER_SENT):
            await fetch(client, "https://nowhere.test/")


async def test_a_redirect_is_not_followed(names: NameServer) -> None:
    async with recorded() as target:
        location = f"http://127.0.0.1:{target.port}/"
        answer = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
        async with recorded(answer) as server, GuardedHttp(allowed=LOOPBACK) as client:
            with pytest.raises(Redirected):
                await fetch(client, f"http://127.0.0.1:{server.port}/")
            assert (server.connections, target.connections) == (1, 0)


async def test_a_request_has_what_the_caller_gave_and_no_cookie_or_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cookie = b"HTTP/1.1 200 OK\r\nset-cookie: a=b; path=/\r\ncontent-length: 2\r\n\r\nok"
    async with recorded() as proxy, recorded(cookie) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with GuardedHttp(allowed=LOOPBACK) as client:
            for _ in range(2):
                assert await fetch(client, f"http://127.0.0.1:{server.port}/a%2Fb?c=%20d") == b"ok"
        assert proxy.connections == 0
        assert server.connections == 2, "a connection is not kept, or the next request would skip the check"
        for request in server.requests:
            assert request.startswith(b"GET /a%2Fb?c=%20d HTTP/1.1\r\n")
            assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in request
            assert b"authorization: Basic c2VjcmV0" in request
            assert b"cookie" not in request.lower()


async def test_a_body_past_its_bound_is_refused_by_its_length_or_by_its_bytes() -> None:
    announced = b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n"
    endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    sent = 0

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with GuardedHttp(allowed=LOOPBACK) as client:
        async with recorded(announced) as server:
            with pytest.raises(BodyTooLarge):
                await fetch(client, f"http://127.0.0.1:{server.port}/")
        async with recorded(endless, then=stream) as server:
            with tempfile.TemporaryFile(buffering=0) as file:
                with pytest.raises(BodyTooLarge):
                    async with client.request("GET", f"http://127.0.0.1:{server.port}/") as response:
                        await response.save(file, 1 << 20)
                assert file.tell() <= 1 << 20
    assert sent < 1 << 26


async def test_a_compressed_body_is_not_expanded() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"
    async with recorded(answer) as server, GuardedHttp(allowed=LOOPBACK) as client:
        assert await fetch(client, f"http://127.0.0.1:{server.port}/") == b"\x1f\x8b\x08\x00"
        assert b"accept-encoding: identity" in server.requests[0]


async def test_a_server_that_sends_slowly_is_given_up_after_the_whole_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    async with recorded(answer, then=drip) as server, GuardedHttp(allowed=LOOPBACK) as client:
        with pytest.raises(FAILURES):
            async with client.request(
                "GET", f"http://127.0.0.1:{server.port}/", total_seconds=0.3
            ) as response:
                await response.read(1 << 20)


def make_certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server with this name, and of a client that trusts it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


async def test_https_is_verified_for_the_name_and_not_for_the_address(
    names: NameServer, tmp_path: Path
) -> None:
    serving, trusting = make_certificate(tmp_path, "media.test")
    names.answers = {"media.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]}
    async with (
        recorded(tls=serving) as server,
        GuardedHttp(resolve=names.resolve, allowed=LOOPBACK, tls=trusting) as client,
    ):
        assert await fetch(client, f"https://media.test:{server.port}/") == b"ok"
        assert f"Host: media.test:{server.port}\r\n".encode() in server.requests[0]
        with pytest.raises(NEVER_SENT):
            await fetch(client, f"https://other.test:{server.port}/")
        assert len(server.requests) == 1


def test_ordinary_addresses_are_public() -> None:
    for text in ("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888", "2606:4700::1"):
        assert is_public(ip_address(text)), text


def test_a_url_keeps_its_path_and_query_as_they_are_quoted() -> None:
    parsed = parse_url("HTTPS://API.Media.test/a%2Fb?x=1&y=%20")
    assert (parsed.scheme, parsed.host, parsed.port) == ("https", "api.media.test", 443)
    assert str(parsed.url) == "https://api.media.test/a%2Fb?x=1&y=%20"
    assert str(parse_url("https://[2606:4700::1]:8443").url) == "https://[2606:4700::1]:8443/"
