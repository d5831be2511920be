"""Users, tiers and earning rules in the console over HTTP: looking for users, points, tiers, erasing, and the wall between tenants."""

from typing import Any

import pytest

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import heading, signed_in


@pytest.fixture
def world(world: World) -> World:
    """The tenant with three users."""
    with world.client() as admin:
        for name in ("lan", "lan-2", "minh"):
            admin.post("/v1/users", json={"external_id": name, "display_name": name.title()}).raise_for_status()
    return world


def available(world: World, user: str = "lan") -> int:
    with world.client() as admin:
        return int(admin.get(f"/v1/users/{user}").json()["balances"][0]["available"])


def test_users_are_found_by_the_beginning_of_their_id(world: World) -> None:
    tab = signed_in(world)
    assert all(f"/console/users/{name}" in tab.get("/users").text for name in ("lan", "lan-2", "minh"))
    page = tab.get("/users", q="lan").text
    assert ("/console/users/lan-2" in page, "/console/users/minh" in page) == (True, False)
    assert "No matching users" in tab.get("/users", q="nobody").text
    assert tab.get("/users/nobody").status_code == 404


def test_points_are_adjusted_once_and_taken_back_with_a_reason(world: World) -> None:
    tab = signed_in(world)
    tab.get("/users/lan")
    for _ in range(2):
        page = tab.send("/users/lan/adjust", amount="50", currency="points", reason="a gift", once="one-form")
        assert "Balance adjusted." in page.text
    assert available(world) == 50
    transfer = page.text.split("/reverse/")[1].split('"')[0]
    page = tab.send(f"/users/lan/reverse/{transfer}", reason="a mistake")
    assert "both entries stay in the ledger" in page.text
    assert available(world) == 0
    rows = world.rows("SELECT reason FROM audit_log WHERE subject = 'account' ORDER BY audit_id")
    assert rows == [("a gift",), ("a mistake",)]


def test_an_item_is_given_by_hand_once_with_a_reason(world: World) -> None:
    with world.client() as admin:
        body = {"name": "Five points", "reward_type": "points", "reward_value": 5}
        item = admin.post("/v1/admin/reward-items", json=body).json()["item_id"]
    tab = signed_in(world)
    for _ in range(2):
        tab.get("/users/lan")
        page = tab.send("/users/lan/give", item_id=item, reason="for her birthday", once="one-form")
        assert "Item granted." in page.text
    assert "for her birthday" in page.text
    assert available(world) == 5


def test_tiers_are_edited_as_a_set_and_given_by_hand(world: World) -> None:
    tab = signed_in(world)
    tab.get("/tiers")
    form: dict[str, Any] = {
        "version": "0",
        "basis": "lifetime_earned",
        "downgrade": "never",
        "name": ["silver", "gold", ""],
        "level": ["1", "2", ""],
        "threshold": ["100", "1000", ""],
        "benefits": ["", '{"free_shipping": true}', ""],
    }
    assert "Saved." in tab.send("/tiers", **form).text
    with world.client() as admin:
        tiers = admin.get("/v1/admin/tiers").json()["tiers"]
    assert [(each["name"], each["threshold"], each["benefits"]) for each in tiers] == [
        ("silver", 100, {}),
        ("gold", 1000, {"free_shipping": True}),
    ]
    page = tab.send("/tiers", **form | {"version": "1", "threshold": ["1000", "100", ""]})
    assert (page.status_code, "Nothing was saved." in page.text) == (400, True)
    tab.get("/users/lan")
    page = tab.send("/users/lan/tier", tier="gold", reason="a friend of the house")
    assert "Tier set." in page.text
    assert "a friend of the house" in page.text


def test_an_earning_rule_shows_what_the_sample_gives_and_is_saved(world: World) -> None:
    tab = signed_in(world)
    tab.get("/earning-rules/new")
    sample = '{"event_id":"s","type":"goal","actor":{"user_id":"p"},"occurred_at":"2026-01-05T10:00:00Z","attrs":{"goals":3}}'
    form = {
        "name": "Goals",
        "event_type": "goal",
        "points_expression": "attrs.goals * 10",
        "currency": "points",
        "priority": "0",
        "max_per_event": "25",
        "active": "on",
        "sample": sample,
    }
    assert '<strong class="points">25 points</strong>' in tab.send("/earning-rules/preview", **form).text
    page = tab.send("/earning-rules", **form | {"points_expression": "attrs.goals * * 2"})
    assert (page.status_code, "▲" in page.text) == (400, True)
    page = tab.send("/earning-rules", **form)
    assert (heading(page), "Goals" in page.text) == ("Earning rules", True)
    rule = page.text.split("/console/earning-rules/")[2].split("/")[0]
    tab.get(f"/earning-rules/{rule}/edit")
    page = tab.send(f"/earning-rules/{rule}/edit", **form | {"name": "More goals", "version": "1"})
    assert "More goals" in page.text
    assert "No earning rules yet" in tab.send(f"/earning-rules/{rule}/archive", reason="over").text


def test_a_user_is_exported_and_erased_when_its_id_was_typed(world: World) -> None:
    tab = signed_in(world)
    held = tab.get("/users/lan/export")
    assert held.headers["content-disposition"].startswith("attachment")
    assert "lan" in str(held.json())
    tab.get("/users/lan")
    assert "Nothing was changed." in tab.send("/users/lan/erase", typed="minh", reason="asked for").text
    assert "User erased." in tab.send("/users/lan/erase", typed="lan", reason="asked for").text
    assert tab.get("/users/lan").status_code == 404


def test_a_viewer_sees_users_and_changes_nothing(world: World) -> None:
    tab = signed_in(world, "viewer")
    page = tab.get("/users/lan")
    assert heading(page) == "Lan"
    assert "Adjust points" not in page.text
    assert tab.get("/users/lan/export").status_code == 403
    assert tab.get("/earning-rules/new").status_code == 403
    assert '<form method="post" action="/console/tiers"' not in tab.get("/tiers").text
    for act in ("adjust", "give", "tier", "erase"):
        tab.get("/account")
        sent = tab.send(f"/users/lan/{act}", amount="5", typed="lan", tier="", item_id="x", reason="spite", once="x")
        assert "Viewers cannot make changes" in sent.text
    assert available(world) == 0


async def test_another_tenants_users_are_not_there(world: World, settings: Settings) -> None:
    stranger = signed_in(await make_world(settings, world.url))
    assert stranger.get("/users/lan").status_code == 404
    assert "/console/users/lan" not in stranger.get("/users").text
    assert "/console/users/lan" not in stranger.get("/users", q="lan").text
    assert stranger.get("/users/lan/export").status_code == 404
    stranger.send("/users/lan/erase", typed="lan", reason="spite")
    assert available(world) == 0
