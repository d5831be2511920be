"""A balance stays a number that JSON carries, and a key that is said twice is one key."""

from tests.builders.api import World
from tests.builders.seeded_tenant import make

MOST = 2**53 - 1


def test_a_balance_beyond_what_a_json_number_carries_is_refused(world: World):
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": "ann"})
        path, body = "/v1/admin/users/ann/adjustments", {"amount": MOST, "currency": "points", "reason": "x"}
        make(admin, path, body)
        refused = admin.post(path, json={**body, "amount": 1})
        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["error"]["limit"]) == (409, "LIMIT_REACHED", MOST)
        many = admin.post("/v1/admin/adjustments", json={"adjustments": [{"external_id": "ann", "amount": 1}], "reason": "x"})
        assert "LIMIT_REACHED" in many.text
        assert admin.get("/v1/users/ann/points").json()["balances"][0]["available"] == MOST


def test_the_same_key_in_header_and_body_is_one_and_another_is_refused(world: World):
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": "ann"})
        path, body = "/v1/admin/users/ann/adjustments", {"amount": 5, "currency": "points", "reason": "x", "idempotency_key": "one"}
        first = admin.post(path, json=body, headers={"Idempotency-Key": "one"})
        assert first.status_code == 201, first.text
        again = admin.post(path, json=body, headers={"Idempotency-Key": "one"})
        assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
        assert admin.post(path, json=body, headers={"Idempotency-Key": "two"}).status_code == 400
