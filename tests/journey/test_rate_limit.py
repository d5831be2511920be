"""A tenant's rate limit over HTTP, on every way in."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from runtime.postgres import Pool
from runtime.settings import Settings
from tests.api_world import World, event, make_world, serving
from tests.board_socket import watching
from tests.conftest import settings_for

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with serving(settings_for(postgres_url, redis_server, "127.0.0.1:1")) as address:
        yield address


@pytest_asyncio.fixture
async def world(pool: Pool, settings: Settings, url: str) -> World:
    return await make_world(settings, url)


async def test_too_many_requests_are_told_when_to_come_again(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    tenant = f"{world.url}/v1/operator/tenants/{world.tenant_id}"
    assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": 0}).status_code == 400
    changed = httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": 2})
    assert changed.json()["rate_limit_per_second"] == 2
    with world.client("server") as server, world.client() as admin, other.client("server") as stranger:
        events = [server.post("/v1/events", json=event(f"e{number}")) for number in range(30)]
        settings_read = [admin.get("/v1/admin/settings") for _ in range(20)]
        assert stranger.post("/v1/events", json=event("e1")).status_code == 202
    for answers in (events, settings_read):
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["error"]["code"] == "RATE_LIMITED"
        assert refused[0].headers["retry-after"] == "1"
    assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": None}).json()["rate_limit_per_second"] is None


def refused_upgrade(world: World) -> Response:
    """The answer to the first of many upgrades that is refused: a changed limit is known within a second."""
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        try:
            with watching(world.url, "b", world.keys["read"]):
                continue
        except InvalidStatus as refused:
            return refused.response
    pytest.fail("no upgrade was refused")


async def test_a_websocket_counts_too_on_the_upgrade_and_with_each_message(world: World) -> None:
    with world.client() as admin:
        rules = [{"event_type": "any", "points_expression": "1"}]
        body = {"leaderboard_id": "b", "name": "B", "config": {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules}}}
        assert admin.post("/v1/admin/leaderboards", json=body).status_code == 201
    tenant = f"{world.url}/v1/operator/tenants/{world.tenant_id}"
    with watching(world.url, "b", world.keys["read"]) as socket:
        assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": 2}).status_code == 200
        response = refused_upgrade(world)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        assert json.loads(bytes(response.body))["error"]["code"] == "RATE_LIMITED"
        for _ in range(10):
            socket.ask(type="ping")
        assert socket.answer("error")["code"] == "RATE_LIMITED"
        assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": None}).status_code == 200
        while True:  # the connection stays, and goes on once the limit is gone
            socket.ask(type="ping")
            if socket.receive()["type"] == "pong":
                break
