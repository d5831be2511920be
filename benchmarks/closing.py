"""The end of a large window: ranks and snapshot in one transaction, beside the bare statement, and beside a window a tenth its size."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.bench import Bench
from benchmarks.measure import BenchError, Comparison, Sample, rate
from runtime.ids import new_id
from runtime.postgres import make_pool, transaction
from storage.leaderboard.snapshot import lock_freezing
from storage.leaderboard.window import window_with_board
from storage.payout.window_payout import freeze_window

BOARD = "bench-closing"
SMALLER = 10


@contextmanager
def closing(bench: Bench) -> Iterator[list[Comparison]]:
    """A window of `bench.members` entries, all of which the snapshot keeps."""
    with bench.stack.server("api") as api, bench.admin(api) as client:
        rules = [{"event_type": "bench.closing", "points_expression": "attrs.score"}]
        config = {"timeframe": {"type": "daily"}, "scoring": {"rules": rules}, "ranking": {"size": 1_000_000}}
        answer = client.post("/v1/admin/leaderboards", json={"leaderboard_id": BOARD, "name": "Bench closing", "config": config})
    if answer.status_code != 201:
        raise BenchError(f"the board was not made: {answer.status_code} {answer.text[:400]}")
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        large = make_window(connection, bench, "large", bench.members)
        small = make_window(connection, bench, "small", bench.members // SMALLER)
        connection.execute("CREATE TABLE IF NOT EXISTS bench_snapshot (LIKE snapshot_entry INCLUDING ALL)")
        connection.execute("VACUUM ANALYZE standing")
    size = f"{bench.members:,}".replace(",", " ")
    try:
        yield [
            Comparison(
                path=lambda: freeze(bench, large, bench.members),
                floor=lambda: insert_directly(bench, large, bench.members),
                rows=[rate(f"close a window of {size}", "bare INSERT … SELECT with ranks", 0.5, "entries/s")],
            ),
            Comparison(
                path=lambda: freeze(bench, large, bench.members),
                floor=lambda: freeze(bench, small, bench.members // SMALLER),
                rows=[rate(f"close a window of {size}: linear", "a window a tenth its size", 0.5, "entries/s")],
            ),
        ]
    finally:
        with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS bench_snapshot")


def make_window(connection: psycopg.Connection[tuple[Any, ...]], bench: Bench, key: str, members: int) -> UUID:
    """A window with so many standings, about to be frozen."""
    window_id = new_id()
    connection.execute(
        "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, starts_at, ends_at, closes_at, created_at)"
        " SELECT tenant_id, %s, board_id, %s, 'paid', now() - interval '1 day', now(), now(), now() FROM leaderboard"
        " WHERE tenant_id = %s AND leaderboard_id = %s",
        (window_id, key, bench.tenant_id, BOARD),
    )
    connection.execute(
        "INSERT INTO standing (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, counted_at,"
        " scoring_partition, position)"
        " SELECT %s, %s, gen_random_uuid(), 'closing-' || lpad(n::text, 8, '0'), (random() * 1e6)::bigint, now(), 1, 1, now(), 0, 1"
        " FROM generate_series(1, %s) AS n",
        (bench.tenant_id, window_id, members),
    )
    return window_id


def freeze(bench: Bench, window_id: UUID, members: int) -> Sample:
    """The product's own step, on a window that is made unfrozen first."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM snapshot_entry WHERE window_id = %s", (window_id,))
        connection.execute("VACUUM ANALYZE snapshot_entry")
        connection.execute("UPDATE leaderboard_window SET status = 'closing', total = NULL WHERE window_id = %s", (window_id,))
        connection.execute("CHECKPOINT")
    total, seconds = asyncio.run(timed(lambda: _freeze(bench, window_id)))
    if total != members:
        raise BenchError(f"the snapshot is not as it should be: {total} entries of {members}")
    return Sample(per_second=members / seconds)


async def _freeze(bench: Bench, window_id: UUID) -> int:
    pool = make_pool(bench.stack.settings.database_url, "bench-closing", max_size=1)
    await pool.open(wait=True)
    try:
        async with transaction(pool) as connection:
            await lock_freezing(connection, window_id)
            found = await window_with_board(connection, bench.tenant_id, window_id)
            assert found is not None
            return (await freeze_window(connection, bench.tenant_id, found)).snapshot_size
    finally:
        await pool.close()


async def timed(step: Callable[[], Coroutine[Any, Any, int]]) -> tuple[int, float]:
    """What the step gives, and its seconds."""
    began = time.monotonic()
    return await step(), time.monotonic() - began


def insert_directly(bench: Bench, window_id: UUID, members: int) -> Sample:
    """One statement, as anyone would write it, into a table of the same shape."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE bench_snapshot")
        connection.execute("CHECKPOINT")
        began = time.monotonic()
        connection.execute(
            "INSERT INTO bench_snapshot SELECT tenant_id, window_id, row_number() OVER (ORDER BY score DESC, reached_at, external_user_id),"
            " user_id, external_user_id, score, reached_at FROM standing WHERE tenant_id = %s AND window_id = %s",
            (bench.tenant_id, window_id),
        )
        return Sample(per_second=members / (time.monotonic() - began))
