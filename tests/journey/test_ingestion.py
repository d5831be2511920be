"""Ingestion over HTTP, against contract 2."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runtime.postgres import Pool
from runtime.settings import Settings
from tests.builders.api import World, event, make_world, serving


@pytest.fixture
def served(settings: Settings, pool: Pool) -> Iterator[str]:
    """A running API on an emptied database."""
    with serving(settings) as url:
        yield url


@pytest_asyncio.fixture
async def world(settings: Settings, served: str) -> World:
    """A tenant of the running API."""
    return await make_world(settings, served)


def gamer(world: World, user: str) -> httpx.Client:
    """A client with a gamer's token."""
    with world.client("server") as server:
        token = server.post("/v1/auth/gamer-token", json={"user_id": user}).raise_for_status().json()["token"]
    return httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {token}"}, timeout=15.0)


async def test_an_accepted_event_is_stored_as_it_came(world: World) -> None:
    sent = event("evt_1", attrs={"points": 3}, extra={"kept": [1, 2]}, tenant_id="somebody else")
    with world.client("server") as client:
        answer = client.post("/v1/events", json=sent)
    assert (answer.status_code, answer.json()) == (202, {"event_id": "evt_1", "status": "accepted"})
    (tenant_id, body, user) = world.rows("SELECT tenant_id, body, external_user_id FROM event_log")[0]
    assert (tenant_id, user) == (world.tenant_id, "u1")
    assert json.loads(body) == sent
    assert world.rows("SELECT external_id FROM app_user") == [("u1",)]


async def test_a_repeat_is_acknowledged_whatever_its_content(world: World) -> None:
    with world.client() as client:
        client.post("/v1/events", json=event("evt_1"))
        again = client.post("/v1/events", json=event("evt_1", user="another", age=timedelta(days=400)))
    assert (again.status_code, again.json()) == (202, {"event_id": "evt_1", "status": "accepted", "duplicate": True})
    assert world.rows("SELECT count(*) FROM event_log") == [(1,)]


async def test_each_event_of_a_bulk_call_stands_alone(world: World) -> None:
    events: list[Any] = [event("evt_1"), event("evt_2", type=""), event("evt_3"), event("evt_1"), {"type": "goal"}, "no object"]
    with world.client() as client:
        answer = client.post("/v1/events/bulk", json={"events": events})
    assert answer.status_code == 202
    body = answer.json()
    assert {name: body[name] for name in ("status", "total", "accepted", "failed")} == {
        "status": "partial",
        "total": 6,
        "accepted": 3,
        "failed": 3,
    }
    assert body["results"][:4] == [
        {"event_id": "evt_1", "status": "accepted"},
        {"event_id": "evt_2", "status": "failed", "error": "Validation failed: event_type cannot be empty"},
        {"event_id": "evt_3", "status": "accepted"},
        {"event_id": "evt_1", "status": "accepted", "duplicate": True},
    ]
    assert [result["event_id"] for result in body["results"][4:]] == [None, None]
    assert world.rows("SELECT count(*) FROM event_log") == [(2,)]


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 202), (100, 202), (101, 400)])
async def test_a_bulk_call_takes_1_to_100_events(world: World, count: int, status: int) -> None:
    with world.client() as client:
        answer = client.post("/v1/events/bulk", json={"events": [event(f"e{n}") for n in range(count)]})
    assert answer.status_code == status
    if count == 101:
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("VALIDATION_ERROR", "Bulk request can contain maximum 100 events")
        assert error["details"][0]["field"] == "events"


async def test_a_call_in_which_all_fail_is_failed(world: World) -> None:
    with world.client() as client:
        body = client.post("/v1/events/bulk", json={"events": [event("e1", type="")]}).json()
    assert (body["status"], body["accepted"], body["failed"]) == ("failed", 0, 1)


async def test_a_gamer_sends_its_own_fresh_events(world: World) -> None:
    with gamer(world, "u1") as client:
        assert client.post("/v1/events", json=event("e1")).status_code == 202
        foreign = client.post("/v1/events", json=event("e2", user="u2"))
        old = client.post("/v1/events", json=event("e3", age=timedelta(hours=25)))
        bulk = client.post("/v1/events/bulk", json={"events": [event("e4"), event("e5", user="u2")]}).json()
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert (old.status_code, old.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert [result["status"] for result in bulk["results"]] == ["accepted", "failed"]
    assert bulk["results"][1]["error"].startswith("FORBIDDEN: ")
    assert world.rows("SELECT DISTINCT sender FROM event_log") == [("g:u1",)]


async def test_a_gamer_cannot_burn_the_servers_event_ids(world: World) -> None:
    with gamer(world, "u1") as player, world.client("server") as server:
        assert player.post("/v1/events", json=event("e1")).json() == {"event_id": "e1", "status": "accepted"}
        assert server.post("/v1/events", json=event("e1")).json() == {"event_id": "e1", "status": "accepted"}


@pytest.mark.parametrize("role", ["read", "fulfilment"])
async def test_a_role_that_is_too_small_may_not_send(world: World, role: str) -> None:
    with world.client(role) as client:
        answer = client.post("/v1/events", json=event("e1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_tenant_that_identifies_its_users_refuses_unknown_ones(world: World) -> None:
    with world.client() as client:
        client.patch("/v1/admin/settings", json={"users": "identified"}).raise_for_status()
        client.post("/v1/users", json={"external_id": "known"}).raise_for_status()
    with world.client("server") as client:
        assert client.post("/v1/events", json=event("e1", user="known")).status_code == 202
        answer = client.post("/v1/events", json=event("e2", user="unknown"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "USER_NOT_FOUND")
