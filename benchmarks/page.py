"""Reading a page of 100 of a large board: any page, beside the bare ZREVRANGE; and the same page again, beside the server's hello."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import redis

from benchmarks import event
from benchmarks.bench import Bench
from benchmarks.board import make_board
from benchmarks.ingestion import send_hello
from benchmarks.load import Load
from benchmarks.measure import BenchError, Comparison, Sample, rate, run_load
from benchmarks.stack import Server
from domain.leaderboard.standing import KEY_LENGTH
from runtime.postgres import make_pool
from runtime.redis import make_redis
from storage.leaderboard.rankings import RankedBoard, Rankings
from storage.leaderboard.rankings_repair import rebuild_window

PAGE = 100
PAGES = 8000
READ_AMONG = 40_000
"""Pages begin anywhere among so many members at the top: no two are the same, but users' profiles are soon known."""

BOARD = "bench-page"
MEMBER_BYTES = KEY_LENGTH + len("member-00000001")


@contextmanager
def page(bench: Bench) -> Iterator[list[Comparison]]:
    """A page of 100 at c=64 of a board with `bench.members` members."""
    with ExitStack() as servers:
        api, hello = (servers.enter_context(bench.stack.server(variant)) for variant in ("api", "hello"))
        board = make_large_board(bench, api)
        check_page(bench, api)
        randomness = random.Random(11)
        offsets = randomness.sample(range(READ_AMONG), PAGES)
        pages = [event.get(f"/v1/leaderboards/{BOARD}?limit={PAGE}&offset={offset}", bench.api_key) for offset in offsets]
        top = [event.get(f"/v1/leaderboards/{BOARD}?limit={PAGE}", bench.api_key)]
        size = f"{bench.members:,}".replace(",", " ")
        yield [
            Comparison(
                path=lambda: bench.drive(api, pages, status=200),
                floor=lambda: range_directly(bench, board, offsets),
                rows=[rate(f"page of {PAGE} of {size}, uncached", "raw ZREVRANGE of as many, c=64", 0.2, "pages/s")],
            ),
            Comparison(
                path=lambda: bench.drive(api, top, status=200),
                floor=lambda: send_hello(bench, hello),
                rows=[rate(f"page of {PAGE} of {size}, cached", "ASGI hello of the same server", 0.65, "pages/s")],
            ),
        ]


def make_large_board(bench: Bench, api: Server) -> RankedBoard:
    """The board; its standings straight into PostgreSQL, and from there into Redis as a repair does it."""
    board = make_board(bench, api, BOARD)
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        fill_standings(connection, bench, board.window_id)
    asyncio.run(rebuild(bench, board))
    return board


def fill_standings(connection: psycopg.Connection[tuple[UUID]], bench: Bench, window_id: UUID) -> None:
    """As many users with a score as the board is to have."""
    connection.execute(
        "INSERT INTO app_user (tenant_id, user_id, external_id, display_name, created_at, updated_at)"
        " SELECT %s, uuidv7(), 'member-' || lpad(n::text, 8, '0'), 'Member ' || n, now(), now() FROM generate_series(1, %s) AS n",
        (bench.tenant_id, bench.members),
    )
    connection.execute(
        "INSERT INTO standing (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, counted_at,"
        " scoring_partition, position)"
        " SELECT tenant_id, %s, user_id, external_id, score, now() - score * interval '1 microsecond', score, 1, now(), 0, 1"
        " FROM (SELECT *, (random() * 1e9)::bigint AS score FROM app_user WHERE tenant_id = %s AND external_id LIKE 'member-%%') AS m",
        (window_id, bench.tenant_id),
    )
    connection.execute("ANALYZE app_user, standing")


async def rebuild(bench: Bench, board: RankedBoard) -> None:
    """Fill the rankings from PostgreSQL."""
    client = make_redis(bench.stack.settings)
    pool = make_pool(bench.stack.settings.database_url, "bench-rebuild", max_size=1)
    await pool.open(wait=True)
    try:
        outcome = await rebuild_window(pool, Rankings(client), board)
    finally:
        await pool.close()
        await client.aclose()
    if outcome != "done":
        raise BenchError(f"the rankings were not filled: {outcome}")


def check_page(bench: Bench, api: Server) -> None:
    """A measurement of wrong pages would be worth nothing."""
    with bench.admin(api) as client:
        body = client.get(f"/v1/leaderboards/{BOARD}", params={"limit": PAGE, "offset": PAGE}).json()
    ranks = [entry["rank"] for entry in body["entries"]]
    if body["total"] != bench.members or ranks != list(range(PAGE + 1, 2 * PAGE + 1)):
        raise BenchError(f"the page is not as it should be: total {body['total']}, ranks {ranks[:3]} …")


def range_directly(bench: Bench, board: RankedBoard, offsets: list[int]) -> Sample:
    """The bare range commands, at c=64, one in flight on each connection."""
    address = urlsplit(bench.stack.settings.redis_url)
    with redis.Redis.from_url(bench.stack.settings.redis_url) as server:
        (key,) = [
            found.decode() for found in server.scan_iter(match=f"{board.keys('')[0][:-2]}:*z", count=10_000) if b":fill:" not in found
        ]
    assert address.port is not None
    load = Load(
        port=address.port,
        connections=64,
        seconds=bench.seconds,
        protocol="resp",
        hello=[resp("AUTH", str(address.password))],
        requests=[[resp("ZREVRANGE", key, str(offset), str(offset + PAGE - 1), "WITHSCORES")] for offset in offsets],
        answer_bytes=len(f"*{2 * PAGE}\r\n") + PAGE * (len(f"${MEMBER_BYTES}\r\n") + MEMBER_BYTES + 2 + len("$1\r\n0\r\n")),
    )
    return run_load(load, bench.meter)


def resp(*parts: str) -> str:
    """A command in Redis's protocol."""
    return f"*{len(parts)}\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in parts)
