"""Declared event types over HTTP: the admin's side, and what ingestion makes of them."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from runtime.settings import Settings
from tests.builders.api import World, event, make_world

TYPES = "/v1/admin/event-types"
SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
SOON = 60.0


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not found():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def code_of(answer: httpx.Response) -> Any:
    return answer.json()["error"]["code"] if answer.status_code >= 400 else None


def sent(client: httpx.Client, type_: str, attrs: dict[str, Any], user: str = "u1") -> httpx.Response:
    return client.post("/v1/events", json=event(f"e{time.monotonic_ns()}", user, type=type_, attrs=attrs))


def test_types_are_declared_changed_and_forgotten(world: World) -> None:
    with world.client() as admin:
        made = admin.post(TYPES, json={"name": "goal", "description": "a goal", "schema": SCHEMA})
        assert made.status_code == 201
        assert made.json()["schema"] == SCHEMA
        assert made.json()["server_only"] is False
        assert code_of(admin.post(TYPES, json={"name": "goal"})) == "ALREADY_EXISTS"
        assert code_of(admin.post(TYPES, json={"name": "a b"})) == "VALIDATION_ERROR"
        assert code_of(admin.post(TYPES, json={"name": "r", "schema": {"$ref": "http://127.0.0.1:1/x"}})) == "VALIDATION_ERROR"
        assert code_of(admin.post(TYPES, json={"name": "r", "schema": {"pattern": "(?=a)a"}})) == "VALIDATION_ERROR"
        assert admin.post(TYPES, json={"name": "login", "is_system": True}).status_code == 201
        first = admin.get(TYPES, params={"limit": 1}).json()
        second = admin.get(TYPES, params={"limit": 1, "cursor": first["next_cursor"]}).json()
        assert [first["event_types"][0]["name"], second["event_types"][0]["name"]] == ["goal", "login"]
        changed = admin.patch(f"{TYPES}/goal", json={"schema": None, "server_only": True}).json()
        assert changed["schema"] is None
        assert changed["server_only"]
        assert changed["description"] == "a goal"
        assert code_of(admin.delete(f"{TYPES}/login")) == "INVALID_STATE"
        assert admin.delete(f"{TYPES}/goal").status_code == 204
        assert code_of(admin.get(f"{TYPES}/goal")) == "NOT_FOUND"
    with world.client("server") as server:
        assert server.get(TYPES).status_code == 403


async def test_another_tenant_sees_nothing_of_them(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    with world.client() as admin, other.client() as stranger:
        admin.post(TYPES, json={"name": "goal"})
        assert stranger.get(TYPES).json()["event_types"] == []
        assert code_of(stranger.patch(f"{TYPES}/goal", json={"server_only": True})) == "NOT_FOUND"
        assert code_of(stranger.delete(f"{TYPES}/goal")) == "NOT_FOUND"


def test_a_tenant_that_declares_its_types_takes_no_others(world: World) -> None:
    with world.client() as admin, world.client("server") as server:
        assert sent(server, "anything", {}).status_code == 202
        admin.post(TYPES, json={"name": "goal", "schema": SCHEMA})
        admin.patch("/v1/admin/settings", json={"event_types": "declared"})
        wait_for(lambda: code_of(sent(server, "anything", {})) == "EVENT_TYPE_NOT_DECLARED")
        assert sent(server, "goal", {"amount": 2}).status_code == 202
        refused = sent(server, "goal", {"amount": "two"})
        assert refused.status_code == 400
        assert code_of(refused) == "EVENT_TYPE_NOT_DECLARED"
        bulk = {"events": [event("b1", attrs={"amount": 1}), event("b2"), event("b3", type="anything")]}
        answer = server.post("/v1/events/bulk", json=bulk).json()
        assert [each["status"] for each in answer["results"]] == ["accepted", "failed", "failed"]
        assert all(each["error"].startswith("EVENT_TYPE_NOT_DECLARED: ") for each in answer["results"][1:])
        admin.patch(f"{TYPES}/goal", json={"schema": None})
        wait_for(lambda: sent(server, "goal", {"amount": "two"}).status_code == 202)
        admin.delete(f"{TYPES}/goal")
        wait_for(lambda: code_of(sent(server, "goal", {})) == "EVENT_TYPE_NOT_DECLARED")


def test_types_of_the_server_are_refused_from_gamers(world: World) -> None:
    with world.client() as admin, world.client("server") as server:
        token = server.post("/v1/auth/gamer-token", json={"user_id": "u1"}).json()["token"]
        with world.client(None, Authorization=f"Bearer {token}") as gamer:
            assert sent(gamer, "award", {}).status_code == 202
            admin.post(TYPES, json={"name": "award", "server_only": True})
            wait_for(lambda: sent(gamer, "award", {}).status_code == 403)
            assert sent(gamer, "goal", {}).status_code == 202
        assert sent(server, "award", {}).status_code == 202


def test_a_repeat_is_acknowledged_although_its_event_would_be_refused_by_now(world: World) -> None:
    with world.client() as admin, world.client("server") as server:
        counted = event("counted", type="goal", attrs={})
        assert server.post("/v1/events", json=counted).json()["status"] == "accepted"
        admin.post(TYPES, json={"name": "save"})
        admin.patch("/v1/admin/settings", json={"event_types": "declared", "users": "identified"})
        wait_for(lambda: code_of(sent(server, "goal", {})) == "EVENT_TYPE_NOT_DECLARED")
        again = {"event_id": "counted", "status": "accepted", "duplicate": True}
        for repeat in (counted, {**counted, "type": "save", "actor": {"user_id": "a stranger"}}):
            answer = server.post("/v1/events", json=repeat)
            assert (answer.status_code, answer.json()) == (202, again)
        bulk = server.post("/v1/events/bulk", json={"events": [counted, {**counted, "event_id": "new"}]}).json()
        assert bulk["results"][0] == again
        assert bulk["results"][1]["error"].startswith("EVENT_TYPE_NOT_DECLARED: ")
        assert code_of(server.post("/v1/events", json={**counted, "type": ""})) == "VALIDATION_ERROR"  # that is no event
        assert code_of(admin.get("/v1/users/a stranger")) == "USER_NOT_FOUND"


@pytest.mark.parametrize("pattern", [r"^\[(a+)+b]", "(a|a)*b", "^(?:a?){400}b"])
def test_a_hostile_schema_and_its_event_hold_up_nobody(world: World, pattern: str) -> None:
    """With an engine that backtracks the second request would hold the process for years; the third one proves that it does not."""
    with world.client() as admin:
        assert admin.post(TYPES, json={"name": "hostile", "schema": {"properties": {"a": {"pattern": pattern}}}}).status_code == 201
        assert admin.patch("/v1/admin/settings", json={"event_types": "declared"}).status_code == 200
        answers = [admin.post("/v1/events", json=event(f"e{n}", type="hostile", attrs={"a": "[" + "a" * 250})) for n in range(3)]
        assert {answer.status_code for answer in answers} <= {202, 400}
        assert admin.get("/health").status_code == 200
