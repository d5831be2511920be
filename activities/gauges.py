"""The platform's gauges, read for Prometheus by one worker at a time."""

import asyncio
import contextlib
import logging

from runtime.metrics import PLATFORM
from runtime.postgres import DATABASE_AWAY, Pool, transaction
from runtime.pulse import pulse
from storage.gauges import read_gauges
from storage.lease import take_lease

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 15.0
LEASE = "gauges"


async def run_gauges(pool: Pool, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Read every 15 s until `stop` is set, whoever gets the lease. What was read two rounds ago is shown no more."""
    while not stop.is_set():
        try:
            async with transaction(pool) as connection:
                is_ours = await take_lease(connection, LEASE, interval_seconds * 0.9)
            if is_ours:
                PLATFORM.put(await read_gauges(pool), good_seconds=2 * interval_seconds)
            pulse.beat(LEASE)
        except DATABASE_AWAY as fault:
            log.info("the gauges are put off: %s", fault)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_seconds)
