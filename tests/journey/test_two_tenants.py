"""What one tenant has is nothing to another: every kind of thing is made in one tenant and asked for, changed and deleted as the other."""

import re
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio

from cli.openapi import api_document
from runtime.postgres import Pool
from runtime.settings import Settings
from tests.access_rules import roles_for
from tests.builders.api import World, make_world
from tests.builders.seeded_tenant import HANDMADE, POINTS_BOARD, ask, make, seed

METHODS = ("get", "post", "put", "patch", "delete")
ROUTES = sorted(
    f"{method.upper()} {path}"
    for path, operations in api_document()["paths"].items()
    for method in operations
    if method in METHODS and "{" in path and not path.startswith("/v1/operator/") and not path.endswith("/ws")
)
GAMERS_OWN = {"POST /v1/rewards/purchase/{slug}"}
EMPTY_FOR_ALL = {
    "GET /v1/snapshots/{leaderboard_id}/{snapshot_time}",
    "GET /v1/snapshots/{leaderboard_id}/{snapshot_time}/user/{user_id}",
    "GET /v1/leaderboards/{leaderboard_id}/user/{user_id}",
    "GET /v1/leaderboards/{leaderboard_id}/rank/{user_id}",
    "GET /v1/leaderboards/{leaderboard_id}/score/{user_id}",
}
"""Nothing was scored and no window has closed here, so that the owner is answered 404 too."""


@pytest_asyncio.fixture
async def worlds(pool: Pool, settings: Settings, url: str) -> tuple[World, World]:
    return await make_world(settings, url), await make_world(settings, url)


def whole(world: World) -> dict[str, list[str]]:
    """Every row of the tenant in every table, but for when its keys were last used."""
    tables = world.rows(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    query = "SELECT (to_jsonb(t) - 'last_used_at')::text FROM {} AS t WHERE tenant_id = %s ORDER BY 1"
    return {name: [row[0] for row in world.rows(query.format(name), world.tenant_id)] for (name,) in tables}


async def test_what_a_tenant_has_does_not_exist_for_another(worlds: tuple[World, World]) -> None:
    own, other = worlds
    things = seed(own)
    before = whole(own)
    with other.client() as admin, other.client("server") as server:
        gamer = server.post("/v1/auth/gamer-token", json={"user_id": "ann"}).json()["token"]
        with other.client(None, Authorization=f"Bearer {gamer}") as user:
            seen = {route: ask(user if route in GAMERS_OWN else admin, route, things) for route in ROUTES}
            for route in ROUTES:
                for client, role in ((server, "server"), (user, "gamer")):
                    if role in roles_for(route):
                        seen[f"{route} as {role}"] = ask(client, route, things)
    wrong = {route: (answer.status_code, answer.text[:200]) for route, answer in seen.items() if answer.status_code != 404}
    assert not wrong
    codes = {answer.json()["error"]["code"] for answer in seen.values()}
    assert codes <= {"NOT_FOUND", "USER_NOT_FOUND", "LEADERBOARD_NOT_FOUND", "REWARD_NOT_FOUND", "REDEMPTION_NOT_FOUND"}
    assert whole(own) == before
    with own.client() as admin:
        gone = {route for route in ROUTES if route.startswith("GET ") and ask(admin, route, things).status_code == 404}
        assert gone <= EMPTY_FOR_ALL, "the paths of this test do not name what they should"


async def test_another_tenants_things_cannot_be_named_in_a_body(worlds: tuple[World, World]) -> None:
    own, other = worlds
    things = seed(own)
    with other.client() as client:
        make(client, "/v1/users", {"external_id": "ann"})
        make(client, "/v1/admin/users/ann/adjustments", {"amount": 100, "currency": "points", "reason": "a test"})
        redeemed = client.post("/v1/redemptions", json={"external_user_id": "ann", "reward_id": things["reward_id"]})
        assert (redeemed.status_code, redeemed.json()["error"]["code"]) == (404, "REWARD_NOT_FOUND")
        fulfilment = {"type": "webhook", "endpoint_id": things["endpoint_id"]}
        reward = client.post("/v1/admin/rewards", json={"slug": "sneaky", **HANDMADE, "fulfilment": fulfilment})
        assert (reward.status_code, reward.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
        order = client.get(f"/v1/orders/user/ann/{things['order_id']}")
        assert (order.status_code, order.json()["error"]["code"]) == (404, "REDEMPTION_NOT_FOUND")
        board = {"leaderboard_id": "mine", "name": "Mine", "config": POINTS_BOARD, "reward_config_id": str(uuid4())}
        assert client.post("/v1/admin/leaderboards", json=board).status_code == 400


async def test_lists_hold_nothing_of_another_tenant(worlds: tuple[World, World]) -> None:
    own, other = worlds
    seed(own)
    lists = [
        path
        for path, operations in api_document()["paths"].items()
        if "get" in operations and "{" not in path and "admin" in operations["get"]["x-roles"]
    ]
    with other.client() as client:
        for path in lists:
            answer = client.get(path)
            assert answer.status_code == 200, path
            # Whole words: the random public part of a key may hold any letters.
            assert not re.search(r"\b(ann|best|handmade|event-1|till|gold|127\.0\.0\.1)\b", answer.text), path


REFERRING = """
    SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k
    WHERE k.contype = 'f' AND k.conparentid = 0 AND cardinality(k.conkey) > 1
"""
COPY_INTO = """
    INSERT INTO {table} OVERRIDING SYSTEM VALUE
    SELECT made.* FROM {table} AS t, jsonb_populate_record(t, jsonb_build_object('tenant_id', %s::uuid)) AS made
    WHERE t.tenant_id = %s LIMIT 1
"""


async def test_postgres_itself_refuses_a_row_that_refers_to_another_tenants_row(worlds: tuple[World, World]) -> None:
    own, other = worlds
    things = seed(own)
    with own.client() as client:
        codes = make(client, "/v1/admin/rewards", {"slug": "codes", **HANDMADE, "fulfilment": {"type": "codes"}})
        make(client, f"/v1/admin/rewards/{codes['reward_id']}/codes", {"codes": ["A"]})
        variants = {"slug": "sizes", **HANDMADE, "variants": [{"id": "s", "name": "Small", "stock": 3}]}
        make(client, "/v1/admin/rewards", variants)
        client.put("/v1/admin/users/ann/tier", json={"tier": "gold", "reason": "a test"})
        make(client, f"/v1/admin/leaderboards/best/windows/{things['window_key']}/close", {}, 202)
    tables = {table for (table,) in own.rows(REFERRING) if own.rows(f"SELECT 1 FROM {table} WHERE tenant_id = %s", own.tenant_id)}
    assert tables >= {"account", "hold", "redemption", "redemption_move", "reward_variant", "user_tier", "tier_change"}
    assert tables >= {"leaderboard_version", "leaderboard_window", "earning_rule_version", "webhook_secret", "webhook_delivery"}
    with psycopg.connect(own.database_url, autocommit=True) as connection:
        for table in tables - {"reward_item"}:  # refers to a currency by name, and both have points
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                connection.execute(COPY_INTO.format(table=table).encode(), (other.tenant_id, own.tenant_id))
