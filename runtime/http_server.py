"""What the HTTP server takes from a client: so many connections, so large a head, and each request within its time.

uvicorn bounds none of these by itself: a head without an end would fill the memory, and a client that sends a byte a minute would keep
its connection for ever. Bodies are bounded where they are read (`api/middleware.py`).
"""

import asyncio
import json
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
HEADERS = 128
FRAMING_BYTES_PER_BODY_BYTE = 16
"""A chunk of one byte costs five more to frame it; whatever frames more than this is no body but a flood of extensions or trailers."""
TRANSFER_ENCODINGS = frozenset({b"chunked"})
OTHER_UPGRADE = re.compile(rb"\r\nupgrade:(?![ \t]*websocket[ \t]*\r\n)", re.IGNORECASE)


class RefusedHead(Exception):
    """The request's head is too large, or says what we do not serve."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. A refusal has the error body of contract 1 and closes the connection."""

    head_seconds = 15.0
    """From the connection, or the first byte of a later request, to the end of its head."""
    message_seconds = 60.0
    """To the end of its body: a megabyte in that time is 17 KB/s."""
    max_connections = 20_000

    _timer: asyncio.TimerHandle | None = None
    _in_message = False
    _in_head = False
    _head_bytes = 0
    _framing_bytes = 0
    _body_bytes = 0
    _refusal = (400, "VALIDATION_ERROR", "Malformed HTTP request")

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection too many; give any other its time."""
        if len(self.connections) >= self.max_connections:
            self.transport = transport
            self._refuse(503, "UNAVAILABLE", "This process has as many connections as it takes; try again")
            return
        super().connection_made(transport)
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self.flow is not None:  # one that was refused has none, and nothing to clean up
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a request that is not whole yet has its time."""
        if self.transport.is_closing():
            return
        if (self._in_head or not self._in_message) and not self._head_fits(data):
            self._refuse(431, "HEADERS_TOO_LARGE", f"The head of a request has at most {HEAD_BYTES} bytes")
            return
        self._framing_bytes += len(data)
        super().data_received(without_other_upgrade(data) if self._in_head or not self._in_message else data)
        if self._framing_bytes - self._body_bytes > 2 * HEAD_BYTES + FRAMING_BYTES_PER_BODY_BYTE * self._body_bytes:
            self._refuse(431, "HEADERS_TOO_LARGE", "The framing of the body is too large: chunk extensions and trailers are not taken")
        elif self._in_message and self._timer is None and not self.transport.is_closing():
            self._wait(self.head_seconds if self._in_head else self.message_seconds)

    def _head_fits(self, data: bytes) -> bool:
        """Whether the head stays within its size with what has come; a body behind it in the same piece does not count."""
        end = data.find(b"\r\n\r\n")
        self._head_bytes += len(data) if end < 0 else end
        return self._head_bytes <= HEAD_BYTES

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head. One behind the body (a trailer) is dropped: nobody judged it, and it must not pass for a header."""
        if self._in_head:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message = self._in_head = True
        self._framing_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole: what is left of the time is the body's."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        if len(self.headers) > HEADERS:
            self._refusal = (431, "HEADERS_TOO_LARGE", f"A request has at most {HEADERS} headers")
            raise RefusedHead
        if (problem := self._head_problem()) is not None:
            self._refusal = (400, "VALIDATION_ERROR", problem)
            raise RefusedHead
        super().on_headers_complete()

    def _head_problem(self) -> str | None:
        """What a careful server takes from nobody (RFC 9112): who sends it may be understood in two ways by two servers."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return f"HTTP/{version} is not spoken here"
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return "A request names its host once"
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or len(codings) > 1 or codings[0] not in TRANSFER_ENCODINGS):
            return "The only transfer coding that is taken is chunked, in HTTP/1.1"
        return None

    def on_message_complete(self) -> None:
        """The request is whole: from now on it waits for us."""
        self._in_message = False
        self._stop_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """A WebSocket has times of its own."""
        self._stop_waiting()
        self._in_message = self._in_head = False
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn says to a request that it cannot parse. One before it that is still being answered gets its answer first."""
        in_head = self._in_head or not self._in_message
        if in_head and not getattr(self.cycle, "response_complete", True):
            self.cycle.keep_alive = False
            self._in_message = self._in_head = False
            self._stop_waiting()
            self.transport.pause_reading()
        else:
            self._refuse(*self._refusal)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        begun, over = getattr(self.cycle, "response_started", False), getattr(self.cycle, "response_complete", False)
        if begun and not (over and self._in_head):  # an answer of ours is on the wire already
            self.transport.abort()
        else:
            self._refuse(408, "REQUEST_TIMEOUT", "The request did not come to its end in time")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._stop_waiting()
        self._in_message = self._in_head = False
        if self.transport.is_closing():
            return
        body = json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        head += "retry-after: 1\r\n" if status == 503 else ""
        self.transport.write(head.encode() + b"\r\n" + body)
        self.transport.close()


def without_other_upgrade(data: bytes) -> bytes:
    """The head without the wish to go on in another protocol than WebSocket, which a server may ignore.

    Java's client asks for h2c on its first request; the parser would take the request's body for that protocol's.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or b"pgrade" not in data[:end]:
        return data
    return OTHER_UPGRADE.sub(b"\r\nx-upgrade:", data[: end + 2]) + data[end + 2 :]


def protocol(max_connections: int) -> type[PatientProtocol]:
    """The protocol of a process that takes so many connections at a time."""
    return type("Protocol", (PatientProtocol,), {"max_connections": max_connections})
