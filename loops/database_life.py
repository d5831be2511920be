"""A process follows which life of the database is the present one (`storage/platform/installation.py`)."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from runtime.postgres import DATABASE_AWAY, Pool
from runtime.pulse import pulse
from runtime.tasks import pause
from storage.leaderboard.rankings import Rankings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


async def follow_database(pool: Pool, rankings: Rankings, stop: asyncio.Event, *, seconds: float = LOOK_SECONDS) -> None:
    """Look every second until `stop`, so that no board is shown longer than that from rows that a failover or a restore has undone."""
    while not stop.is_set():
        with contextlib.suppress(*DATABASE_AWAY):  # then nothing is read from PostgreSQL either, and what was known stays
            async with pool.connection() as connection:
                before = rankings.life
                if await rankings.learn(connection) and before:
                    log.warning("the database is another or goes on from an earlier point: boards are read from it until they are rebuilt")
            pulse.beat("database-life")
        await pause(stop, seconds)


@contextlib.asynccontextmanager
async def following_database(pool: Pool, rankings: Rankings) -> AsyncIterator[None]:
    """Follow it beside the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(follow_database(pool, rankings, stop), name="database-life")
        try:
            yield
        finally:
            stop.set()
