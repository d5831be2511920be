"""Every list answers as contract 1 says: its noun, `next_cursor`, and pages of 1 to 500."""

from typing import Any

import httpx

from cli.openapi import api_document
from tests.builders.api import World
from tests.builders.seeded_tenant import ask, seed
from tests.journey.test_audit_of_routes import OPERATOR

READS = [
    f"GET {path}"
    for path, operations in api_document()["paths"].items()
    if path.startswith("/v1/") and "application/json" in operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
]
NOUNS = {
    "GET /v1/orders/user/{user_id}": "orders",
    "GET /v1/snapshots/{leaderboard_id}": "snapshots",
    "GET /v1/rewards/catalog": "rewards",
    "GET /v1/users/{external_id}/tier": "history",
}
"""Where the last fixed segment is not the noun, by contracts 1, 3 and 4."""
WRONG = ({"limit": "0"}, {"limit": "501"}, {"limit": "-1"}, {"limit": "1.5"}, {"limit": "ten"}, {"limit": ""}, {"cursor": "garbage"})


def noun_of(route: str) -> str:
    fixed = [segment for segment in route.split("/") if not segment.startswith("{")]
    return NOUNS.get(route, fixed[-1].replace("-", "_"))


def test_every_list_has_its_noun_a_cursor_and_a_bounded_page(world: World) -> None:
    things = seed(world)
    wrong, lists = {}, 0
    with world.client() as admin, httpx.Client(base_url=world.url, headers=OPERATOR, timeout=60.0) as operator:
        for route in READS:
            client = operator if "/v1/operator/" in route else admin
            answer = ask(client, route, things)
            body = answer.json() if answer.status_code == 200 and "json" in answer.headers["content-type"] else None
            if not isinstance(body, dict) or "next_cursor" not in body:
                continue
            lists += 1
            if not isinstance(body.get(noun_of(route)), list):
                wrong[route] = sorted(body)
            for query in WRONG:
                refused = client.get(str(answer.request.url), params=query)
                if refused.status_code != 400:
                    wrong[f"{route} {query}"] = refused.status_code
    assert not wrong, wrong
    assert lists > 25


def test_every_list_goes_on_where_its_page_ended(world: World) -> None:
    things = seed(world)
    with world.client() as admin:
        for route in READS:
            first = ask(admin, route, things) if "/v1/operator/" not in route else None
            if first is None or first.status_code != 200 or "next_cursor" not in first.json():
                continue
            if page_by_page(admin, route, things) != first.json()[noun_of(route)]:
                # Once more, for what changes by itself: when a key was last used, what comes next in a schedule.
                again = ask(admin, route, things).json()[noun_of(route)]
                assert page_by_page(admin, route, things) == again, route


def page_by_page(client: httpx.Client, route: str, things: dict[str, str]) -> list[Any]:
    noun, url, seen, cursor = noun_of(route), str(ask(client, route, things).request.url), [], None
    for _ in range(20):
        page = client.get(url, params={"limit": 1} | ({} if cursor is None else {"cursor": cursor})).json()
        seen += page[noun]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return seen
