"""Scoring whole and its floor, each in a process of its own: reads one `Plan` from standard input, answers one `Pumped`.

`whole` is the product's own pump: read a batch of the log, evaluate the rules, merge the standings, move the cursor, commit, publish
to the rankings. `upsert` is only the statement that merges standings, with prepared columns of the same number of
rows for each transaction, and a commit.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import uvloop
from psycopg.types.numeric import Int4

from activities.scoring import ScoringPump
from benchmarks.closed_loop import METER_SECONDS
from domain.leaderboard.definition import Aggregation
from loops.scoring.batch import Scorer
from loops.scoring.values import ScoringBatch
from loops.scoring.wakeup import Wakeup
from runtime.gc_tuning import tune_gc
from runtime.ids import new_id
from runtime.postgres import connect, make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from storage.leaderboard import standing
from storage.leaderboard.rankings import Rankings


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `boards` and `users` (in one partition) shape the floor's rows; `transactions` is how many it commits."""

    settings: Settings
    tenant_id: UUID
    work: Literal["whole", "upsert"]
    batch: int
    boards: int
    users: int
    transactions: int


class Pumped(msgspec.Struct, frozen=True, kw_only=True):
    """How many events and rows of standings it was, and how long it took."""

    events: int
    standings: int
    seconds: float
    batch_p50_ms: float
    batch_p99_ms: float


class Tally:
    """Counts while the work goes on."""

    def __init__(self) -> None:
        self.events = self.standings = 0
        self.latencies: list[float] = []

    def add(self, events: int, standings: int, began: float) -> None:
        """One batch more."""
        self.events += events
        self.standings += standings
        self.latencies.append(time.perf_counter() - began)

    def answer(self, seconds: float) -> Pumped:
        """What it came to."""
        ordered = sorted(self.latencies)
        return Pumped(
            events=self.events,
            standings=self.standings,
            seconds=seconds,
            batch_p50_ms=ordered[len(ordered) // 2] * 1000,
            batch_p99_ms=ordered[-max(1, len(ordered) // 100)] * 1000,
        )


class CountingPump(ScoringPump):
    """The product's pump, which also counts what it wrote."""

    tally: Tally

    async def step(self, scorer: Scorer) -> ScoringBatch:
        """One transaction of the product."""
        return await self._counted(super().step(scorer))

    async def turn(self, scorer: Scorer) -> ScoringBatch:
        """One for a tenant that fills whole reads, as the benchmark's does."""
        return await self._counted(super().turn(scorer))

    async def _counted(self, transaction: Awaitable[ScoringBatch]) -> ScoringBatch:
        began = time.perf_counter()
        batch = await transaction
        if batch.events:
            self.tally.add(batch.events, sum(len(publication.entries) // 2 for publication in batch.publications), began)
        return batch


async def whole(plan: Plan) -> Pumped:
    """Score everything that is in the log, one partition after the other, until it is published."""
    redis = make_redis(plan.settings)
    rankings = Rankings(redis)
    pool = make_pool(plan.settings.database_url, "bench-pump", max_size=4)
    await pool.open(wait=True)
    tune_gc()
    wakeup, tally, stop = Wakeup(plan.settings.database_url), Tally(), asyncio.Event()
    pumps = [CountingPump(pool, rankings, wakeup, partition) for partition in range(plan.settings.scoring_partitions)]
    print("begin", flush=True)
    start = time.perf_counter()
    for pump in pumps:
        pump.tally = tally
        await pump.run(stop, until_idle=True)
    seconds = time.perf_counter() - start
    print("end", flush=True)
    await asyncio.sleep(METER_SECONDS)
    await pool.close()
    await redis.aclose()
    return tally.answer(seconds)


async def upsert(plan: Plan) -> Pumped:
    """Merge prepared rows, one transaction after the other, over one connection; every partition with its own users."""
    connection = await connect(plan.settings.database_url, "bench-upsert")
    partitions = plan.settings.scoring_partitions
    windows = sorted((new_id() for _ in range(plan.boards)), key=lambda each: each.bytes)
    work = [columns(plan, windows, partition) for partition in range(partitions)]
    tally = Tally()
    print("begin", flush=True)
    start = time.perf_counter()
    for number in range(plan.transactions):
        rows = work[number * partitions // plan.transactions]
        began = time.perf_counter()
        async with connection.transaction(), connection.cursor(binary=True) as cursor:
            await cursor.execute(standing._MERGE[Aggregation.SUM], rows)
            await cursor.fetchall()
        tally.add(0, plan.boards * plan.users, began)
    seconds = time.perf_counter() - start
    print("end", flush=True)
    await asyncio.sleep(METER_SECONDS)
    await connection.close()
    return tally.answer(seconds)


def columns(plan: Plan, windows: list[UUID], partition: int) -> list[Any]:
    """The statement's parameters for all boards and users of one partition, in the order of the key."""
    users = sorted((new_id() for _ in range(plan.users)), key=lambda each: each.bytes)
    keys = [(window, number, user) for window in windows for number, user in enumerate(users)]
    size, now = len(keys), datetime.now(UTC)
    names = [f"user-{partition}-{number:06d}" for _, number, _ in keys]
    places = {window: Int4(place) for place, window in enumerate(windows, 1)}
    fixed: list[Any] = [[plan.tenant_id] * len(windows), windows, partition, 1]
    columns: list[Any] = [[places[key[0]] for key in keys], [key[2] for key in keys], names, [1_234_500] * size, [3] * size]
    return [*fixed, *columns, [now] * size, [now] * size]


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    print(msgspec.json.encode(uvloop.run({"whole": whole, "upsert": upsert}[planned.work](planned))).decode(), flush=True)
