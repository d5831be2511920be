"""Leaving without dropping a request: a process that is told to stop says so, to probes and to each client, before it closes anything.

uvicorn closes idle connections at once. A client that is just sending its next request there, or its first one on a connection that was
accepted a moment ago, gets a reset in the place of an answer. Here every answer says `Connection: close` for a while first, so that
clients go elsewhere by themselves, and what has arrived by the end is answered still.
"""

import asyncio
import os
import socket
import time
from typing import Any

import uvicorn

from runtime.http_server import PatientProtocol
from runtime.pulse import Drain

LOOK_SECONDS = 0.05
LINGER_SECONDS = 0.25
"""So long an idle connection stays open once no more are accepted: a request may be on its way, or unread in the socket."""


class DrainingProtocol(PatientProtocol):
    """Answers with `Connection: close` once the drain has begun, and closes only what carries nothing."""

    drain = Drain()

    def on_headers_complete(self) -> None:
        """While the process leaves, each answer is the last one of its connection."""
        super().on_headers_complete()
        if self.drain.begun and not self._is_replayed:
            self.announce()

    def announce(self) -> None:
        """Let the answer that is being made be the last one, unless its head is on the wire."""
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """What uvicorn calls once it accepts no more."""
        self.announce()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        cycle: Any = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if not answering and not self._in_message and not self.transport.is_closing():
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """uvicorn's server that goes on accepting and answering for `seconds` after it was told to stop."""

    def __init__(self, config: uvicorn.Config, drain: Drain, seconds: float) -> None:
        super().__init__(config)
        self._drain, self._seconds = drain, seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce, wait for clients to leave, then stop as uvicorn does."""
        self._drain.begun = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, DrainingProtocol):
                connection.announce()
        until = time.monotonic() + self._seconds
        while time.monotonic() < until and not self.force_exit:  # noqa: ASYNC110 - uvicorn has no event for a second signal
            await asyncio.sleep(LOOK_SECONDS)
        if not sockets:  # one that was handed to us is others' too, and outlives this process
            await self._empty_backlogs()
        await super().shutdown(sockets)

    async def _empty_backlogs(self) -> None:
        """Take what the kernel has accepted for us already, and next to nothing more: closing a socket resets what waits in it."""
        for each in (listening for server in self.servers for listening in server.sockets):
            with socket.socket(fileno=os.dup(each.fileno())) as same:
                same.listen(0)
        await asyncio.sleep(LOOK_SECONDS)


def draining_protocol(max_connections: int, drain: Drain) -> type[Any]:
    """The protocol of a process that takes so many connections at a time, and leaves as `drain` says."""
    return type("Protocol", (DrainingProtocol,), {"max_connections": max_connections, "drain": drain})
