"""One server process of the benchmark: the API, or a floor of it, served exactly as `laurel api` is.

`python -m benchmarks.serve VARIANT`, with the settings in the environment:
- `api`: the product.
- `hello`: a bare ASGI function with a constant answer; what the server itself costs.
- `storage_off`: the product, but its event writer acknowledges without writing.
- `insert_each`: the product, but its event writer commits each request by itself (what an ordinary back end does).
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn

from runtime import logging
from runtime.postgres import make_pool
from runtime.serving import server_config
from runtime.settings import Settings, load_settings
from storage.event.log import GroupCommitWriter, NewEvent, Outcome

INSERT_CONNECTIONS = 32  # where single commits are fastest on the machines that this was tried on
HELLO = b'{"hello":"world"}'
HELLO_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(HELLO)).encode())]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with the same few bytes."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


class NoWriter(GroupCommitWriter):
    """Acknowledges at once: what is left is the front end."""

    async def append(self, event: NewEvent) -> bool:
        """New, says this one."""
        return True

    async def append_many(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """All new."""
        return [True] * len(events)


class EachWriter(GroupCommitWriter):
    """Commits each request by itself, by the same statement, over a pool of connections."""

    def __init__(self, settings: Settings) -> None:
        """The pool opens with the first event."""
        super().__init__(settings)
        self._pool = make_pool(settings.database_url, "insert-each", max_size=INSERT_CONNECTIONS)

    async def start(self) -> None:
        """Open the pool, and learn the users' ids as the product does."""
        await super().start()
        await self._pool.open()

    async def append(self, event: NewEvent) -> bool:
        """Commit this one event."""
        return (await self.append_many([event]))[0] is True

    async def append_many(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """Commit the events of this one request."""
        async with self._pool.connection() as connection:
            return await self._append_whole(connection, list(events))


WRITERS: dict[str, type[GroupCommitWriter]] = {"api": GroupCommitWriter, "storage_off": NoWriter, "insert_each": EachWriter}


def application(variant: str, settings: Settings) -> Any:
    """The ASGI application of a variant; all but `hello` are the product with another event writer."""
    if variant == "hello":
        return hello
    import server

    server.GroupCommitWriter = WRITERS[variant]  # type: ignore[attr-defined]
    return server.create_app(settings)


if __name__ == "__main__":
    settings = load_settings(os.environ)
    logging.set_up(settings)
    uvicorn.Server(server_config(application(sys.argv[1], settings), settings)).run()
