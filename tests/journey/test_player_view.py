"""What a player reads of its own things, and what of them is its programme's staff's alone."""

import re
from typing import Any

import httpx
import pytest

from tests.access_rules import RULES
from tests.builders.api import World
from tests.builders.seeded_tenant import make, seed

SECRET = "INTERNAL: case 4711"
GAMERS_READ = sorted(route.split(" ")[1] for route, roles in RULES.items() if route.startswith("GET ") and "gamer" in roles.split())


def player(world: World, name: str) -> httpx.Client:
    with world.client("server") as server:
        token = server.post("/v1/auth/gamer-token", json={"user_id": name}).json()["token"]
    return httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0)


def write_about(client: httpx.Client, things: dict[str, str]) -> dict[str, str]:
    """Everything that staff say of ann, and do with what is hers."""
    why = {"reason": SECRET}
    taken = make(client, "/v1/admin/users/ann/adjustments", {"amount": -1, "currency": "points", **why})
    make(client, f"/v1/admin/transfers/{things['transfer_id']}/reverse", why)
    make(client, "/v1/admin/grants", {"item_id": things["item_id"], "external_ids": ["ann"], **why})
    client.put("/v1/admin/users/ann/tier", json={"tier": "gold", **why}).raise_for_status()
    client.post(f"/v1/admin/redemptions/{things['redemption_id']}/fail", json=why).raise_for_status()
    for move in ("fulfil", "cancel"):
        order = make(client, "/v1/redemptions", {"external_user_id": "ann", "slug": "handmade"})
        client.post(f"/v1/admin/redemptions/{order['redemption_id']}/{move}", json=why).raise_for_status()
        client.patch(f"/v1/admin/rewards/redemptions/{order['redemption_id']}", json={"status": "failed", "note": "x"})
    return {"transfer_id": taken["transfer_id"]}


def test_no_answer_to_a_player_tells_what_staff_wrote_or_who_they_are(world: World):
    things = seed(world)
    with world.client() as admin:
        write_about(admin, things)
    marks = [SECRET, "api_key:", *(key.split("_")[1] for key in world.keys.values()), things["delivery_id"], "granted_by"]
    seen = ""
    with player(world, "ann") as gamer, world.client() as admin:
        (grant,) = gamer.get("/v1/users/me/grants").json()["grants"]
        paths = [re.sub(r"\{(\w+)\}", lambda name: things[name[1]], path) for path in GAMERS_READ if not path.endswith("/ws")]
        for path in [*paths, f"/v1/orders/{grant['grant_id']}", f"/v1/orders/user/me/{grant['grant_id']}"]:
            answer = gamer.get(path)
            assert answer.status_code < 500, path
            seen += answer.text
            found = [mark for mark in marks if mark in answer.text]
            assert not found, f"{path} shows {found}"
        staff = "".join(admin.get(path).text for path in paths)
    assert SECRET in staff
    assert "api_key:" in staff
    assert '"failed"' in seen
    assert '"by":"tenant"' in seen


def test_a_player_reads_its_order_by_the_id_alone_and_no_other_players(world: World):
    things = seed(world)
    with world.client() as admin:
        admin.post("/v1/users", json={"external_id": "bob"})
        given = make(admin, "/v1/admin/grants", {"item_id": things["item_id"], "external_ids": ["ann"], "reason": "x"})["grants"][0]
        order = admin.get(f"/v1/orders/{things['order_id']}")
        assert (order.status_code, order.json()["external_user_id"]) == (200, "ann")
        assert admin.get(f"/v1/orders/{given['grant_id']}").json()["status"] == "fulfilled"
    with player(world, "ann") as ann, player(world, "bob") as bob:
        for identity in (things["order_id"], given["grant_id"]):
            assert ann.get(f"/v1/orders/{identity}").json()["redemption_id"] == identity
            refused(bob.get(f"/v1/orders/{identity}"))
        refused(bob.get(f"/v1/redemptions/{things['redemption_id']}"))
        refused(bob.post(f"/v1/orders/{things['order_id']}/cancel"))
        refused(bob.post(f"/v1/orders/{things['order_id']}/claim", json={"fields": {}}))


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "REDEMPTION_NOT_FOUND"), answer.text


@pytest.mark.parametrize("member", ["fulfillmentData", "fulfilment_data", "fulfilledAt", "Status"])
def test_a_callback_whose_member_is_nearly_right_is_refused_before_it_counts(world: World, member: str):
    things = seed(world)
    path, body = f"/v1/admin/rewards/redemptions/{things['redemption_id']}", {"status": "fulfilled", "fulfillment_data": {"code": "A"}}
    nearly: dict[str, Any] = {"status": "fulfilled", member: {"code": "A"}}
    with world.client("server") as partner:
        answer = partner.patch(path, json=nearly)
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, member), answer.text
        right = {"fulfillmentData": "fulfillment_data", "fulfilment_data": "fulfillment_data", "fulfilledAt": "fulfilled_at"}
        assert right.get(member, "status") in answer.json()["error"]["message"]
        kept = partner.patch(path, json={**body, "fulfilled_by": "Lan", "tracking": 7})
        assert kept.json()["fulfillment_data"] == {"code": "A", "fulfilled_by": "Lan", "tracking": 7}
