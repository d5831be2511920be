"""The watchers of a board: what goes wrong with the view of one is no matter of the others."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from api.leaderboard.board import BoardReader
from api.leaderboard.room import Room
from api.leaderboard.socket_session import Client
from domain import limits
from domain.leaderboard.view import CURRENT, Wanted
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.board import Boards
from storage.leaderboard.feed import BoardFeed
from storage.leaderboard.profile import Profiles
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import Event, World, definition


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


class Listener:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.client = Client(self._take)
        self.task = self.client.start()

    async def _take(self, text: str) -> None:
        self.told.append(json.loads(text))

    async def hears(self, kind: str, **facts: Any) -> dict[str, Any]:
        async with asyncio.timeout(60.0):
            while True:
                for message in self.told:
                    if message["type"] == kind and all(message.get(name) == value for name, value in facts.items()):
                        return message
                await asyncio.sleep(0.01)


async def test_a_view_of_a_window_that_is_none_any_more_stops_nobody_else(world: World, redis_client: Redis, postgres_url: str) -> None:
    daily, weekly = ({"type": each, "timezone": "UTC"} for each in ("daily", "weekly"))
    board = await world.make_board("b", definition(timeframe=daily))
    profiles = Profiles(world.pool, postgres_url)
    reader = BoardReader(Boards(world.pool, world.rankings), profiles)
    room = Room(reader, BoardFeed(redis_client), world.tenant_id, "b")
    room.start()
    many, odd = [Listener() for _ in range(9)], Listener()
    try:
        for listener in (odd, *many):
            room.clients.add(listener.client)
        await room.look(odd.client, Wanted(window_key="2099-06-03"))
        for size, listener in enumerate(many, 1):
            await room.look(listener.client, Wanted(window_key=CURRENT, page_size=size))
        await world.change_board(board, definition(timeframe=weekly))
        refusal = await odd.hears("error", code="VALIDATION_ERROR")
        assert "window_key" in json.dumps(refusal)
        key = (await reader.view(world.tenant_id, "b", CURRENT)).window_key
        for listener in (odd, *many):
            assert (await listener.hears("snapshot", window_key=key))["entries"] == []
        await world.send_now([Event(f"u{n}", 5, 0, f"e{n}") for n in range(9)])
        await world.pump()
        for size, listener in enumerate([*many, odd], 1):
            await listener.hears("update", total=9)
            assert size == 10 or len(listener.told[-1]["entries"]) == size
    finally:
        await room.stop()
        for listener in (odd, *many):
            listener.task.cancel()
        await profiles.close()


async def test_lines_are_bounded_by_bytes_and_the_tenant_with_most_gives_way(
    world: World, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINE_BYTES", msgspec.structs.replace(limits.LINE_BYTES, value=20_000))
    await world.make_board("b", definition())
    await world.send([Event(f"u{n}", n, 0, f"e{n}") for n in range(100)])
    await world.pump()
    profiles = Profiles(world.pool, postgres_url)
    reader = BoardReader(Boards(world.pool, world.rankings), profiles)
    try:
        for offset in range(0, 100, 10):
            page = await reader.page(world.tenant_id, "b", limit=10, offset=offset, window_key=None)
            assert len(json.loads(page.body)["entries"]) == 10
            assert reader.lines.size <= 20_000
    finally:
        await profiles.close()
