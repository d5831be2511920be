"""A tenant's rate limit over HTTP, on every way in."""

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from runtime.settings import Settings
from tests.board_socket import BoardSocket, watching
from tests.builders.api import World, event, make_world

PATIENCE_SECONDS = 60.0
OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}


def refused_request(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first of many answers that refuses, however long: where Redis is slow to answer, requests pass for a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with ThreadPoolExecutor(8) as crowd:
        while time.monotonic() < deadline:
            answers = list(crowd.map(lambda _: ask(), range(16)))
            if refused := [answer for answer in answers if answer.status_code == 429]:
                return refused[0]
    pytest.fail("no request was refused")


async def test_too_many_requests_are_told_when_to_come_again(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    tenant = f"{world.url}/v1/operator/tenants/{world.tenant_id}"
    assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": 0}).status_code == 400
    changed = httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": 2})
    assert changed.json()["rate_limit_per_second"] == 2
    with world.client("server") as server, world.client() as admin, other.client("server") as stranger:
        numbers = itertools.count()
        sent = refused_request(lambda: server.post("/v1/events", json=event(f"e{next(numbers)}")))
        read = refused_request(lambda: admin.get("/v1/admin/settings"))
        assert stranger.post("/v1/events", json=event("e1")).status_code == 202
    for refused in (sent, read):
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        assert refused.headers["retry-after"] == "1"
    assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": None}).json()["rate_limit_per_second"] is None


def refused_upgrade(world: World) -> Response:
    """The answer to the first of many upgrades that is refused: a changed limit is known within a second."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            with watching(world.url, "b", world.keys["read"]):
                continue
        except InvalidStatus as refused:
            return refused.response
    pytest.fail("no upgrade was refused")


def replies_to_pings(socket: BoardSocket) -> list[dict[str, Any]]:
    """What is said to some pings, one answer for each."""
    replies: list[dict[str, Any]] = []
    for _ in range(10):
        socket.ask(type="ping")
    while len(replies) < 10:
        message = socket.receive()
        replies += [message] if message["type"] in ("pong", "error") else []
    return replies


def refused_message(socket: BoardSocket) -> dict[str, Any]:
    """The first of many messages' answers that refuses."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for reply in replies_to_pings(socket):
            if reply["type"] == "error":
                return reply
    pytest.fail("no message was refused")


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
        assert refused_message(socket)["code"] == "RATE_LIMITED"
        assert httpx.patch(tenant, headers=OPERATOR, json={"rate_limit_per_second": None}).status_code == 200
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "pong" not in (kinds := [reply["type"] for reply in replies_to_pings(socket)]):
            assert time.monotonic() < deadline, kinds  # the connection stays, and goes on once the limit is gone
