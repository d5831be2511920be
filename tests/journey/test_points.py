"""Currencies that wait and expire, corrections in bulk and reversals, over HTTP."""

import pytest

from tests.builders.api import World
from tests.journey.test_store import _emptied, error, field, store, url, world  # noqa: F401 - fixtures


def test_a_currency_can_be_changed_and_shows_what_waits_and_expires(world: World):  # noqa: F811
    with world.client() as admin, world.client("server") as server:
        store(admin)
        changed = admin.patch("/v1/admin/currencies/points", json={"expires_after_days": 30, "pending_seconds": 60})
        assert (changed.status_code, changed.json()["expires_after_days"], changed.json()["pending_seconds"]) == (200, 30, 60)
        assert error(admin.patch("/v1/admin/currencies/gold", json={"name": "Gold"})) == (404, "NOT_FOUND")
        assert field(admin.patch("/v1/admin/currencies/points", json={"expires_after_days": 0})) == "expires_after_days"
        assert error(admin.patch("/v1/admin/currencies/points", json={"decimal_places": 2})) == (409, "INVALID_STATE")
        assert admin.patch("/v1/admin/currencies/points", json={"decimal_places": 0}).status_code == 200
        assert server.patch("/v1/admin/currencies/points", json={"name": "x"}).status_code == 403
        (balance,) = admin.get("/v1/users/ann/points").json()["balances"]
        assert (balance["available"], balance["pending"], balance["next_expiry"]["amount"]) == (100, 0, 100)
        (line,) = admin.get("/v1/users/ann/transactions").json()["transactions"]
        assert (line["available_at"], line["expires_at"]) == (None, None)
        assert admin.patch("/v1/admin/currencies/points", json={"expires_after_days": None}).json()["expires_after_days"] is None
        (balance,) = admin.get("/v1/users/ann/points").json()["balances"]
        assert balance["next_expiry"] is None


USES = {
    "a price": ("/v1/admin/rewards", {"slug": "mug", "name": "Mug", "prices": [{"currency": "points", "amount": 5}]}),
    "a price of a variant": (
        "/v1/admin/rewards",
        {"slug": "mug", "name": "Mug", "variants": [{"id": "red", "name": "Red", "prices": [{"currency": "points", "amount": 5}]}]},
    ),
    "an item": ("/v1/admin/reward-items", {"name": "Ten", "reward_type": "points", "reward_value": 10}),
    "a tier": ("/v1/admin/tiers", {"name": "gold", "level": 1, "threshold": 100}),
}


@pytest.mark.parametrize("use", USES)
def test_the_places_of_points_are_free_until_something_counts_in_them(world: World, use: str):  # noqa: F811
    with world.client() as admin:
        assert admin.patch("/v1/admin/currencies/points", json={"decimal_places": 2}).json()["decimal_places"] == 2
        path, body = USES[use]
        assert admin.post(path, json=body).status_code == 201
        assert error(admin.patch("/v1/admin/currencies/points", json={"decimal_places": 0})) == (409, "INVALID_STATE")
        admin.post("/v1/users", json={"externalId": "ann"}).raise_for_status()
        given = admin.post("/v1/admin/users/ann/adjustments", json={"amount": 1.25, "reason": "welcome"})
        assert given.json()["balance"]["available"] == 1.25


def test_a_transfer_is_reversed_once_and_the_audit_log_says_who_and_why(world: World):  # noqa: F811
    with world.client() as admin:
        store(admin)
        given = admin.post("/v1/admin/users/ann/adjustments", json={"amount": 30, "reason": "the wrong user"}).json()
        path = f"/v1/admin/transfers/{given['transfer_id']}/reverse"
        assert field(admin.post(path, json={"reason": ""})) == "reason"
        answers = [admin.post(path, json={"reason": "undo"}, headers={"Idempotency-Key": "undo-1"}) for _ in range(2)]
        assert answers[0].status_code == 201, answers[0].text
        assert answers[0].content == answers[1].content
        made = answers[0].json()
        assert (made["kind"], made["amount"], made["reverses_transfer_id"]) == ("reverse", -30, given["transfer_id"])
        assert (made["balance"]["available"], made["external_user_id"], made["reason"]) == (100, "ann", "undo")
        again = admin.post(path, json={"reason": "undo"})
        assert error(again) == (409, "INVALID_STATE")
        assert again.json()["error"]["reversed_by"] == made["transfer_id"]
        lines = admin.get("/v1/users/ann/transactions").json()["transactions"]
        assert [(line["kind"], line["amount"], line["note"]) for line in lines][:2] == [
            ("reverse", -30, "undo"),
            ("adjust", 30, "the wrong user"),
        ]
        (welcome,) = [line for line in lines if line["note"] == "welcome"]
        admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}).raise_for_status()
        refused = admin.post(f"/v1/admin/transfers/{welcome['transfer_id']}/reverse", json={"reason": "undo"})
        assert error(refused) == (409, "INSUFFICIENT_POINTS")
        assert refused.json()["error"]["required"] == 100
        gone = admin.post("/v1/admin/transfers/0198c0de-0000-7000-8000-000000000000/reverse", json={"reason": "undo"})
        assert error(gone) == (404, "NOT_FOUND")
        entries = admin.get("/v1/admin/audit-log", params={"subject": "account"}).json()["audit_log"]
        shown = [(entry["action"], entry["before"]["available"], entry["after"]["available"], entry["reason"]) for entry in entries]
        assert shown[:2] == [("reverse", 130, 100, "undo"), ("adjust", 100, 130, "the wrong user")]
        assert entries[0]["actor"].startswith("api_key:")


def test_corrections_in_bulk_say_what_happened_to_each(world: World):  # noqa: F811
    items = [
        {"external_user_id": "ann", "amount": 5},
        {"external_user_id": "nobody", "amount": 5},
        {"external_id": "ann", "amount": -1000, "reason": "too much"},
        {"external_id": "ann", "amount": 0.5},
        {"external_id": "ann", "amount": 1, "currency": "gold"},
        {"external_id": "ann", "amount": -15, "reason": "less"},
    ]
    with world.client() as admin:
        store(admin)
        body = {"adjustments": items, "reason": "spring clean"}
        answers = [admin.post("/v1/admin/adjustments", json=body, headers={"Idempotency-Key": "bulk-1"}) for _ in range(2)]
        assert answers[0].status_code == 200, answers[0].text
        assert answers[0].content == answers[1].content
        made = answers[0].json()
        assert (made["adjusted"], made["refused"]) == (2, 4)
        codes = [one.get("error", {}).get("code") for one in made["results"]]
        assert codes == [None, "USER_NOT_FOUND", "INSUFFICIENT_POINTS", "VALIDATION_ERROR", "VALIDATION_ERROR", None]
        assert [one["balance"]["available"] for one in made["results"] if one["status"] == "adjusted"] == [105, 90]
        assert made["results"][2]["error"]["available"] == 105
        assert {one["external_user_id"] for one in made["results"]} == {"ann", "nobody"}
        lines = admin.get("/v1/users/ann/transactions").json()["transactions"]
        assert [(line["amount"], line["note"]) for line in lines][:2] == [(-15, "less"), (5, "spring clean")]
        atomic = admin.post("/v1/admin/adjustments", json=body | {"atomic": True})
        assert error(atomic) == (404, "USER_NOT_FOUND")
        assert [each["field"] for each in atomic.json()["error"]["details"]] == [f"adjustments[{n}]" for n in (1, 2, 3, 4)]
        (balance,) = admin.get("/v1/users/ann/points").json()["balances"]
        assert balance["available"] == 90
        assert field(admin.post("/v1/admin/adjustments", json=body | {"adjustments": []})) == "adjustments"
        assert field(admin.post("/v1/admin/adjustments", json={"adjustments": items})) == "reason"
        nobody = field(admin.post("/v1/admin/adjustments", json=body | {"adjustments": [{"amount": 1}]}))
        assert nobody == "adjustments[0].external_user_id"
        each_its_own = {"adjustments": [{"external_user_id": "ann", "amount": 1, "reason": "a gift"}]}
        assert admin.post("/v1/admin/adjustments", json=each_its_own).json()["adjusted"] == 1
        assert field(admin.post("/v1/admin/adjustments", json=body | {"adjustments": items * 200})) == "adjustments"
