"""The platform's gauges, read for Prometheus by one worker at a time."""

import asyncio
import logging

from runtime.metrics import PLATFORM
from runtime.postgres import DATABASE_AWAY, Pool
from runtime.pulse import pulse
from runtime.tasks import pause
from storage.platform.gauges import read_gauges
from storage.platform.lease import is_our_round

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 15.0
LEASE = "gauges"


async def run_gauges(pool: Pool, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Read every 15 s until `stop` is set, whoever gets the lease. What was read two rounds ago is shown no more."""
    while not stop.is_set():
        try:
            if await is_our_round(pool, LEASE, interval_seconds):
                PLATFORM.put(await read_gauges(pool), good_seconds=2 * interval_seconds)
            pulse.beat(LEASE)
        except DATABASE_AWAY as error:
            log.info("the gauges are put off: %s", error)
        await pause(stop, interval_seconds)
