"""One connection to Redis that all tasks of a process share, for what pages and pumps ask thousands of times a second.

The client library takes a connection out of a pool for each command, packs it in Python and puts the connection back: a quarter of what an
uncached page cost (docs/performance.md). Here a command is packed by hiredis and written at once, and answers come back in the order of
the commands. Everything else goes through the client.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any, cast

import hiredis
import msgspec
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as LateError

from runtime.tasks import begin_for_all, retrieve

Command = Sequence[Any]
_MORE = object()


class RedisLine:
    """The connection, made when it is first needed and again when it was lost."""

    def __init__(self, address: Mapping[str, Any], timeout_seconds: float, *, secure: SSLContext | None = None) -> None:
        """`address`: the client's own connection arguments (host, port, path, username, password, db). `secure`: the client's TLS, or None
        for a connection in the clear; nothing is said, no password either, before it stands."""
        self._address, self._timeout, self._secure = address, timeout_seconds, secure
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The answers, in order; a refusal is among them as the error that it is. RedisError when there is no answer in time.

        Asks once more when the connection is lost, which a server's restart makes of any that is idle: commands must bear that.
        """
        wire, began = self._wire, asyncio.get_running_loop().time()
        if wire is not None and not wire.lost:
            try:
                return await wire.ask(commands)
            except LostError:
                pass
        try:
            async with asyncio.timeout_at(began + self._timeout):
                return await (await self._connect()).ask(commands)
        except TimeoutError as error:
            raise LateError("no answer from Redis in time") from error

    def close(self) -> None:
        """Give the connection up."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.end(LostError("the connection was closed"))

    async def _connect(self) -> "_Wire":
        """The connection, which all who want one at a time wait for together: one after the other they would wait for ever longer."""
        if self._wire is not None and not self._wire.lost:
            return self._wire
        if self._connecting is None or self._connecting.done():
            self._connecting = begin_for_all(self._open_in_time(), "redis line")
            self._connecting.add_done_callback(retrieve)
        return await asyncio.shield(self._connecting)

    async def _open_in_time(self) -> "_Wire":
        try:
            async with asyncio.timeout(self._timeout):
                self._wire = await self._open()
        except TimeoutError as error:
            raise LateError("no connection to Redis in time") from error
        except OSError as error:
            raise LostError(f"no connection to Redis: {error}") from error
        return self._wire

    async def _open(self) -> "_Wire":
        loop, address = asyncio.get_running_loop(), self._address
        wire = _Wire(loop, self._timeout)
        if "path" in address:
            await loop.create_unix_connection(lambda: wire, address["path"])
        else:
            await loop.create_connection(lambda: wire, address.get("host", "localhost"), address.get("port", 6379), ssl=self._secure)
        try:
            refused = [answer for answer in await wire.ask(_greeting(address)) if isinstance(answer, Exception)]
            if refused:
                raise refused[0]
        except BaseException:
            wire.end(LostError("the greeting was refused"))
            raise
        return wire


class _Asked(msgspec.Struct):
    future: asyncio.Future[list[Any]]
    wanted: int
    since: float
    answers: list[Any]


class _Wire(asyncio.Protocol):
    """Bytes out and in. `lost` once nothing more can be asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> None:
        self._loop, self._timeout = loop, timeout_seconds
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=_MORE)
        self._waiting: deque[_Asked] = deque()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.lost = False

    def ask(self, commands: Sequence[Command]) -> "asyncio.Future[list[Any]]":
        """The answers to come."""
        asked = _Asked(self._loop.create_future(), len(commands), self._loop.time(), [])
        if self.lost or self._transport is None:
            asked.future.set_exception(LostError("the connection is lost"))
        elif not commands:
            asked.future.set_result([])
        else:
            packed = b"".join(hiredis.pack_command(tuple(command)) for command in commands)  # raises for what cannot be sent
            self._waiting.append(asked)  # only behind that: whoever waits without having asked gets the answers of others
            self._transport.write(packed)
            if self._watch is None:
                self._watch = self._loop.call_later(self._timeout, self._look)
        return asked.future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are whole."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                asked = self._waiting[0]
                asked.answers.append(answer)
                if len(asked.answers) == asked.wanted:
                    self._waiting.popleft()
                    if not asked.future.done():
                        asked.future.set_result(asked.answers)
        except (hiredis.ProtocolError, IndexError) as error:
            self.end(LostError(f"Redis answers what nobody asked: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody who waits will get an answer."""
        self.end(LostError(f"the connection was lost: {exc}"))

    def end(self, error: RedisError) -> None:
        """Tell all who wait, and hang up."""
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            asked = self._waiting.popleft()
            if not asked.future.done():
                asked.future.set_exception(error)

    def _look(self) -> None:
        """One timer for all who wait: the first has waited longest."""
        self._watch = None
        if self._waiting:
            rest = self._waiting[0].since + self._timeout - self._loop.time()
            if rest <= 0:
                self.end(LateError("no answer from Redis in time"))
            else:
                self._watch = self._loop.call_later(rest, self._look)


def _greeting(address: Mapping[str, Any]) -> list[Command]:
    greeting: list[Command] = []
    if address.get("password"):
        names = [address["username"]] if address.get("username") else []
        greeting.append(("AUTH", *names, address["password"]))
    if address.get("db"):
        greeting.append(("SELECT", str(address["db"])))
    return greeting
