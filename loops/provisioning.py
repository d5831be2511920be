"""Upkeep: what must be there before it is needed, looked after for as long as a worker runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from temporalio.service import RPCError

from runtime.postgres import DATABASE_ERRORS, Pool, transaction
from runtime.pulse import pulse
from runtime.redis import Redis, RedisError
from runtime.tasks import pause
from storage.event.log import ensure_partitions
from storage.leaderboard.rankings_expiry import claim_expiry, expire_unread
from storage.platform.installation import database_life

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0


async def run_provisioning(
    pool: Pool,
    redis: Redis,
    ensure_workflows: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    interval_seconds: float = INTERVAL_SECONDS,
) -> None:
    """Every minute until `stop` is set: the event log has its partitions of the days to come, and each scoring partition its workflow.

    A Temporal that lost its database thus gets the scoring workflows back while the worker runs. Once an hour, live keys that nobody
    reads any more are let go. What is away now is left to the next round.
    """
    while not stop.is_set():
        try:
            async with transaction(pool) as connection:
                made = await ensure_partitions(connection)
            if made:
                log.info("made %d partitions of the event log", made)
            await ensure_workflows()
            async with pool.connection() as connection:
                life = await database_life(connection)
            if await claim_expiry(redis, life=life):
                log.info("let %d live keys go that nobody reads any more", await expire_unread(pool, redis))
            pulse.beat("provisioning")
        except (RPCError, RuntimeError, OSError, RedisError, *DATABASE_ERRORS) as error:
            log.info("provisioning is put off: %s", error)
        await pause(stop, interval_seconds)
