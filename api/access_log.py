"""The access log: one line for each request, when `LAUREL_ACCESS_LOG` asks for it."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.types import Message, Send

from runtime.logging import Asked

log = logging.getLogger("laurel.access")

STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
BODIES = frozenset({"http.response.body", "websocket.http.response.body"})
SWITCHED = 101
"""The status of a WebSocket, which has none in ASGI."""


class CountedSend:
    """ASGI's `send` that remembers what went through it."""

    def __init__(self, send: Send) -> None:
        """Nothing has been sent: the status is 0 until there is an answer."""
        self._send = send
        self.status = 0
        self.bytes = 0

    @property
    def transport(self) -> Any:
        """The connection's transport where the server is uvicorn: `api/leaderboard/socket.py` asks for it."""
        return getattr(getattr(self._send, "__self__", None), "transport", None)

    async def send(self, message: Message) -> None:
        """Pass the message on."""
        content: Any = message
        kind = content["type"]
        if kind in STARTS:
            self.status = content["status"]
        elif kind in BODIES:
            self.bytes += len(content.get("body", b""))
        elif kind == "websocket.accept":
            self.status = SWITCHED
        elif kind == "websocket.send":
            self.bytes += len((content.get("text") or "").encode()) + len(content.get("bytes") or b"")
        await self._send(message)


async def logged(answer: Callable[[Send], Awaitable[None]], scope: Any, send: Send, about: Asked) -> None:
    """Let `answer` answer, and write the line when the answer is out; of a WebSocket when it has ended."""
    counted = CountedSend(send)
    started = time.perf_counter()
    try:
        await answer(counted.send)
    finally:
        facts = {
            "method": scope.get("method", "GET"),
            "route": about.route,
            "status": counted.status,
            "milliseconds": round((time.perf_counter() - started) * 1000, 1),
            "bytes": counted.bytes,
            "credential": about.credential or "none",
        }
        log.info("%s %s %d", facts["method"], facts["route"], facts["status"], extra={"facts": facts})
