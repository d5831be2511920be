"""What gamers ask of boards, and how much one of them may hold."""

import asyncio
from contextlib import ExitStack

import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from activities.scoring import ScoringPump
from domain import limits
from loops.scoring.wakeup import Wakeup
from runtime.postgres import Pool
from runtime.redis import Redis
from runtime.settings import Settings
from storage.leaderboard.rankings import Rankings
from tests.builders.api import World, event

DAY = "2099-01-01T00:00:00.000Z"


def gamer(world: World, user: str) -> httpx.Client:
    with world.client("server") as server:
        token = server.post("/v1/auth/gamer-token", json={"user_id": user}).json()["token"]
    return httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0)


async def make_board(world: World, pool: Pool, redis: Redis, settings: Settings) -> None:
    """A board on which `ann` has 5 points and `me-too` has 3."""
    rules = [{"event_type": "goal", "points_expression": "attrs.points"}]
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules, "aggregation": "sum"}}
    with world.client() as admin:
        assert admin.post("/v1/admin/leaderboards", json={"leaderboard_id": "b", "name": "B", "config": config}).status_code == 201
        for user, points in (("ann", 5), ("me-too", 3)):
            assert admin.post("/v1/events", json=event(user, user, type="goal", attrs={"points": points})).status_code == 202
    for partition in range(settings.scoring_partitions):
        await ScoringPump(pool, Rankings(redis), Wakeup(settings.database_url), partition).run(asyncio.Event(), until_idle=True)


async def test_me_is_the_gamer_of_the_token_and_nobody_elses_alias(
    world: World, pool: Pool, redis_client: Redis, settings: Settings
) -> None:
    await make_board(world, pool, redis_client, settings)
    with gamer(world, "ann") as ann, world.client("read") as reader:
        for what, place in (("rank", 1), ("score", 1)):
            found = ann.get(f"/v1/leaderboards/b/{what}/me").json()
            assert (found["user_id"], found["rank"]) == ("ann", place)
            assert reader.get(f"/v1/leaderboards/b/{what}/me").status_code == 404
        assert ann.get("/v1/leaderboards/b/user/me").json()["user"]["user_id"] == "ann"
        refused = ann.get(f"/v1/snapshots/b/{DAY}/user/me")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")
    with gamer(world, "bob") as bob:
        refused = bob.get("/v1/leaderboards/b/rank/me")
        assert refused.status_code == 404
        assert "'bob'" in refused.text


async def test_one_person_and_one_tenant_hold_so_many_sockets(
    world: World, pool: Pool, redis_client: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_board(world, pool, redis_client, settings)
    monkeypatch.setattr(limits, "SOCKETS_OF_PERSON", msgspec.structs.replace(limits.SOCKETS_OF_PERSON, value=2))
    monkeypatch.setattr(limits, "SOCKETS_OF_TENANT", msgspec.structs.replace(limits.SOCKETS_OF_TENANT, value=3))
    address = world.url.replace("http", "ws") + "/v1/leaderboards/b/ws"
    with gamer(world, "ann") as ann, gamer(world, "bob") as bob, ExitStack() as held:
        for _ in range(2):
            held.enter_context(connect(address, additional_headers={"Authorization": ann.headers["Authorization"]}))
        with pytest.raises(InvalidStatus) as refusal:
            connect(address, additional_headers={"Authorization": ann.headers["Authorization"]})
        assert (refusal.value.response.status_code, refusal.value.response.headers["Retry-After"]) == (429, "1")
        with connect(address, additional_headers={"Authorization": bob.headers["Authorization"]}), pytest.raises(InvalidStatus):
            connect(address, additional_headers={"Authorization": bob.headers["Authorization"]})
        async with asyncio.timeout(60.0):
            while True:
                try:
                    held.enter_context(connect(address, additional_headers={"Authorization": bob.headers["Authorization"]}))
                    break
                except InvalidStatus:
                    await asyncio.sleep(0.05)
