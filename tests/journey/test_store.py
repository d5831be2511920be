"""Users, points and the store over HTTP: the statuses, bodies and headers of contracts 1 and 4."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from runtime.settings import Settings
from tests.builders.api import World, make_world, serving
from tests.conftest import empty


@pytest.fixture
def _emptied(postgres_url: str) -> None:
    empty(postgres_url)


@pytest.fixture
def url(_emptied: None, settings: Settings) -> Iterator[str]:
    with serving(settings) as address:
        yield address


@pytest.fixture
async def world(url: str, settings: Settings) -> World:
    return await make_world(settings, url)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def field(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["details"][0]["field"]


def store(admin: httpx.Client, *, points: int = 100, **reward: Any) -> dict[str, Any]:
    """A user `ann` with points, and a reward `mug`."""
    assert admin.post("/v1/users", json={"externalId": "ann"}).status_code == 201
    given = admin.post("/v1/admin/users/ann/adjustments", json={"amount": points, "reason": "welcome"})
    assert given.status_code == 201, given.text
    body = {"slug": "mug", "name": "Mug", "prices": [{"currency": "points", "amount": 30}], "stock": 5} | reward
    made = admin.post("/v1/admin/rewards", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


def test_a_user_is_made_once_and_then_merged(world: World):
    with world.client("server") as server:
        made = server.post("/v1/users", json={"externalId": "usr_abc123", "display_name": "Ann"})
        assert (made.status_code, made.json()["created"]) == (201, True)
        known = server.post("/v1/users", json={"external_id": "usr_abc123", "email": "a@b.vn"})
        assert (known.status_code, known.json()["created"]) == (200, False)
        assert known.json()["display_name"] == "Ann"
        profile = server.get("/v1/users/usr_abc123").json()
        assert profile["balances"][0]["available"] == 0
        assert error(server.get("/v1/users/nobody/points")) == (404, "USER_NOT_FOUND")
        assert field(server.post("/v1/users", json={"external_id": "x", "colour": "red"})) == "colour"
    with world.client("read") as reader:
        assert error(reader.post("/v1/users", json={"externalId": "x"})) == (403, "FORBIDDEN")


def test_redeeming_over_http_holds_points_and_answers_the_redemption(world: World):
    with world.client() as admin, world.client("server") as server:
        reward = store(admin)
        made = server.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})
        assert made.status_code == 201, made.text
        assert (made.json()["status"], made.json()["points_spent"]) == ("pending", 30)
        assert made.json()["reward"]["id"] == reward["reward_id"]
        by_id = server.post("/v1/redemptions", json={"external_user_id": "ann", "reward_id": reward["reward_id"]})
        assert by_id.status_code == 201
        balance = server.get("/v1/users/ann/points").json()["balances"][0]
        assert (balance["available"], balance["held"]) == (40, 60)
        server.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})
        short = server.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})
        assert error(short) == (409, "INSUFFICIENT_POINTS")
        assert (short.json()["error"]["available"], short.json()["error"]["required"]) == (10, 30)
        listed = server.get("/v1/users/ann/redemptions", params={"limit": 2}).json()
        assert len(listed["redemptions"]) == 2
        rest = server.get("/v1/users/ann/redemptions", params={"limit": 2, "cursor": listed["next_cursor"]}).json()
        assert [one["redemption_id"] for one in rest["redemptions"]] == [made.json()["redemption_id"]]
        transactions = server.get("/v1/users/ann/transactions").json()["transactions"]
        assert [(one["kind"], one["amount"], one["note"]) for one in transactions] == [("adjust", 100, "welcome")]


def test_an_idempotency_key_gives_the_first_answer_again(world: World):
    with world.client() as admin:
        store(admin)
        body = {"external_user_id": "ann", "slug": "mug"}
        first = admin.post("/v1/redemptions", json=body, headers={"Idempotency-Key": "k1"})
        again = admin.post("/v1/redemptions", json=dict(reversed(body.items())), headers={"Idempotency-Key": "k1"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        other = admin.post("/v1/redemptions", json=body | {"currency": "points"}, headers={"Idempotency-Key": "k1"})
        assert error(other) == (409, "IDEMPOTENCY_CONFLICT")
        both = admin.post("/v1/redemptions", json=body | {"idempotency_key": "k2"}, headers={"Idempotency-Key": "another"})
        assert field(both) == "idempotency_key"
        in_body = [admin.post("/v1/redemptions", json=body | {"idempotency_key": "k3"}) for _ in range(2)]
        assert in_body[0].json() == in_body[1].json()
        adjusted = [
            admin.post("/v1/admin/users/ann/adjustments", json={"amount": 1, "reason": "r"}, headers={"Idempotency-Key": "k1"})
            for _ in range(2)
        ]
        assert adjusted[0].content == adjusted[1].content
        assert admin.get("/v1/users/ann/points").json()["balances"][0]["available"] == 41


def test_a_callback_that_cannot_be_kept_is_refused_with_a_reason(world: World):
    with world.client() as admin, world.client("fulfilment") as partner:
        store(admin, stock=5)
        made = admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}).json()["redemption_id"]
        path = f"/v1/admin/rewards/redemptions/{made}"
        start = '{"status":"fulfilled","fulfillment_data":'
        tests = [
            "[" * 900 + '"\\u0000"' + "]" * 900,
            '{"a":' + "[" * 600 + "]" * 600 + "}",
            '{"a":"' + "x" * 32768 + '"}',
            "[" + "1e20," * 3000 + "1]",
        ]
        for data in [*tests, '{"a":[' + "1e20," * 3000 + "1]}"]:
            answer = partner.patch(path, content=f"{start}{data}}}", headers={"Content-Type": "application/json"})
            assert error(answer) == (400, "VALIDATION_ERROR"), data[:20]
        assert admin.get(f"/v1/redemptions/{made}").json()["status"] == "pending"
        fits = {"status": "fulfilled", "fulfillment_data": {"a": "x" * 32000}}
        assert partner.patch(path, json=fits).status_code == 200


def test_a_partner_that_is_still_at_work_can_say_more(world: World):
    with world.client() as admin, world.client("fulfilment") as partner:
        store(admin)
        made = admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}).json()["redemption_id"]
        path = f"/v1/admin/rewards/redemptions/{made}"
        partner.patch(path, json={"status": "processing", "fulfillment_data": {"step": "packed"}}).raise_for_status()
        sent = {"status": "processing", "fulfillment_data": {"step": "sent", "parcel": "P1"}, "carrier": "VNPost"}
        kept = partner.patch(path, json=sent).json()["fulfillment_data"]
        assert kept == {"step": "sent", "parcel": "P1", "carrier": "VNPost"}
        assert len(partner.get(f"/v1/redemptions/{made}").json()["timeline"]) == 2
        large = {"status": "processing", "fulfillment_data": {"note": "x" * 32740}}
        assert field(partner.patch(path, json=large)) == "fulfillment_data"
        done = partner.patch(path, json={"status": "fulfilled", "fulfillment_data": {"step": "there"}}).json()
        assert (done["status"], done["fulfillment_data"]) == ("fulfilled", kept | {"step": "there"})
        again = partner.patch(path, json={"status": "fulfilled", "fulfillment_data": {"step": "lost"}}).json()
        assert again["fulfillment_data"]["step"] == "there"


def test_concurrent_requests_for_the_last_pieces_get_exactly_those(world: World):
    with world.client() as admin, ThreadPoolExecutor(16) as threads:
        store(admin, points=1000, stock=3)
        answers = list(threads.map(lambda _: admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}), range(30)))
        assert [answer.status_code for answer in answers].count(201) == 3
        assert {error(answer) for answer in answers if answer.status_code != 201} == {(409, "OUT_OF_STOCK")}
        assert admin.get("/v1/rewards/catalog/mug").json()["stock"] == 0
        assert admin.get("/v1/rewards/catalog", params={"purchasable": "true"}).json()["rewards"] == []


def test_a_gamer_buys_for_itself_and_sees_only_itself(world: World):
    with world.client() as admin:
        store(admin)
        token = admin.post("/v1/auth/gamer-token", json={"user_id": "ann"}).json()["token"]
    with httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0) as gamer:
        entry = gamer.get("/v1/rewards/catalog").json()["rewards"][0]
        assert (entry["slug"], entry["affordable"], entry["points_needed"]) == ("mug", True, 0)
        bought = gamer.post("/v1/rewards/purchase/mug")
        assert bought.status_code == 201, bought.text
        assert bought.json()["external_user_id"] == "ann"
        assert bought.json()["timeline"][0]["by"].startswith("gamer:")
        assert gamer.get("/v1/users/me/points").json()["balances"][0]["held"] == 30
        assert error(gamer.get("/v1/users/bob/points")) == (403, "FORBIDDEN")
        assert error(gamer.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})) == (403, "FORBIDDEN")
        assert error(gamer.post("/v1/rewards/purchase/none")) == (404, "REWARD_NOT_FOUND")


def test_rewards_are_changed_under_their_version(world: World):
    with world.client() as admin:
        reward = store(admin)
        path = f"/v1/admin/rewards/{reward['reward_id']}"
        changed = admin.patch(path, json={"name": "Cup"}, headers={"If-Match": "1"})
        assert (changed.status_code, changed.json()["version"], changed.json()["stock"]) == (200, 2, 5)
        assert error(admin.patch(path, json={"name": "Pot"}, headers={"If-Match": "1"})) == (409, "VERSION_CONFLICT")
        assert field(admin.patch(path, json={"colour": "red"})) == "colour"
        unknown = {"fulfilment": {"endpoint_id": reward["reward_id"]}}
        assert field(admin.patch(path, json=unknown)) == "fulfilment.endpoint_id"
        assert error(admin.post("/v1/admin/rewards", json={"slug": "mug", "name": "x"})) == (409, "ALREADY_EXISTS")
        replaced = admin.put("/v1/admin/rewards/mug", json={"slug": "mug", "name": "Plain"})
        assert (replaced.json()["prices"], replaced.json()["stock"]) == ([], None)
        granted = admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"})
        assert error(granted) == (409, "NOT_ELIGIBLE")
        assert admin.delete(path).status_code == 204
        assert error(admin.get(path)) == (404, "REWARD_NOT_FOUND")
        assert admin.post("/v1/admin/rewards", json={"slug": "mug", "name": "New"}).status_code == 201


def test_a_currency_with_decimal_places_shows_no_needless_fraction(world: World):
    with world.client() as admin:
        store(admin)
        made = admin.post("/v1/admin/currencies", json={"id": "coins", "name": "Coins", "decimal_places": 2})
        assert made.status_code == 201, made.text
        given = admin.post("/v1/admin/users/ann/adjustments", json={"amount": 2.5, "currency": "coins", "reason": "r"})
        assert given.json()["balance"]["available"] == 2.5
        fine = admin.post("/v1/admin/users/ann/adjustments", json={"amount": 0.001, "currency": "coins", "reason": "r"})
        assert field(fine) == "amount"
        more = admin.post("/v1/admin/users/ann/adjustments", json={"amount": 0.5, "currency": "coins", "reason": "r"})
        assert more.text.count('"available":3,') == 1
        assert field(admin.post("/v1/admin/currencies", json={"id": "gems", "name": "Gems", "pending_seconds": -5})) == "pending_seconds"
        assert error(admin.post("/v1/admin/currencies", json={"id": "coins", "name": "Coins"})) == (409, "ALREADY_EXISTS")


def test_every_version_of_an_earning_rule_is_kept(world: World):
    rule = {"name": "Goal", "event_type": "goal", "points_expression": "10"}
    with world.client() as admin:
        made = admin.post("/v1/admin/earning-rules", json=rule)
        assert made.status_code == 201, made.text
        path = f"/v1/admin/earning-rules/{made.json()['rule_id']}"
        assert admin.put(path, json=rule | {"points_expression": "20"}, headers={"If-Match": "1"}).json()["version"] == 2
        assert admin.patch(path, json={"active": False}).json()["points_expression"] == "20"
        assert error(admin.put(path, json=rule, headers={"If-Match": "1"})) == (409, "VERSION_CONFLICT")
        assert field(admin.post("/v1/admin/earning-rules", json=rule | {"currency": "gold"})) == "currency"
        assert field(admin.post("/v1/admin/earning-rules", json=rule | {"budget": 0})) == "budget"
        assert admin.get("/v1/admin/earning-rules").json()["earning_rules"][0]["version"] == 3
        assert admin.patch(path, json={"budget": 50}).json()["budget_spent"] == 0
        assert admin.delete(path).status_code == 204
        assert error(admin.get(path)) == (404, "NOT_FOUND")
    versions = world.rows("SELECT version, active, valid_from FROM earning_rule_version ORDER BY version")
    assert [(version, active) for version, active, _ in versions] == [(1, True), (2, True), (3, False), (4, False), (5, False)]
    assert sorted(row[2] for row in versions) == [row[2] for row in versions]
