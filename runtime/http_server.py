"""What the HTTP server takes from a client: so many connections, so large a head, and each request within its time.

uvicorn bounds none of these by itself: a head without an end would fill the memory, and a client that sends a byte a minute would keep
its connection for ever. Bodies are bounded where they are read (`api/middleware.py`).
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
HEADERS = 128


class RefusedHead(Exception):
    """The request's head is too large."""


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
        if self._in_head or not self._in_message:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(431, "HEADERS_TOO_LARGE", f"The head of a request has at most {HEAD_BYTES} bytes")
        elif self._in_message and self._timer is None and not self.transport.is_closing():
            self._wait(self.head_seconds if self._in_head else self.message_seconds)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole: what is left of the time is the body's."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        if len(self.headers) > HEADERS:
            self._refusal = (431, "HEADERS_TOO_LARGE", f"A request has at most {HEADERS} headers")
            raise RefusedHead
        super().on_headers_complete()

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
        """What uvicorn says to a request that it cannot parse."""
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


def protocol(max_connections: int) -> type[PatientProtocol]:
    """The protocol of a process that takes so many connections at a time."""
    return type("Protocol", (PatientProtocol,), {"max_connections": max_connections})
