"""Tiers over HTTP: the admin's set, where a user stands, a tier by hand, and tiers moved by adjustments and redemptions."""

from tests.builders.api import World
from tests.journey.test_store import _emptied, error, field, store, url, world  # noqa: F401 - fixtures

SET = {"basis": "balance", "tiers": [{"name": "silver", "level": 1, "threshold": 50, "benefits": {"delivery": "free"}}]}
GOLD = {"name": "gold", "level": 2, "threshold": 120}


def test_the_set_is_written_whole_or_tier_by_tier(world: World):  # noqa: F811
    with world.client() as admin, world.client("server") as server:
        assert admin.get("/v1/admin/tiers").json()["tiers"] == []
        made = admin.put("/v1/admin/tiers", json=SET)
        assert (made.status_code, made.json()["version"], made.json()["basis"]) == (200, 1, "balance")
        assert admin.post("/v1/admin/tiers", json=GOLD).status_code == 201
        assert error(admin.post("/v1/admin/tiers", json=GOLD)) == (409, "ALREADY_EXISTS")
        assert field(admin.post("/v1/admin/tiers", json=GOLD | {"name": "lead", "level": 3})) == "tiers"
        assert admin.put("/v1/admin/tiers/gold", json=GOLD | {"threshold": 100}).json()["threshold"] == 100
        assert field(admin.put("/v1/admin/tiers/gold", json=GOLD | {"name": "or"})) == "name"
        assert [tier["name"] for tier in admin.get("/v1/admin/tiers").json()["tiers"]] == ["silver", "gold"]
        assert error(admin.put("/v1/admin/tiers", json=SET, headers={"If-Match": "1"})) == (409, "VERSION_CONFLICT")
        assert field(admin.put("/v1/admin/tiers", json=SET | {"downgrade": "at_period_end"})) == "period_days"
        yearly = SET | {"basis": "earned_in_period", "downgrade": "at_period_end", "period_days": 365}
        assert admin.put("/v1/admin/tiers", json=yearly).json()["period_days"] == 365
        admin.post("/v1/admin/tiers", json=GOLD).raise_for_status()
        assert admin.get("/v1/admin/tiers").json()["downgrade"] == "at_period_end"
        names = [tier["name"] for tier in admin.get("/v1/admin/tiers").json()["tiers"]]
        changed = admin.patch("/v1/admin/tiers", json={"downgrade": "never"}).json()
        assert (changed["basis"], changed["downgrade"], changed["period_days"]) == (yearly["basis"], "never", 365)
        assert field(admin.patch("/v1/admin/tiers", json={"basis": "earned_in_period", "period_days": None})) == "period_days"
        assert admin.patch("/v1/admin/tiers", json={"basis": "balance"}).json()["period_days"] is None
        assert admin.put("/v1/admin/tiers", json={"basis": "lifetime_earned"}).json()["basis"] == "lifetime_earned"
        assert [tier["name"] for tier in admin.get("/v1/admin/tiers").json()["tiers"]] == names, "nobody asked for them to go"
        assert admin.delete("/v1/admin/tiers/gold").status_code == 204
        assert error(admin.delete("/v1/admin/tiers/gold")) == (404, "NOT_FOUND")
        assert server.put("/v1/admin/tiers", json=SET).status_code == 403


def test_points_given_back_and_by_hand_lead_to_tiers(world: World):  # noqa: F811
    with world.client() as admin:
        admin.put("/v1/admin/tiers", json=SET).raise_for_status()
        admin.post("/v1/admin/tiers", json=GOLD).raise_for_status()
        store(admin, eligibility={"tiers": ["silver"]})
        assert admin.get("/v1/users/ann").json()["tier"]["name"] == "silver"
        shown = admin.get("/v1/users/ann/tier").json()
        assert (shown["points"], shown["next"]["name"], shown["points_to_next"]) == (100, "gold", 20)
        assert shown["current"]["benefits"] == {"delivery": "free"}
        bought = admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})
        assert bought.status_code == 201, bought.text
        admin.post("/v1/admin/users/ann/adjustments", json={"amount": 30, "reason": "more"}).raise_for_status()
        assert admin.get("/v1/users/ann/tier").json()["current"]["name"] == "silver"
        cancelled = admin.post(f"/v1/admin/redemptions/{bought.json()['redemption_id']}/cancel", json={"reason": "changed mind"})
        assert cancelled.status_code == 200, cancelled.text
        assert admin.get("/v1/users/ann/tier").json()["current"]["name"] == "gold"
        given = admin.put("/v1/admin/users/ann/tier", json={"tier": "silver", "reason": "a mistake of ours"})
        assert (given.status_code, given.json()["current"]["name"], given.json()["next"]) == (200, "silver", None)
        admin.post("/v1/admin/users/ann/adjustments", json={"amount": 30, "reason": "more"}).raise_for_status()
        shown = admin.get("/v1/users/ann/tier").json()
        assert [(line["previous_tier"], line["new_tier"], line["reason"]) for line in shown["history"]] == [
            ("gold", "silver", "a mistake of ours"),
            ("silver", "gold", None),
            (None, "silver", None),
        ]
        assert shown["history"][0]["by"].startswith("api_key:")
        assert field(admin.put("/v1/admin/users/ann/tier", json={"tier": "lead", "reason": "x"})) == "tier"
        assert admin.put("/v1/admin/users/ann/tier", json={"tier": None, "reason": "x"}).json()["current"] is None
        assert error(admin.put("/v1/admin/users/bob/tier", json={"tier": None, "reason": "x"})) == (404, "USER_NOT_FOUND")
