"""How many pumps a worker process runs: its fair share of the partitions among the workers that are alive.

Each worker keeps a connection on which it asks every two seconds who else does. The server knows when each asked last, so a worker that
is dead, frozen or cut off is not counted after some seconds, and needs nobody to clear up after it.
"""

import asyncio
import logging
import threading

from temporalio.worker import CustomSlotSupplier, SlotMarkUsedContext, SlotPermit, SlotReleaseContext, SlotReserveContext

from runtime.postgres import BRISK_SECONDS, DATABASE_AWAY, Connection, connect
from runtime.pulse import pulse
from runtime.tasks import pause
from storage.scoring.pump import PRESENCE, live_workers

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
ALIVE_SECONDS = 7.0
WAIT_SECONDS = 0.1


class PumpShare:
    """The most pumps that this process may run, and those that it runs; `run` keeps the one up to date and gives up what is beyond it."""

    def __init__(self, database_url: str, partitions: int) -> None:
        self._database_url, self._partitions = database_url, partitions
        self.limit = 0
        self._running: dict[int, asyncio.Event] = {}

    @property
    def running(self) -> int:
        """How many pumps run here."""
        return len(self._running)

    def begin(self, partition: int, stop: asyncio.Event) -> None:
        """A pump runs; `stop` is set when it is to be given up."""
        self._running[partition] = stop

    def end(self, partition: int, stop: asyncio.Event) -> None:
        """It runs no more."""
        if self._running.get(partition) is stop:
            del self._running[partition]

    def settle(self, workers: int) -> None:
        """Take the number of workers alive; the pumps beyond the share stop, the latest first."""
        limit = -(-self._partitions // max(1, workers))
        if limit != self.limit:
            log.info("%d workers are alive: this one runs at most %d of %d pumps", workers, limit, self._partitions)
        self.limit = limit
        for stop in list(self._running.values())[limit:]:
            stop.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look who is alive until `stop`. What cannot be asked stays as it was."""
        while not stop.is_set():
            try:
                async with await connect(self._database_url, PRESENCE, answer_seconds=BRISK_SECONDS) as connection:
                    await self._look(connection, stop)
            except DATABASE_AWAY as error:
                log.warning("who else scores cannot be asked: %s", error)
                await pause(stop, LOOK_SECONDS)

    async def _look(self, connection: Connection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.settle(await live_workers(connection, ALIVE_SECONDS))
            pulse.beat("share")
            await pause(stop, LOOK_SECONDS)


class PumpSlots(CustomSlotSupplier):
    """Lets the Temporal worker ask for a pump only while the process has room in its share: others get it otherwise."""

    def __init__(self, share: PumpShare) -> None:
        self._share = share
        self._taken = 0
        self._lock = threading.Lock()

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Wait for room."""
        while (permit := self.try_reserve_slot(ctx)) is None:  # noqa: ASYNC110 - places are released on threads of the library
            await asyncio.sleep(WAIT_SECONDS)
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A place if there is room now."""
        with self._lock:
            if self._taken >= self._share.limit:
                return None
            self._taken += 1
        return SlotPermit()

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """Nothing: a place counts from when it is asked for."""

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """There is room again."""
        with self._lock:
            self._taken -= 1
