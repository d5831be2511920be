"""A DNS server on a real socket, whose names a test chooses. A name that it does not know is NXDOMAIN; a silent one is never answered."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from typing import cast

Answers = Callable[[str], list[str] | None]

A, AAAA = 1, 28


class NameServer(asyncio.DatagramProtocol):
    """`answers` says the addresses of a name, [] for none; None leaves the question open."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.asked = answers, list[str]()
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
            at += data[at] + 1
        question, name, kind = data[12 : at + 5], ".".join(labels), int.from_bytes(data[at + 1 : at + 3], "big")
        self.asked.append(name)
        texts = self.answers(name)
        if texts is None:
            return
        found = [each for each in map(ipaddress.ip_address, texts) if each.version == {A: 4, AAAA: 6}.get(kind)]
        flags = 0x8180 if texts else 0x8183
        head = data[:2] + b"".join(part.to_bytes(2, "big") for part in (flags, 1, len(found), 0, 0))
        records = b"".join(
            b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\x00\x01\x00\x00\x00\x00" + len(each.packed).to_bytes(2, "big") + each.packed
            for each in found
        )
        self.transport.sendto(head + question + records, addr)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def a_name_server(answers: Answers) -> AsyncIterator[NameServer]:
    """Serves these names on a port of its own."""
    server = NameServer(answers)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
