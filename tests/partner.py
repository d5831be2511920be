"""A partner's receiver on a real socket, whose answers a test chooses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from domain.webhook.bodies_wire import BODIES


class Received(msgspec.Struct, frozen=True):
    """A webhook as it came over the wire; header names in lower case."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, object]:
        """The body, which is what the API document says of the event's webhook."""
        body: dict[str, object] = msgspec.json.decode(self.body)
        msgspec.convert(body, BODIES[str(body["event"])])
        return body


Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[Received], Awaitable[Answer]]


class Partner:
    """`answers` are given in turn, the last one for ever; a `handler` decides instead when there is one."""

    def __init__(self, answers: list[Answer], handler: Handler | None = None) -> None:
        self.answers = answers
        self.handler = handler
        self.received: list[Received] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers["content-length"]))
        received = Received(headers, body)
        self.received.append(received)
        if self.handler is not None:
            status, extra, content = await self.handler(received)
        else:
            status, extra, content = self.answers[min(len(self.received), len(self.answers)) - 1]
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"content-length": str(len(content)), **extra}.items())
        writer.write(f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode() + content)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def a_partner(*statuses: int, handler: Handler | None = None, headers: dict[str, str] | None = None) -> AsyncIterator[Partner]:
    """A receiver that answers with these statuses, and with the last one for ever."""
    partner = Partner([(status, headers or {}, b"") for status in statuses or (200,)], handler)
    server = await asyncio.start_server(partner.serve, "127.0.0.1", 0)
    partner.port = server.sockets[0].getsockname()[1]
    try:
        yield partner
    finally:
        server.close()
