"""A process that serves only a part of the API (setting GATEWAYS)."""

import asyncio

import httpx
import msgspec
import pytest

from runtime.settings import Settings
from tests.builders.api import event, make_world, serving


@pytest.mark.parametrize(
    ("gateways", "statuses"),
    [
        (("all",), {"events": 202, "boards": 200, "admin": 200, "health": 200}),
        (("ingestion",), {"events": 202, "boards": 404, "admin": 404, "health": 200}),
        (("query", "admin"), {"events": 404, "boards": 200, "admin": 200, "health": 200}),
    ],
    ids=["all", "ingestion", "query-and-admin"],
)
def test_a_process_answers_only_its_gateways(settings: Settings, gateways: tuple[str, ...], statuses: dict[str, int]) -> None:
    with serving(msgspec.structs.replace(settings, gateways=gateways)) as url:
        world = asyncio.run(make_world(settings, url))
        with world.client() as client:
            answers: dict[str, httpx.Response] = {
                "events": client.post("/v1/events", json=event("gateway")),
                "boards": client.get("/v1/leaderboards"),
                "admin": client.get("/v1/admin/leaderboards"),
                "health": client.get("/health"),
            }
    assert {name: answer.status_code for name, answer in answers.items()} == statuses
    assert {answer.json()["error"]["code"] for answer in answers.values() if answer.status_code == 404} <= {"NOT_FOUND"}
