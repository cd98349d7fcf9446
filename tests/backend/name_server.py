"""A DNS server whose answers a test sets, and a resolver that asks it: real packets over UDP."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

import anyio.to_thread

TYPES = {4: 1, 6: 28}  # A, AAAA
HEADER = struct.Struct("!6H")


class NameServer(asyncio.DatagramProtocol):
    """`answers`: for each name the addresses of its first lookup, of its second, …; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.lookups: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        identifier, *_ = HEADER.unpack_from(data)
        name, end = read_name(data, HEADER.size)
        (kind,) = struct.unpack_from("!H", data, end)
        waiting = self.answers.get(name, [()])
        addresses = [ip_address(text) for text in waiting[0]]
        if kind == TYPES[6]:  # the resolver asks for AAAA last
            self.lookups.append(name)
            if len(waiting) > 1:
                waiting.pop(0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(address.packed)) + address.packed
            for address in addresses
            if TYPES[address.version] == kind
        )
        count = sum(TYPES[address.version] == kind for address in addresses)
        head = HEADER.pack(identifier, 0x8180, 1, count, 0, 0)
        self._transport.sendto(head + data[HEADER.size : end + 4] + records, addr)

    async def resolve(self, host: str, port: int) -> list[str]:
        """What the system's resolver does, with this server as its name server."""
        return await anyio.to_thread.run_sync(ask, self.port, host)


def ask(server_port: int, host: str) -> list[str]:
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", server_port))
        for kind in TYPES.values():
            name = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
            client.send(HEADER.pack(1, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1))
            found += read_addresses(client.recv(4096))
    return found


def read_addresses(answer: bytes) -> list[str]:
    _, _, _, count, _, _ = HEADER.unpack_from(answer)
    _, at = read_name(answer, HEADER.size)
    at += 4
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("!H", answer, at + 10)
        found.append(str(ip_address(answer[at + 12 : at + 12 + length])))
        at += 12 + length
    return found


def read_name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
