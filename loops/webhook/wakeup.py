"""One listening connection for a process: it wakes the pump of an endpoint when something has become due for it."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import psycopg

from runtime.postgres import connect, notices
from storage.webhook.due_delivery import CHANNEL

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0


class EndpointWakeup:
    """Hands each pump the event that is set when its endpoint is notified. Hints only: the pumps look by themselves now and then."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._events: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self, endpoint_id: str) -> Iterator[asyncio.Event]:
        """The endpoint's event, for as long as its pump runs; the first pump starts to listen, the last one ends it."""
        event = self._events.setdefault(endpoint_id, asyncio.Event())
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="endpoint wakeup")
        try:
            yield event
        finally:
            self._events.pop(endpoint_id, None)
            if not self._events and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                async with await connect(self._database_url, "deliveries") as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._wake_all()
                    async for payload in notices(connection):
                        if (event := self._events.get(payload)) is not None:
                            event.set()
            except (psycopg.Error, OSError) as error:
                log.warning("the connection that wakes the endpoints' pumps is lost: %s", error)
            self._wake_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _wake_all(self) -> None:
        for event in self._events.values():
            event.set()
