"""What boards and schedules give, over HTTP: items, configs, a window that pays its ranks, grants by hand, and what users see of it."""

from typing import Any

import httpx
import pytest

from tests.conftest import Stack
from tests.journey.programme import event, eventually, far_from_its_end, fresh, points_of, post


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def add_item(client: httpx.Client, name: str = "an item", **more: Any) -> str:
    return str(post(client, "/v1/admin/reward-items", {"name": name, "reward_type": "badge", **more})["item_id"])


def add_points(client: httpx.Client, amount: int) -> str:
    return add_item(client, f"{amount} points", reward_type="points", reward_value=amount)


def add_config(client: httpx.Client, *tiers: dict[str, Any], **more: Any) -> str:
    return str(post(client, "/v1/admin/reward-configs", {"name": "weekly", "tiers": list(tiers), **more})["reward_config_id"])


def weekly(client: httpx.Client, kind: str, reward_config_id: str | None, **more: Any) -> str:
    rule = {"event_type": kind, "points_expression": "attrs.points"}
    config = {"timeframe": {**far_from_its_end("weekly"), "grace_seconds": 0}, "scoring": {"rules": [rule]}}
    board = fresh("board")
    body = {"leaderboard_id": board, "name": "Weekly", "config": config, "reward_config_id": reward_config_id, **more}
    post(client, "/v1/admin/leaderboards", body)
    return board


def play(client: httpx.Client, kind: str, scores: dict[str, int]) -> None:
    post(client, "/v1/events/bulk", {"events": [event(kind, user, points=points) for user, points in scores.items()]}, 202)


def window_of(client: httpx.Client, board: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"][0])


def close(client: httpx.Client, board: str, players: int) -> dict[str, Any]:
    """The window once it is paid."""
    eventually(lambda: client.get(f"/v1/leaderboards/{board}").json()["total"] == players)
    key = window_of(client, board)["window_key"]
    assert client.post(f"/v1/admin/leaderboards/{board}/windows/{key}/close").status_code == 202

    def paid() -> dict[str, Any] | None:
        found = next(each for each in client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"] if each["window_key"] == key)
        return found if found["status"] == "paid" else None

    found = eventually(paid)
    assert found is not None
    return found


def grants_of(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/users/{user}/grants").json()["grants"])


def test_a_window_pays_its_ranks_once(client: httpx.Client) -> None:
    kind, names = fresh("match"), [fresh("player") for _ in range(5)]
    gold, hundred, ten = add_item(client, "Gold"), add_points(client, 100), add_points(client, 10)
    config = add_config(
        client,
        {"name": "winner", "min_rank": 1, "max_rank": 1, "item_ids": [gold, hundred]},
        {"name": "podium", "min_rank": 2, "max_rank": 3, "item_ids": [ten]},
        {"min_score": 15, "item_ids": [gold]},
    )
    board = weekly(client, kind, config)
    play(client, kind, {name: 50 - 10 * place for place, name in enumerate(names)})
    window = close(client, board, 5)
    assert (window["payout"]["status"], window["payout"]["recipients"], window["payout"]["paid"]) == ("completed", 4, 4)
    assert window["payout"]["total"] == {gold: 2, hundred: 1, ten: 2, "points": 120}
    given = [sorted(grant["item_id"] for grant in grants_of(client, name)) for name in names]
    assert given == [sorted([gold, hundred]), [ten], [ten], [gold], []]
    assert [points_of(client, name)["available"] for name in names] == [100, 10, 10, 0, 0]
    assert {grant["source_id"] for grant in grants_of(client, names[0])} == {window["window_id"]}
    run = client.get(f"/v1/admin/payout-runs/{window['payout']['run_id']}").json()
    assert (run["progress"], run["skipped_reasons"]) == (1.0, {})
    recipients = client.get(f"/v1/admin/payout-runs/{run['run_id']}/recipients", params={"limit": 3}).json()
    assert [(each["external_user_id"], each["rank"], each["tier"], each["state"]) for each in recipients["recipients"]] == [
        (names[0], 1, "winner", "paid"), (names[1], 2, "podium", "paid"), (names[2], 3, "podium", "paid"),
    ]  # fmt: skip
    more = client.get(f"/v1/admin/payout-runs/{run['run_id']}/recipients", params={"cursor": recipients["next_cursor"]}).json()
    assert [each["external_user_id"] for each in more["recipients"]] == [names[3]]
    for state, number in (("paid", 4), ("skipped", 0), ("pending", 0)):
        part = client.get(f"/v1/admin/payout-runs/{run['run_id']}/recipients", params={"state": state}).json()
        assert (len(part["recipients"]), part["next_cursor"]) == (number, None), state
    again = client.post(f"/v1/admin/leaderboards/{board}/windows/{window['window_key']}/payout")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "INVALID_STATE")
    assert client.post(f"/v1/admin/payout-runs/{run['run_id']}/cancel").status_code == 409
    listed = client.get("/v1/admin/payout-runs", params={"source_type": "leaderboard", "source_id": window["window_id"]}).json()
    assert [each["run_id"] for each in listed["payout_runs"]] == [run["run_id"]]


def test_a_board_that_is_archived_pays_nothing(client: httpx.Client) -> None:
    kind, name = fresh("match"), fresh("player")
    board = weekly(client, kind, add_config(client, {"item_ids": [add_points(client, 5)]}))
    play(client, kind, {name: 1})
    eventually(lambda: client.get(f"/v1/leaderboards/{board}").json()["total"] == 1)
    assert client.delete(f"/v1/admin/leaderboards/{board}").status_code == 204
    eventually(lambda: window_of(client, board)["status"] == "paid")
    assert window_of(client, board)["payout"] is None
    assert grants_of(client, name) == []


def test_configs_and_items_are_checked_changed_and_put_away(client: httpx.Client) -> None:
    badge = add_item(client)
    for tiers, field in [
        ([{"item_ids": [badge], "min_rank": 3, "max_rank": 2}], "tiers[0].max_rank"),
        ([{"item_ids": [badge], "min_rank": 3, "top_percent": 2}], "tiers[0]"),
        ([{"item_ids": [badge, badge]}], "tiers[0].item_ids"),
        ([{"item_ids": []}], "tiers[0].item_ids"),
        ([{"item_ids": ["00000000-0000-7000-8000-000000000000"]}], "tiers[0].item_ids[0]"),
        ([{"item_ids": [badge], "top_percent": 101}], "tiers[0].top_percent"),
    ]:
        answer = client.post("/v1/admin/reward-configs", json={"name": "x", "tiers": tiers})
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, field)
    for budget in ({"gold": 1}, {"points": -1}, {badge: 1.5}):
        assert (
            client.post("/v1/admin/reward-configs", json={"name": "x", "tiers": [{"item_ids": [badge]}], "budget": budget}).status_code
            == 400
        )
    for faulty in (
        {"reward_type": "points"}, {"reward_type": "points", "reward_value": 1.5}, {"reward_type": "currency", "reward_value": 1},
        {"fulfilment": {"type": "wallet"}}, {"fulfilment": {"type": "webhook", "endpoint_id": "00000000-0000-7000-8000-000000000000"}},
    ):  # fmt: skip
        assert client.post("/v1/admin/reward-items", json={"name": "x", "reward_type": "badge", **faulty}).status_code == 400
    budget = {"points": 10, badge: 2}
    config = add_config(client, {"name": "all", "min_score": 1.5, "item_ids": [badge]}, budget=budget)
    path = f"/v1/admin/reward-configs/{config}"
    shown = client.get(path).json()
    assert shown["tiers"] == [{"name": "all", "min_score": 1.5, "item_ids": [badge]}]
    assert (shown["budget"], shown["version"]) == (budget, 1)
    assert client.patch(path, json={"name": "renamed"}, headers={"If-Match": "1"}).json()["version"] == 2
    assert client.put(path, json={"name": "x", "tiers": shown["tiers"]}, headers={"If-Match": "1"}).status_code == 409
    assert client.delete(f"/v1/admin/reward-items/{badge}").status_code == 409, "a config gives it"
    board = weekly(client, fresh("match"), config)
    assert client.delete(path).status_code == 409, "a board pays by it"
    assert client.delete(f"/v1/admin/leaderboards/{board}").status_code == 204
    assert client.delete(path).status_code == 204
    assert client.delete(f"/v1/admin/reward-items/{badge}").status_code == 204
    unknown = client.post("/v1/admin/leaderboards", json={**BOARD, "leaderboard_id": fresh("b"), "reward_config_id": config})
    assert (unknown.status_code, unknown.json()["error"]["details"][0]["field"]) == (400, "reward_config_id")


BOARD = {
    "name": "x",
    "config": {"timeframe": {"type": "weekly"}, "scoring": {"rules": [{"event_type": "x", "points_expression": "1"}]}},
}


def test_a_grant_by_hand_is_given_once_for_its_key(client: httpx.Client, stack: Stack) -> None:
    names = [fresh("player") for _ in range(3)]
    for name in names:
        post(client, "/v1/users", {"external_id": name})
    item = add_points(client, 25)
    body = {"item_id": item, "external_ids": names, "reason": "sorry"}
    key = fresh("key")
    first = post(client, "/v1/admin/grants", body, Idempotency_Key=key)
    assert (first["granted"], len(first["grants"])) == (3, 3)
    assert post(client, "/v1/admin/grants", body, Idempotency_Key=key) == first
    assert [points_of(client, name)["available"] for name in names] == [25, 25, 25]
    second = post(client, "/v1/admin/grants", body)
    assert second["source_id"] != first["source_id"]
    assert points_of(client, names[0])["available"] == 50
    listed = client.get("/v1/admin/grants", params={"source_type": "manual", "source_id": first["source_id"]}).json()["grants"]
    assert {(each["external_user_id"], each["reason"]) for each in listed} == {(name, "sorry") for name in names}
    written = client.get("/v1/admin/audit-log", params={"subject": "reward_grant", "subject_id": first["source_id"]}).json()["audit_log"]
    assert [(line["after"]["granted"], line["after"]["reason"]) for line in written] == [(3, "sorry")]
    assert client.get("/v1/admin/audit-log", params={"subject_id": listed[0]["grant_id"]}).json()["audit_log"] == []
    missing = client.post("/v1/admin/grants", json={**body, "external_ids": [*names, "nobody-here"]})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "USER_NOT_FOUND")
    assert points_of(client, names[0])["available"] == 50
    assert client.post("/v1/admin/grants", json={**body, "external_ids": [names[0], names[0]]}).status_code == 400


def test_a_user_sees_its_grants_among_its_orders(client: httpx.Client, stack: Stack) -> None:
    name = fresh("player")
    post(client, "/v1/users", {"external_id": name})
    badge, parcel = add_item(client, "Badge"), add_item(client, "T-shirt", reward_type="physical_item", fulfilment={"type": "manual"})
    for item in (badge, parcel):
        post(client, "/v1/admin/grants", {"item_id": item, "external_ids": [name], "reason": "welcome"})
    orders = client.get(f"/v1/orders/user/{name}").json()["orders"]
    assert [(each["reward"]["name"], each["status"], each["points_spent"], each["source_type"]) for each in orders] == [
        ("T-shirt", "pending", 0, "manual"), ("Badge", "fulfilled", 0, "manual"),
    ]  # fmt: skip
    assert orders[0]["reward_id"] == parcel
    one = client.get(f"/v1/orders/user/{name}/{orders[1]['redemption_id']}").json()
    assert one == orders[1]
    by_source = client.get(f"/v1/orders/user/{name}", params={"source_id": orders[0]["source_id"]}).json()["orders"]
    assert [each["reward"]["name"] for each in by_source] == ["T-shirt"]
    pages = client.get(f"/v1/orders/user/{name}", params={"limit": 1}).json()
    rest = client.get(f"/v1/orders/user/{name}", params={"limit": 1, "cursor": pages["next_cursor"]}).json()
    assert [*pages["orders"], *rest["orders"]] == orders
    fulfilled = client.post(f"/v1/admin/redemptions/{orders[0]['redemption_id']}/fulfil", json={"reason": "posted"})
    assert fulfilled.json()["status"] == "fulfilled"
    token = post(client, "/v1/auth/gamer-token", {"user_id": name})["token"]
    own = httpx.get(f"{stack.described['api_url']}/v1/users/me/grants", headers={"Authorization": f"Bearer {token}"}, timeout=60.0).json()[
        "grants"
    ]
    assert "granted_by" not in own[0]
    grants = grants_of(client, name)
    assert [each["grant_id"] for each in own] == [each["grant_id"] for each in grants]
    assert [(each["name"], each["redemption_id"] is not None) for each in grants] == [("T-shirt", True), ("Badge", False)]
