"""A board's WebSocket with many clients that look at its first page, while it changes as often as a connection may hear of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.board import make_board
from benchmarks.measure import BenchError, Comparison, Row, Sample, in_process
from benchmarks.stack import Server
from benchmarks.watch import Watch, Watched
from domain.leaderboard.standing import order_key
from runtime.ids import utc_now
from runtime.redis import make_redis
from storage.leaderboard.rankings import Mark, RankedBoard, Rankings

BOARD = "bench-fan-out"
CLIENTS = 1000
RATE = 9.0
"""Publications a second. The product sends 10 updates a second at most: more would be merged, and could not all be counted."""
USERS = [f"watched-{n:04d}" for n in range(100)]
GOAL_MS, GOAL_CORES = 50.0, 0.5


@contextmanager
def fan_out(bench: Bench) -> Iterator[list[Comparison]]:
    """A page of 100 on 1 000 connections, 9 changes a second."""
    with bench.stack.server("api") as api:
        board = make_board(bench, api, BOARD)
        label = f"WebSocket, {f'{CLIENTS:,}'.replace(',', ' ')} clients"

        def goal() -> Sample:
            return Sample(per_second=RATE * CLIENTS, p99_ms=GOAL_MS, cores={"api": GOAL_CORES})

        def p99(sample: Sample) -> float:
            return sample.p99_ms or 0.0

        def row(path: str, beside: str, unit: str, **more: object) -> Row:
            return Row(path=f"{label}, {path}", beside=beside, unit=unit, **more)  # type: ignore[arg-type]

        yield [
            Comparison(
                path=lambda: watch(bench, api, board),
                floor=goal,
                rows=[
                    row(
                        "delivered",
                        f"{RATE:g} changes a second for each",
                        "messages/s",
                        goal=0.98,
                        bound="at least",
                        value=lambda pair: pair.path.per_second,
                        floor=lambda pair: pair.floor.per_second,
                    ),
                    row(
                        "published to received, p99",
                        "50 ms",
                        "ms",
                        goal=1.0,
                        bound="at most",
                        value=lambda pair: p99(pair.path),
                        floor=lambda pair: p99(pair.floor),
                    ),
                    row(
                        "cores of the API",
                        "half a core",
                        "cores",
                        goal=1.0,
                        bound="at most",
                        value=lambda pair: pair.path.cores["api"],
                        floor=lambda pair: pair.floor.cores["api"],
                    ),
                ],
            )
        ]


async def fill(bench: Bench, board: RankedBoard, position: int) -> None:
    """Everybody with a score, published up to `position`."""
    redis = make_redis(bench.stack.settings)
    rankings = Rankings(redis)
    await rankings.forget(board)
    filling = rankings.begin_fill(board)
    await filling.add([(user.encode(), order_key(board.method, n, utc_now())) for n, user in enumerate(USERS)])
    await filling.swap([Mark(0, 1, position)])
    await redis.aclose()


def watch(bench: Bench, api: Server, board: RankedBoard) -> Sample:
    """One run of the clients; every message that was numbered has to have come."""
    asyncio.run(fill(bench, board, 1))
    plan = Watch(
        settings=bench.stack.settings,
        port=api.port,
        key=bench.api_key,
        leaderboard_id=BOARD,
        board=board,
        users=USERS,
        position=1,
        clients=CLIENTS,
        rate=RATE,
        seconds=bench.seconds,
    )
    watched, cpu = in_process("benchmarks.watch", plan, Watched, api.meter)
    if watched.missing:
        raise BenchError(f"{watched.missing} messages were lost")
    return Sample(
        per_second=watched.delivered / bench.seconds,
        p50_ms=watched.p50_ms,
        p99_ms=watched.p99_ms,
        cores={name: seconds / bench.seconds for name, seconds in cpu.items()},
    )
