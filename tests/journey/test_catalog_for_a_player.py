"""The catalogue of a player: what it can buy now, and what stands in the way of the rest."""

from typing import Any

import httpx

from tests.builders.api import World
from tests.builders.seeded_tenant import make
from tests.journey.test_player_view import player

PRICE = {"prices": [{"currency": "points", "amount": 10}], "fulfilment": {"type": "manual"}}


def shop(world: World) -> None:
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": "ann", "attributes": {"country": "VN"}})
        make(admin, "/v1/admin/users/ann/adjustments", {"amount": 50, "currency": "points", "reason": "x"})
        make(admin, "/v1/admin/tiers", {"name": "silver", "level": 1, "threshold": 1000})
        for slug, more in {
            "mug": {},
            "silver-mug": {"eligibility": {"tiers": ["silver"]}},
            "thai-mug": {"eligibility": {"attributes": {"country": {"eq": "TH"}}}},
            "late-mug": {"available_from": "2100-01-01T00:00:00Z"},
            "dear-mug": {"prices": [{"currency": "points", "amount": 60}]},
            "one-mug": {"max_per_user": 1},
            "gone-mug": {"stock": 0},
            "sized": {"variants": [{"id": "s", "name": "S", "stock": 0}, {"id": "m", "name": "M"}]},
        }.items():
            make(admin, "/v1/admin/rewards", {"slug": slug, "name": slug, **PRICE, **more})
        make(admin, "/v1/redemptions", {"external_user_id": "ann", "slug": "one-mug"})


def catalog(client: httpx.Client, **query: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    while True:
        answer = client.get("/v1/rewards/catalog", params=query)
        assert answer.status_code == 200, answer.text
        found |= {entry["slug"]: entry for entry in answer.json()["rewards"]}
        if answer.json()["next_cursor"] is None:
            return found
        query["cursor"] = answer.json()["next_cursor"]


def test_the_catalogue_says_before_buying_what_buying_would_say(world: World):
    shop(world)
    with player(world, "ann") as ann:
        entries = catalog(ann)
        assert {slug: ann.get(f"/v1/rewards/catalog/{slug}").json() for slug in entries} == entries
        for slug, entry in sorted(entries.items(), key=lambda each: not each[1]["why_not"]):  # refusals first: they move nothing
            variant = {} if not entry["variants"] else {"variant_id": next(each["id"] for each in entry["variants"] if not each["why_not"])}
            bought = ann.post(f"/v1/rewards/purchase/{slug}", json=variant)
            if entry["why_not"]:
                first = bought.json()["error"]
                assert {name: first[name] for name in entry["why_not"][0]} == entry["why_not"][0]
            else:
                assert bought.status_code == 201, bought.text
    conditions = {slug: [each.get("condition", each["code"]) for each in entry["why_not"]] for slug, entry in entries.items()}
    assert conditions == {
        "mug": [], "sized": [], "silver-mug": ["tiers"], "thai-mug": ["attributes.country"], "late-mug": ["available_from"],
        "dear-mug": ["INSUFFICIENT_POINTS"], "one-mug": ["USER_LIMIT_REACHED"], "gone-mug": ["OUT_OF_STOCK"],
    }  # fmt: skip
    assert [slug for slug, entry in entries.items() if not entry["eligible"]] == ["one-mug", "late-mug", "thai-mug", "silver-mug"]
    sizes = {each["id"]: [why["code"] for why in each["why_not"]] for each in entries["sized"]["variants"]}
    assert sizes == {"s": ["OUT_OF_STOCK"], "m": []}
    assert entries["silver-mug"]["why_not"][0]["tiers"] == ["silver"]


def test_purchasable_shows_what_this_player_can_buy_now_in_full_pages(world: World):
    shop(world)
    with player(world, "ann") as ann, player(world, "nobody-yet") as stranger, world.client("server") as server:
        assert set(catalog(ann, purchasable="true")) == {"mug", "sized"}
        assert list(catalog(ann, purchasable="true", limit=1)) == ["sized", "mug"]
        assert len(ann.get("/v1/rewards/catalog", params={"purchasable": "true", "limit": 2}).json()["rewards"]) == 2
        assert catalog(stranger, purchasable="true") == {}
        of_nobody = catalog(server, purchasable="true")
        assert set(of_nobody) == {"mug", "silver-mug", "thai-mug", "dear-mug", "one-mug", "sized"}
        assert {(entry["eligible"], entry["why_not"]) for entry in of_nobody.values()} == {(None, None)}
