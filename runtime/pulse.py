"""Proof that a process works: each loop says after each round that it did, and whoever asks hears which ones are overdue."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from runtime.metrics import CONTENT_TYPE, render_metrics

READ_SECONDS = 5.0

Probe = Callable[[], Awaitable[str]]
"""Asks a dependency; answers why it is of no use now, or nothing."""


class Drain:
    """Whether this process is about to leave."""

    begun = False


class Pulse:
    """The last round of each loop."""

    def __init__(self) -> None:
        self._within: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def expect(self, name: str, within_seconds: float) -> None:
        """From now on this loop is to end a round at least so often."""
        self._within[name], self._last[name] = within_seconds, time.monotonic()

    def beat(self, name: str) -> None:
        """A round has ended well."""
        self._last[name] = time.monotonic()

    def over(self, name: str) -> None:
        """The loop has ended and is expected no more."""
        self._within.pop(name, None)

    def ages(self) -> dict[str, float]:
        """Seconds since each expected loop ended a round."""
        now = time.monotonic()
        return {name: now - self._last[name] for name in sorted(self._within)}

    def overdue(self) -> list[str]:
        """The loops that have not ended a round for too long."""
        now = time.monotonic()
        return sorted(name for name, within in self._within.items() if now - self._last[name] > within)


pulse = Pulse()
"""This process's."""


class HealthServer:
    """Answers `/metrics` with this process's metrics, and every other request with what the probes and the pulse say: 200 when all is
    well, else 503."""

    def __init__(self, probes: dict[str, Probe], heart: Pulse = pulse) -> None:
        self._probes, self._heart = probes, heart
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port, which the system chooses for 0."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def examine(self) -> dict[str, str]:
        """`status` (`ok` or `unhealthy`), each dependency's state, and the loops that are overdue."""
        reasons = dict(zip(self._probes, await asyncio.gather(*(probe() for probe in self._probes.values())), strict=True))
        late = self._heart.overdue()
        status = "unhealthy" if late or any(reasons.values()) else "ok"
        return {"status": status, **{name: reason or "up" for name, reason in reasons.items()}, "overdue": ", ".join(late)}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                asked = await reader.readuntil(b"\r\n\r\n")
            path = asked.split(b" ", 2)[1].partition(b"?")[0] if asked.count(b" ", 0, 2048) > 1 else b""
            if path == b"/metrics":
                line, kind, body = "200 OK", CONTENT_TYPE, render_metrics()
            else:
                found = await self.examine()
                line, kind = "200 OK" if found["status"] == "ok" else "503 Service Unavailable", "application/json"
                body = msgspec.json.encode(found)
            head = f"HTTP/1.1 {line}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            async with asyncio.timeout(READ_SECONDS):
                await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
