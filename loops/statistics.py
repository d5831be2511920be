"""Keeps the planner from plans that were made for empty tables, for as long as a worker runs."""

import asyncio
import logging

from runtime.postgres import DATABASE_ERRORS, Pool
from runtime.pulse import pulse
from runtime.tasks import pause
from storage.platform.lease import is_our_round
from storage.platform.statistics import analyse_grown

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
LEASE = "statistics"


async def run_statistics(pool: Pool, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Look every 5 s until `stop` is set, whoever gets the lease, for tables that have grown by much.

    Autovacuum looks once a minute. In that minute a new platform's first payout or burst of events reads whole indexes for each row.
    """
    while not stop.is_set():
        try:
            if await is_our_round(pool, LEASE, interval_seconds) and (names := await analyse_grown(pool)):
                log.info("these tables have grown by much and were analysed: %s", ", ".join(names))
            pulse.beat(LEASE)
        except DATABASE_ERRORS as error:
            log.info("the look at the tables' statistics is put off: %s", error)
        await pause(stop, interval_seconds)
