"""A TCP proxy that can fall silent: connections stay open and bytes are taken, but nothing comes through, as with a frozen peer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Stands in front of a server. `silent` holds everything back, on old connections and, with `shut`, on new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._silenced: set[int] = set()
        self._connections = 0
        self.shut = False

    def silence_present(self) -> None:
        """From now on the connections that there are carry nothing."""
        self._silenced = set(range(self._connections))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        number, self._connections = self._connections, self._connections + 1
        if self.shut:
            self._silenced.add(number)
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(number, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if number not in self._silenced:
                    sink.write(data)
                    await sink.drain()
        if number not in self._silenced:
            sink.close()

    async def close(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def in_front_of(address: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the server at this URL, and the URL through it."""
    parts = urlsplit(address)
    proxy = Proxy(str(parts.hostname), int(parts.port or 0))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
    finally:
        server.close()
        await proxy.close()
