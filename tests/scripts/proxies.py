"""What stands before a project: a proxy that ends TLS, or drops preflights."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOT_PASSED = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


@contextmanager
def proxy(target: str, *, tls: ssl.SSLContext | None = None, preflights: bool = True) -> Iterator[str]:
    """The address of a proxy to `target`."""

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if self.command == "OPTIONS" and not preflights:
                self.send_response(405)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            parts = urlsplit(target)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED}
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
            connection.request(self.command, self.path, body=body, headers=sent)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in NOT_PASSED | {"server", "date"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = pass_on  # noqa: N815

        def log_message(self, *_: object) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'https' if tls else 'http'}://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


class Authority:
    """Issues certificates; `file` is what trusts it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {folder}"[-64:])])
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._issue(self._name, self._key.public_key(), None, 3650))

    def _issue(self, name: x509.Name, key: object, host: str | None, days: int) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)  # pyright: ignore[reportArgumentType]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def context(self, host: str = "localhost", days: int = 365) -> ssl.SSLContext:
        """Of a server with a certificate for `host`."""
        key = generate_private_key(SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        file = self._folder / f"{host}-{days}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + self._issue(name, key.public_key(), host, days))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context
