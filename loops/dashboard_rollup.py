"""The rollup: counts what has happened, for the dashboard's charts, for as long as a worker runs."""

import asyncio
import logging

from runtime.ids import utc_now
from runtime.postgres import DATABASE_AWAY, Pool, transaction
from runtime.pulse import pulse
from runtime.tasks import pause
from storage.programme.dashboard_rollup import count_events, count_rows, forget_activity, may_count

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


async def run_dashboard_rollup(pool: Pool, partitions: int, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Count every five seconds until `stop` is set. A rollup that finds the database away is left to the next one."""
    while not stop.is_set():
        try:
            more = await count(pool, partitions)
            pulse.beat("dashboard-rollup")
        except DATABASE_AWAY as error:
            more = False
            log.info("the rollup is put off: %s", error)
        if not more:
            await pause(stop, interval_seconds)


async def count(pool: Pool, partitions: int) -> bool:
    """Count a step of everything, each in a transaction of its own; whether there may be more. Nothing while another worker counts."""
    more = False
    for partition in range(partitions):
        async with transaction(pool) as connection:
            if not await may_count(connection):
                return False
            more = await count_events(connection, partition) or more
    async with transaction(pool) as connection:
        if await may_count(connection):
            more = await count_rows(connection, utc_now()) or more
            await forget_activity(connection, utc_now())
    return more
