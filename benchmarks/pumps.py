"""The product's pumps of all partitions, as a worker runs them, without Temporal: until SIGTERM, on what the environment names."""

import asyncio
import signal

import uvloop

from activities.scoring import ScoringPump
from loops.scoring.wakeup import Wakeup
from runtime.postgres import make_pool
from runtime.redis import make_redis
from runtime.settings import Settings, load_settings, process_environment
from storage.leaderboard.rankings import Rankings


async def serve(settings: Settings) -> None:
    """Score and publish until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    redis, wakeup = make_redis(settings), Wakeup(settings.database_url)
    async with make_pool(settings.database_url, "bench-pumps", max_size=settings.scoring_partitions * 2) as pool, wakeup:
        pumps = [ScoringPump(pool, Rankings(redis), wakeup, partition) for partition in range(settings.scoring_partitions)]
        await asyncio.gather(*(pump.run(stop) for pump in pumps))
    await redis.aclose()


if __name__ == "__main__":
    uvloop.run(serve(load_settings(process_environment())))
