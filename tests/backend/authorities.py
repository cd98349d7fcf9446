"""A time-stamp authority: OpenSSL's, behind HTTP. It can be away, refuse, or answer about something else."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.serving import serving

OPENSSL = shutil.which("openssl")
CONFIG = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical,CA:TRUE
[stamping]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[authority]
serial = {folder}/serial
signer_cert = {folder}/authority.pem
signer_key = {folder}/authority.key
certs = {folder}/root.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
"""
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """`fault`: "away" (503), "refuses" (a status that grants nothing), "another", "garbage", "endless"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = ""
        self.asked = 0
        self.url = ""

    async def prepare(self) -> None:
        config = self.folder / "authority.cnf"
        await asyncio.to_thread(config.write_text, CONFIG.format(folder=self.folder))
        await asyncio.to_thread((self.folder / "serial").write_text, "01")
        made = ("-config", "authority.cnf", "-days", "30")
        await self._run("req", "-x509", *NEW_KEY, "-keyout", "root.key", "-out", "root.pem",
                        "-subj", "/CN=Root", "-extensions", "root", *made)  # fmt: skip
        await self._run("req", "-new", *NEW_KEY, "-keyout", "authority.key", "-out", "authority.csr",
                        "-subj", "/CN=Authority", "-config", "authority.cnf")  # fmt: skip
        await self._run("x509", "-req", "-in", "authority.csr", "-CA", "root.pem", "-CAkey", "root.key",
                        "-CAcreateserial", "-out", "authority.pem", "-days", "30",
                        "-extfile", "authority.cnf", "-extensions", "stamping")  # fmt: skip

    async def _run(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            str(OPENSSL), *arguments, cwd=self.folder, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def stamp(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/timestamp-query"
        self.asked += 1
        query = await request.read()
        if self.fault == "away":
            return web.Response(status=503)
        if self.fault in ("garbage", "endless"):
            return web.Response(body=b"\x30\x82" * (8 if self.fault == "garbage" else 100_000))
        if self.fault == "another":
            query = query[:30] + bytes([query[30] ^ 1]) + query[31:]
        if self.fault == "refuses":
            query = query[:4] + b"\x02" + query[5:]  # a version that it does not know
        await asyncio.to_thread((self.folder / "query").write_bytes, query)
        await self._run("ts", "-reply", "-queryfile", "query", "-config", "authority.cnf",
                        "-section", "authority", "-out", "reply")  # fmt: skip
        reply = await asyncio.to_thread((self.folder / "reply").read_bytes)
        return web.Response(body=reply, content_type="application/timestamp-reply")


@asynccontextmanager
async def authority(folder: Path) -> AsyncIterator[Authority]:
    made = Authority(folder)
    await made.prepare()
    async with serving([web.post("/stamp", made.stamp)]) as address:
        made.url = f"{address}/stamp"
        yield made
