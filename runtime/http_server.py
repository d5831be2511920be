"""What the HTTP server takes from a client: so many connections, so large a head, and each request within its time.

uvicorn bounds none of these by itself: a head without an end would fill the memory, and a client that sends a byte a minute, or does not
read what it asked for, would keep its connection for ever. Bodies are bounded where they are read (`api/middleware.py`).
"""

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 65_536
HEADERS = 128
BESIDE_BODY_BYTES = 16_384
"""What may come between two bytes of a body in chunks, and behind the last one: sizes, extensions, trailers."""

UNREAD_BYTES = 65_536
"""So much of what waits for its reader the kernel keeps, beside what is on its way; and so much its reader must take in time."""

UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})


class RefusedRequest(Exception):
    """The request's head is larger than we take, or a proxy in front may read it in another way."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. A refusal has the error body of contract 1 and closes the connection."""

    head_seconds = 15.0
    """From the connection, or the first byte of a later request, to the end of its head."""
    message_seconds = 60.0
    """To the end of its body: a megabyte in that time is 17 KB/s."""
    unread_seconds = 60.0
    """For a reader to take `UNREAD_BYTES` of what waits for it, or the rest of it."""
    max_connections = 20_000

    _unread: tuple[asyncio.TimerHandle, int] | None = None
    """While too much waits for its reader, or the end of the connection does: when that is looked at again, and how much it was."""
    _timer: asyncio.TimerHandle | None = None
    _in_message = False
    _in_head = False
    _head_seen = 0
    _piece_seen = 0
    _beside_body = 0
    _is_replayed = False
    """The head asks for another protocol than WebSocket, and is read once more without that wish."""
    _hears_no_more = False
    _running: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the last that came, which may wait behind it."""
    _refusal = (400, "VALIDATION_ERROR", "Malformed HTTP request")

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection too many; give any other its time."""
        if len(self.connections) >= self.max_connections:
            self.transport = transport
            self._refuse(503, "UNAVAILABLE", "This process has as many connections as it takes; try again")
            return
        super().connection_made(transport)
        with suppress(OSError, AttributeError):  # no TCP, or a system that knows no such bound
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNREAD_BYTES)
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self._forget_unread()
        if self.flow is not None:  # one that was refused has none, and nothing to clean up
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a request that is not whole yet has its time."""
        if self.transport.is_closing() or self._hears_no_more:
            return
        self._piece_seen = len(data)
        if self._in_head or not self._in_message:
            self._head_seen += len(data)
        else:
            self._beside_body += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        self._judge_progress()

    def _judge_progress(self) -> None:
        if self._hears_no_more or self.transport.is_closing():
            return
        if self._in_head and self._head_seen > HEAD_BYTES:
            self._refuse(*self._too_large())
        elif self._in_message and not self._in_head and self._beside_body > BESIDE_BODY_BYTES:
            self._refuse(431, "HEADERS_TOO_LARGE", f"Beside its bytes a body has at most {BESIDE_BODY_BYTES} bytes of chunks and trailers")
        elif self._in_message and self._timer is None:
            self._wait(self.head_seconds if self._in_head else self.message_seconds)

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while (read := self._feed(rest)) is not None:
                # The parser takes what follows such a head for another protocol's. We speak none, so it is a request like any other
                # (RFC 9110, 7.8), with its body, and others behind it.
                rest, replay = rest[read:], self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(replay)
        except httptools.HttpParserError:
            self._refuse(*self._refusal)

    def _feed(self, data: memoryview) -> int | None:
        """None when all was read; else how much, up to the end of a head that has to be replayed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_replayed:
                return int(upgrade.args[0])
            self.handle_websocket_upgrade()
        return None

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() not in UPGRADE_HEADERS]
                lines.append(b"connection: %b" % b",".join(kept))
            elif name not in UPGRADE_HEADERS:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message = self._in_head = True
        self._beside_body = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers are dropped: what was judged by the head must not change behind it."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: what is left of the time is the body's."""
        if (refusal := self._refusal_of_head()) is not None:
            self._refusal = refusal
            raise RefusedRequest
        self._is_replayed = self.parser.should_upgrade() and not self._should_upgrade()
        if self._is_replayed:
            return
        self._in_head, self._head_seen = False, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """More of the body."""
        self._beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: from now on it waits for us."""
        if self._is_replayed:
            return
        self._in_message = False
        self._stop_waiting()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _too_large(self) -> tuple[int, str, str]:
        return 431, "HEADERS_TOO_LARGE", f"The head of a request has at most {HEAD_BYTES} bytes"

    def _refusal_of_head(self) -> tuple[int, str, str] | None:
        if len(self.headers) > HEADERS:
            return 431, "HEADERS_TOO_LARGE", f"A request has at most {HEADERS} headers"
        may_be_large = max(self._head_seen, self._piece_seen) > HEAD_BYTES
        if may_be_large and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            return self._too_large()
        problem = self._problem_of_framing()
        return None if problem is None else (400, "VALIDATION_ERROR", f"Malformed HTTP request: {problem}")

    def _problem_of_framing(self) -> str | None:
        """What a proxy in front of us may read in another way (RFC 9112, 2.3, 3.2 and 6.1)."""
        hosts, codings = 0, []
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return "only HTTP/1.0 and HTTP/1.1 are spoken here"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return "it must name one Host"
        if codings and (codings != [b"chunked"] or version == "1.0"):
            return "the only transfer coding is chunked, in HTTP/1.1"
        return "this is no proxy" if self.parser.get_method() == b"CONNECT" else None

    def handle_websocket_upgrade(self) -> None:
        """A WebSocket has times of its own. Without this, an upgrade that its parser does not take would wait for ever, unanswered."""
        self._stop_waiting()
        self._forget_unread()
        self._in_message = self._in_head = False
        super().handle_websocket_upgrade()
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self._refuse(400, "VALIDATION_ERROR", "Malformed WebSocket upgrade: a line of it is too long, or no header")

    def pause_writing(self) -> None:
        """Too much waits for its reader."""
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        """Its reader has taken most of it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._forget_unread()

    def on_response_complete(self) -> None:
        """An answer is whole. If it is the last one, the connection ends when it is read."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_unread()

    def timeout_keep_alive_handler(self) -> None:
        """No more requests came."""
        super().timeout_keep_alive_handler()
        self._watch_unread()

    def _watch_unread(self) -> None:
        if self._unread is None and (left := self.transport.get_write_buffer_size()):
            self._look_again(left)

    def _look_again(self, left: int) -> None:
        self._unread = asyncio.get_running_loop().call_later(self.unread_seconds, self._judge_reader), left

    def _judge_reader(self) -> None:
        left, before = self.transport.get_write_buffer_size(), self._unread[1] if self._unread else 0
        self._unread = None
        if left and left + UNREAD_BYTES > before:
            self.transport.abort()
        elif left:
            self._look_again(left)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread[0].cancel()
            self._unread = None

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        self._refuse(408, "REQUEST_TIMEOUT", "The request did not come to its end in time")

    def _refuse(self, status: int, code: str, message: str) -> None:
        in_head = self._in_head or not self._in_message
        self._stop_waiting()
        self._in_message = self._in_head = False
        if self.transport.is_closing():
            return
        self._hears_no_more = True
        if self._owes_another_answer(in_head):
            return
        body = json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        head += "retry-after: 1\r\n" if status == 503 else ""
        self.transport.write(head.encode() + b"\r\n" + body)
        self.transport.close()
        self._watch_unread()

    def _owes_another_answer(self, in_head: bool) -> bool:
        """Whether whoever reads the refusal would take it for the answer to an earlier request; the connection ends behind that one's."""
        last: RequestResponseCycle | None = self.cycle
        if last is None:
            return False
        if not in_head and self.pipeline and self.pipeline[0][0] is last:  # its body is what is refused, and nobody has begun with it
            self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._running
        elif not in_head:
            if last.response_started:  # an answer of ours is on the wire already
                self.transport.abort()
            return last.response_started
        if last is None or last.response_complete:
            return False
        last.keep_alive = False
        return True


def protocol(max_connections: int) -> type[PatientProtocol]:
    """The protocol of a process that takes so many connections at a time."""
    return type("Protocol", (PatientProtocol,), {"max_connections": max_connections})
