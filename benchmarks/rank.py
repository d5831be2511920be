"""Reading one user's rank on a large board, beside the same on a board of ten thousand."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import event
from benchmarks.bench import Bench
from benchmarks.board import make_board
from benchmarks.measure import BenchError, Comparison, Sample, latency
from benchmarks.stack import Server
from domain.leaderboard.standing import order_key
from runtime.ids import utc_now
from runtime.redis import make_redis
from storage.leaderboard.rankings import RankedBoard, Rankings

SMALL, LARGE, LARGEST = 10_000, 1_000_000, 5_000_000
ASKED = 10_000
CHUNK = 20_000


@contextmanager
def rank(bench: Bench) -> Iterator[list[Comparison]]:
    """`GET …/rank/{user_id}` at c=1, users anywhere on the board; 5 million members in the full run only."""
    with bench.stack.server("api") as api:
        small = ask_about(bench, api, SMALL)
        yield [compare_with(bench, api, members, small) for members in ((bench.members,) if bench.quick else (LARGE, LARGEST))]


def compare_with(bench: Bench, api: Server, members: int, small: list[list[str]]) -> Comparison:
    """The line of a board with so many members."""
    large = ask_about(bench, api, members)
    row = latency(f"rank of one of {spoken(members)}, c=1, p50", f"one of {spoken(SMALL)}", 1.5, "p50")

    def ask(requests: list[list[str]]) -> Sample:
        return bench.drive(api, requests, status=200, connections=1)

    return Comparison(path=lambda: ask(large), floor=lambda: ask(small), rows=[row])


def spoken(number: int) -> str:
    """The number, thousands apart."""
    return f"{number:,}".replace(",", " ")


def ask_about(bench: Bench, api: Server, members: int) -> list[list[str]]:
    """A board of its own with so many members, its entries straight into the rankings. Answers the questions about it."""
    board_name = f"bench-rank-{members}"
    asyncio.run(fill(bench, make_board(bench, api, board_name), members))
    with bench.admin(api) as client:
        told = client.get(f"/v1/leaderboards/{board_name}/rank/{name(0)}").json()
    if (told.get("rank"), told.get("total")) != (members, members):
        raise BenchError(f"the rank is not as it should be: {told}")
    picks = random.Random(5).sample(range(members), ASKED)
    return [event.get(f"/v1/leaderboards/{board_name}/rank/{name(pick)}", bench.api_key) for pick in picks]


def name(number: int) -> str:
    """The external id of a member; a higher number has a higher score."""
    return f"ranked-{number * 2_654_435_761 % 2**32:010d}"


async def fill(bench: Bench, board: RankedBoard, members: int) -> None:
    """So many members into the rankings, and no trace of them elsewhere: a rank is read from there alone."""
    redis = make_redis(bench.stack.settings)
    rankings, now = Rankings(redis), utc_now()
    filling = rankings.begin_fill(board)
    for first in range(0, members, CHUNK):
        numbers = range(first, min(first + CHUNK, members))
        await filling.add([(name(number).encode(), order_key(board.method, number, now)) for number in numbers])
    outcome = await filling.swap([])
    await redis.aclose()
    if outcome != "done":
        raise BenchError(f"the rankings were not filled: {outcome}")
