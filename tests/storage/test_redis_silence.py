"""A Redis that takes connections and answers nothing, from the start or in the middle of an answer, is given up within its limit."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from runtime.ids import new_id, utc_now
from runtime.postgres import Pool
from runtime.redis import TIMEOUT_SECONDS, Redis, RedisError, make_redis
from runtime.redis_line import RedisLine
from runtime.settings import Settings
from storage.leaderboard import feed as board_feed
from storage.leaderboard.board import Boards
from storage.leaderboard.feed import BoardFeed
from storage.leaderboard.rankings import RankedBoard, Rankings
from storage.platform.rate_limit import RateLimiter
from tests.builders.api import event, make_world, serving
from tests.builders.scoring import Event, World, definition
from tests.swallowing import Proxy, in_front_of

PATIENCE_SECONDS = 1.75 * TIMEOUT_SECONDS
"""Whoever is waited for twice, or queues behind one who waits, takes longer."""
AWAY = (RedisError, OSError)


@asynccontextmanager
async def behind_proxy(settings: Settings) -> AsyncIterator[tuple[Proxy, Redis]]:
    """A client, and what stands between it and the server."""
    async with in_front_of(settings.redis_url) as (proxy, url):
        redis = make_redis(msgspec.structs.replace(settings, redis_url=url), max_connections=8)
        try:
            yield proxy, redis
        finally:
            await redis.aclose()


def fall_silent(proxy: Proxy) -> None:
    proxy.silence_present()
    proxy.shut = True


def queued(redis: Redis) -> Any:
    pipeline: Any = redis.pipeline(transaction=False)
    for number in range(3):
        pipeline.get(f"silence:{number}")
    return pipeline.execute()


def paths(redis: Redis) -> dict[str, Any]:
    """Everything that the product asks of Redis, and what crowds do."""
    rankings, board = Rankings(redis), RankedBoard(new_id(), new_id(), new_id(), "sum", None)
    return {
        "command": redis.ping(),
        "pipeline": queued(redis),
        "subscribe": redis.pubsub().subscribe("silence"),
        "page": rankings.page(board, 0, 10),
        "marks": rankings.marks([board], 0),
        "retire": rankings.retire(board),
        **{f"line {number}": redis.line.ask([("PING",)]) for number in range(20)},
        **{f"command {number}": redis.ping() for number in range(20)},
    }


@pytest.mark.parametrize("warm", [True, False], ids=["connected", "not connected"])
async def test_whatever_a_silent_server_is_asked_ends_in_time(settings: Settings, warm: bool) -> None:
    async with behind_proxy(settings) as (proxy, redis):
        if warm:
            await asyncio.gather(redis.line.ask([("PING",)]), *(redis.ping() for _ in range(5)))
        fall_silent(proxy)
        for _ in range(2):
            asked = {name: asyncio.ensure_future(each) for name, each in paths(redis).items()}
            _, late = await asyncio.wait(asked.values(), timeout=PATIENCE_SECONDS)
            for each in late:
                each.cancel()
            assert [name for name, each in asked.items() if each in late] == []
            # To subscribe is to send; what comes then, the feed waits for.
            assert [name for name, each in asked.items() if not isinstance(each.exception(), AWAY)] in ([], ["subscribe"])


async def test_a_server_that_falls_silent_in_the_middle_of_an_answer_is_given_up(settings: Settings) -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if b"GET" in data:
                writer.write(b"$1\r\nx\r\n$10\r\nhal")
            elif b"PING" not in data:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        redis = make_redis(msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{port}"))
        line = RedisLine({"host": "127.0.0.1", "port": port}, TIMEOUT_SECONDS)
        asked = [asyncio.ensure_future(each) for each in (queued(redis), line.ask([("GET", "x")] * 3))]
        _, late = await asyncio.wait(asked, timeout=PATIENCE_SECONDS)
        assert not late
        assert [each for each in asked if not isinstance(each.exception(), RedisError)] == []
        line.close()
        await redis.aclose()


async def test_a_crowd_of_readers_gets_its_board_from_postgres(pool: Pool, settings: Settings, postgres_url: str) -> None:
    async with behind_proxy(settings) as (proxy, redis):
        world = await World(pool, Rankings(redis), postgres_url).open()
        board = await world.make_board("b", definition())
        await world.send([Event("u", 1, 0, "a")])
        await world.pump()
        fall_silent(proxy)
        boards = Boards(pool, Rankings(redis))
        view = await boards.view(board, None, utc_now())
        assert view is not None
        for _ in range(2):
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                pages = await asyncio.gather(*(boards.page(view, 0, 10) for _ in range(30)))
            assert {page.total for page in pages} == {1}
            boards._away_until = 0.0  # as later, when somebody tries Redis again


async def test_a_feed_whose_connection_carries_nothing_any_more_makes_a_new_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_feed, "READ_SECONDS", 0.2)
    async with behind_proxy(settings) as (proxy, redis):
        feed, tenant_id, board_id, heard = BoardFeed(redis), new_id(), new_id(), asyncio.Event()
        listening = asyncio.create_task(feed.run())
        try:
            async with asyncio.timeout(60):
                while not feed.up:
                    await asyncio.sleep(0.01)
                await feed.watch(tenant_id, board_id, lambda _: heard.set())
                await asyncio.sleep(1)
                assert feed.up, "a quiet server is no silent one"
                heard.clear()
                proxy.silence_present()
                await heard.wait()  # connected anew: word may have been lost
                heard.clear()
                await Rankings(redis).announce(tenant_id, board_id)
                await heard.wait()
        finally:
            listening.cancel()


async def test_requests_do_not_wait_for_a_silent_server(settings: Settings) -> None:
    async with behind_proxy(settings) as (proxy, redis):
        fall_silent(proxy)
        meter = RateLimiter(redis, 20).meter(new_id(), "key", None)
        began = time.monotonic()
        await asyncio.gather(*(meter.take_slowly() for _ in range(500)))
        assert time.monotonic() - began < TIMEOUT_SECONDS


@pytest.mark.usefixtures("pool")
async def test_events_are_taken_while_the_server_is_silent(settings: Settings) -> None:
    async with in_front_of(settings.redis_url) as (proxy, url):
        fall_silent(proxy)
        there = msgspec.structs.replace(settings, redis_url=url)
        with serving(there) as address:
            world = await make_world(there, address)
            with world.client("server") as client:
                for number in range(20):
                    began = time.monotonic()
                    sent = await asyncio.to_thread(client.post, "/v1/events", json=event(f"e{number}"))
                    assert sent.status_code == 202, sent.text
                    assert time.monotonic() - began < TIMEOUT_SECONDS
