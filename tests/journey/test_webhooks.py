"""Webhook endpoints, the log of deliveries, callbacks and orders over HTTP."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Stack
from tests.journey.programme import eventually, fresh, post

ENDPOINTS = "/v1/admin/webhook-endpoints"


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as opened:
        yield opened


@pytest.fixture
def endpoint(client: httpx.Client) -> Iterator[dict[str, object]]:
    # Of events that nobody causes: news of other tests would fail there, and change what the endpoint says of its health.
    body = {"url": "http://127.0.0.1:9/hook", "events": ["webhook.test"], "retry_delays_seconds": [1, 2.5]}
    made = post(client, ENDPOINTS, body)
    yield made
    client.delete(f"{ENDPOINTS}/{made['endpoint_id']}")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_secret_is_shown_once(client, endpoint):
    assert str(endpoint["secret"]).startswith("whsec_")
    read = client.get(f"{ENDPOINTS}/{endpoint['endpoint_id']}").json()
    assert read == {name: value for name, value in endpoint.items() if name != "secret"}
    assert (read["rate_per_second"], read["timeout_seconds"], read["retry_delays_seconds"]) == (50, 10, [1, 2.5])
    assert read in client.get(ENDPOINTS, params={"limit": 500}).json()["webhook_endpoints"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com"},
        {"url": "http://10.0.0.1/"},
        {"url": "http://u:p@example.com/"},
        {"events": ["no_such_event"]},
        {"events": []},
        {"secret": "short"},
        {"timeout_seconds": 31},
        {"retry_delays_seconds": [1, 1, 1, 1]},
        {"retry_delays_seconds": [0]},
        {"rate_per_second": True},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_wrong_endpoint_is_refused(client, wrong):
    assert refusal(client.post(ENDPOINTS, json={"url": "http://127.0.0.1:9/hook", **wrong})) == (400, "VALIDATION_ERROR")


def test_an_endpoint_is_changed_switched_off_and_on_and_archived(client, endpoint):
    address = f"{ENDPOINTS}/{endpoint['endpoint_id']}"
    changed = client.patch(address, json={"description": "ours", "timeout_seconds": 5}).json()
    assert (changed["description"], changed["timeout_seconds"], changed["events"]) == ("ours", 5, ["webhook.test"])
    assert client.post(f"{address}/disable").json()["enabled"] is False
    assert client.post(f"{address}/enable").json()["enabled"] is True
    assert client.patch(address, json={"enabled": False}).json()["enabled"] is False
    assert client.delete(address).status_code == 204
    assert refusal(client.get(address)) == (404, "NOT_FOUND")
    assert refusal(client.get(f"{ENDPOINTS}/nonsense")) == (404, "NOT_FOUND")


def test_a_secret_is_rotated_with_an_overlap(client, endpoint):
    address = f"{ENDPOINTS}/{endpoint['endpoint_id']}/rotate-secret"
    rotated = client.post(address)
    assert rotated.status_code == 200, rotated.text
    assert rotated.json()["secret"] != endpoint["secret"]
    assert refusal(client.post(address, json={})) == (409, "INVALID_STATE")
    assert client.post(address, json={"overlap_seconds": 0}).status_code == 200, "a leak does not wait for the overlap's end"


def test_a_leaked_secret_is_replaced_at_once(client, endpoint):
    address = f"{ENDPOINTS}/{endpoint['endpoint_id']}/rotate-secret"
    for _ in range(2):
        assert client.post(address, json={"overlap_seconds": 0}).status_code == 200


def test_a_redemption_without_a_webhook_is_moved_by_callback_and_listed_as_an_order(client):
    user, slug = fresh("user"), fresh("reward")
    post(client, "/v1/users", {"external_id": user})
    reward = {"slug": slug, "name": "Handmade", "fulfilment": {"type": "manual"}, "prices": [{"currency": "points", "amount": 0}]}
    post(client, "/v1/admin/rewards", reward)
    redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
    callback = f"/v1/admin/rewards/redemptions/{redemption['redemption_id']}"
    assert refusal(client.patch(callback, json={"status": "lost"})) == (400, "VALIDATION_ERROR")
    assert refusal(client.patch(callback, json={"status": "fulfilled", "fulfilled_at": "soon"})) == (400, "VALIDATION_ERROR")
    assert client.patch(callback, json={"status": "processing"}).json()["status"] == "processing"
    body = {"status": "fulfilled", "fulfilled_at": "2026-02-24T15:00:00+07:00", "fulfillment_data": {"code": "V"}, "carrier": "us"}
    done = client.patch(callback, json=body).json()
    assert (done["status"], done["fulfilled_at"], done["fulfillment_data"]) == (
        "fulfilled",
        "2026-02-24T08:00:00Z",
        {"code": "V", "carrier": "us"},
    )
    assert client.patch(callback, json={"status": "fulfilled", "fulfillment_data": {"code": "W"}}).json() == done
    refused = client.patch(callback, json={"status": "failed"})
    assert refusal(refused) == (409, "REDEMPTION_ALREADY_FINAL")
    assert refused.json()["error"]["present"] == "fulfilled"
    orders = client.get(f"/v1/orders/user/{user}", params={"status": "fulfilled"}).json()
    assert [order["redemption_id"] for order in orders["orders"]] == [redemption["redemption_id"]]
    assert orders["next_cursor"] is None
    assert client.get(f"/v1/orders/user/{user}/{redemption['redemption_id']}").json()["status"] == "fulfilled"
    assert refusal(client.get("/v1/orders/user/nobody-at-all")) == (404, "USER_NOT_FOUND")
    page = client.get("/v1/admin/redemptions", params={"user_id": user, "limit": 1}).json()
    assert page["next_cursor"]
    assert client.get("/v1/admin/redemptions", params={"user_id": user, "cursor": page["next_cursor"]}).json()["redemptions"] == []
    admin = f"/v1/admin/redemptions/{redemption['redemption_id']}"
    assert refusal(client.post(f"{admin}/reverse", json={})) == (400, "VALIDATION_ERROR")
    assert client.post(f"{admin}/reverse", json={"reason": "a mistake"}).json()["status"] == "reversed"
    assert refusal(client.post(f"{admin}/cancel", json={})) == (409, "INVALID_STATE")


def test_what_does_not_exist_is_not_found(client):
    nobody = str(uuid4())
    assert refusal(client.patch(f"/v1/admin/rewards/redemptions/{nobody}", json={"status": "failed"})) == (404, "REDEMPTION_NOT_FOUND")
    assert refusal(client.get(f"/v1/redemptions/{nobody}")) == (404, "REDEMPTION_NOT_FOUND")
    assert refusal(client.get("/v1/redemptions/nonsense")) == (404, "REDEMPTION_NOT_FOUND")
    assert refusal(client.get(f"/v1/admin/deliveries/{nobody}")) == (404, "NOT_FOUND")


def test_the_log_shows_deliveries_with_their_attempts(client):
    user, slug = fresh("user"), fresh("reward")
    post(client, "/v1/users", {"external_id": user})
    made = post(client, ENDPOINTS, {"url": "http://127.0.0.1:9/hook", "events": ["webhook.test"], "retry_delays_seconds": []})
    reward = {
        "slug": slug,
        "name": "Sent",
        "fulfilment": {"type": "webhook", "endpoint_id": made["endpoint_id"], "deadline_seconds": 600},
        "prices": [{"currency": "points", "amount": 0}],
    }
    post(client, "/v1/admin/rewards", reward)
    redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
    filters = {"redemption_id": redemption["redemption_id"], "state": "exhausted"}
    (line,) = eventually(lambda: client.get("/v1/admin/deliveries", params=filters).json()["deliveries"])
    detail = client.get(f"/v1/admin/deliveries/{line['delivery_id']}").json()
    (attempt,) = detail["attempts"]
    assert (attempt["number"], attempt["trigger"], attempt["status"], attempt["error_class"]) == (1, "scheduled", None, "refused")
    assert '"event":"reward_redeemed"' in detail["body"]
    assert client.get(f"/v1/redemptions/{redemption['redemption_id']}").json()["flags"] == ["delivery_exhausted"]
