"""The main job over HTTP: events in, boards move, points earned, a reward redeemed, fulfilled by a partner, and the ledger settled."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.conftest import Stack
from tests.journey.programme import (
    add_board,
    add_endpoint,
    add_reward,
    add_rule,
    board_of,
    event,
    eventually,
    fresh,
    give_points,
    points_of,
    post,
    receiver,
    redemption_in,
)

REWARD_REDEEMED = [
    *("event", "redemption_id", "user_id", "external_user_id", "reward_id", "reward_type", "reward_value"),
    *("points_spent", "reward", "timestamp"),
]

pytestmark = pytest.mark.xdist_group("stack")


def sign_seed(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def sign_standard(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()).decode()


def test_the_whole_story_from_an_event_to_a_settled_ledger(stack: Stack) -> None:
    kind, user = fresh("match"), fresh("Đặng Thị É")
    with stack.client() as client, receiver() as partner:
        board = add_board(client, kind, expression="attrs.points * 0.1")
        add_rule(client, kind)
        endpoint, secret = add_endpoint(client, partner.url)
        slug = add_reward(client, price=200, endpoint_id=endpoint, stock=2)

        answer = post(client, "/v1/events", event(kind, user, points=255), 202)
        assert answer["status"] == "accepted"
        eventually(lambda: board_of(client, board) == [(user, 25.5)])
        assert points_of(client, user) == {"available": 255, "held": 0, "lifetime_earned": 255, "lifetime_spent": 0}

        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
        assert redemption["status"] == "pending"
        assert points_of(client, user)["held"] == 200
        identity = redemption["redemption_id"]
        webhook = eventually(lambda: partner.of(identity))[0]
        check_webhook(webhook.headers, webhook.body, secret)
        assert list(webhook.event) == REWARD_REDEEMED
        assert (webhook.event["external_user_id"], webhook.event["points_spent"], webhook.event["reward_value"]) == (user, 200, 10)
        assert user.encode() in webhook.body, "non-ASCII text is kept as it is"
        redemption_in(client, identity, "processing")

        call_back(stack, identity, {"status": "fulfilled", "fulfillment_data": {"code": "ABC"}, "note_of_partner": "kept"})
        settled = client.get(f"/v1/redemptions/{identity}").json()
        assert (settled["status"], settled["fulfillment_data"]["code"]) == ("fulfilled", "ABC")
        assert [move["to"] for move in settled["timeline"]] == ["pending", "processing", "fulfilled"]
        assert points_of(client, user) == {"available": 55, "held": 0, "lifetime_earned": 255, "lifetime_spent": 200}
        assert client.get(f"/v1/rewards/catalog/{slug}").json()["stock"] == 1


def check_webhook(headers: dict[str, str], body: bytes, secret: str) -> None:
    stamp, delivery = headers["x-gamifyengine-timestamp"], headers["webhook-id"]
    assert headers["x-gamifyengine-signature"] == sign_seed(secret, stamp, body)
    assert headers["webhook-timestamp"] == stamp
    assert headers["webhook-signature"].split(" ") == [sign_standard(secret, delivery, stamp, body)]
    assert headers["x-gamifyengine-delivery"] == delivery
    assert headers["x-gamifyengine-attempt"] == "1"
    assert headers["content-type"] == "application/json"


def call_back(stack: Stack, redemption_id: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    with stack.client("fulfilment_key") as partner:
        answer = partner.patch(f"/v1/admin/rewards/redemptions/{redemption_id}", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_failed_fulfilment_gives_points_and_stock_back_and_the_first_final_answer_stands(stack: Stack) -> None:
    user = fresh("user")
    with stack.client() as client, receiver() as partner:
        endpoint, _ = add_endpoint(client, partner.url)
        slug = add_reward(client, price=70, endpoint_id=endpoint, stock=1)
        give_points(client, user, 100)
        identity = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
        assert client.get(f"/v1/rewards/catalog/{slug}").json()["stock"] == 0
        call_back(stack, identity, {"status": "failed", "fulfillment_data": {"reason": "Out of stock"}})
        assert points_of(client, user)["available"] == 100
        assert client.get(f"/v1/rewards/catalog/{slug}").json()["stock"] == 1
        call_back(stack, identity, {"status": "failed"})
        refusal = call_back(stack, identity, {"status": "fulfilled"}, 409)["error"]
        assert (refusal["code"], refusal["present"]) == ("REDEMPTION_ALREADY_FINAL", "failed")
        assert points_of(client, user)["available"] == 100


def test_the_last_pieces_go_to_as_many_as_there_are_and_nobody_overspends(stack: Stack) -> None:
    users = [fresh("crowd") for _ in range(12)]
    with stack.client() as client:
        slug = add_reward(client, price=60, stock=10)
        for number, user in enumerate(users):
            give_points(client, user, 100 if number < 9 else 50)
        orders = [{"external_user_id": user, "slug": slug} for user in users for _ in range(5)]
        random.Random(7).shuffle(orders)
        with ThreadPoolExecutor(12) as crowd:
            answers = list(crowd.map(lambda order: client.post("/v1/redemptions", json=order), orders))
        taken = [answer.json()["external_user_id"] for answer in answers if answer.status_code == 201]
        refused = {answer.json()["error"]["code"] for answer in answers if answer.status_code != 201}
        assert {answer.status_code for answer in answers} == {201, 409}
        assert refused <= {"INSUFFICIENT_POINTS", "OUT_OF_STOCK"}
        assert sorted(taken) == sorted(users[:9]), "each of the nine who can pay once gets one"
        assert client.get(f"/v1/rewards/catalog/{slug}").json()["stock"] == 1
        assert [points_of(client, user)["available"] for user in users] == [40] * 9 + [50] * 3


def test_the_same_key_is_one_redemption_and_another_body_is_a_conflict(stack: Stack) -> None:
    user = fresh("user")
    with stack.client() as client:
        slug, other = add_reward(client, price=10), add_reward(client, price=10)
        give_points(client, user, 100)
        key = {"Idempotency_Key": fresh("key")}
        first = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug}, **key)
        again = client.post(
            "/v1/redemptions", json={"external_user_id": user, "slug": slug}, headers={"Idempotency-Key": key["Idempotency_Key"]}
        )
        assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (201, first, "true")
        conflict = post(client, "/v1/redemptions", {"external_user_id": user, "slug": other}, 409, **key)
        assert conflict["error"]["code"] == "IDEMPOTENCY_CONFLICT"
        assert points_of(client, user)["available"] == 90


def test_a_gamer_sends_plays_and_buys_for_itself_only(stack: Stack) -> None:
    kind, user = fresh("level"), fresh("gamer")
    with stack.client() as client:
        add_rule(client, kind)
        slug = add_reward(client, price=30)
        token = post(client, "/v1/auth/gamer-token", {"user_id": user, "ttl_seconds": 600})["token"]
        with httpx.Client(base_url=str(client.base_url), headers={"Authorization": f"Bearer {token}"}, timeout=60.0) as gamer:
            post(gamer, "/v1/events", event(kind, user, points=40), 202)
            assert post(gamer, "/v1/events", event(kind, "somebody-else", points=40), 403)["error"]["code"] == "FORBIDDEN"
            eventually(lambda: points_of(gamer, "me")["available"] == 40)
            assert post(gamer, f"/v1/rewards/purchase/{slug}", {})["external_user_id"] == user
            assert points_of(gamer, "me")["available"] == 10
            assert gamer.get("/v1/users/somebody-else/points").status_code == 403


@pytest.mark.parametrize("aggregation", ["sum", "max", "avg"])
def test_ties_and_shuffled_arrival_give_the_same_board(stack: Stack, aggregation: str) -> None:
    kinds, noon = (fresh("race"), fresh("race")), datetime(1965, 5, 1, 12, tzinfo=UTC)
    plays = [(user, points, noon + timedelta(hours=n)) for n, (user, points) in enumerate(itertools.product("dcba", (3, 1, 3)))]
    boards = []
    with stack.client() as client:
        for seed, kind in enumerate(kinds):
            boards.append(add_board(client, kind, aggregation=aggregation))
            shuffled = random.Random(seed).sample(plays, len(plays))
            events = [{**event(kind, user, points=points), "occurred_at": at.isoformat()} for user, points, at in shuffled]
            for start in range(0, len(events), 5):
                assert post(client, "/v1/events/bulk", {"events": events[start : start + 5]}, 202)["status"] == "accepted"
        score = {"sum": 7, "max": 3, "avg": 2.3333}[aggregation]
        expected = [(user, score) for user in "dcba"]  # all tie; who came first by occurred_at leads
        eventually(lambda: all(board_of(client, board) == expected for board in boards))


async def test_the_history_in_temporal_tells_the_story_without_secrets(stack: Stack) -> None:
    user = fresh("history")
    with stack.client() as client, receiver(500) as partner:
        # Subscribed to nothing that other tests cause: a copy of their news would take the scripted 500 away.
        endpoint = post(
            client, "/v1/admin/webhook-endpoints", {"url": partner.url, "events": ["webhook.test"], "retry_delays_seconds": [1]}
        )
        slug = add_reward(client, price=10, endpoint_id=endpoint["endpoint_id"])
        give_points(client, user, 10)
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
        identity = redemption["redemption_id"]
        redemption_in(client, identity, "processing")
        call_back(stack, identity, {"status": "fulfilled", "fulfillment_data": {"code": "VERY-SECRET-CODE"}})
    assert redemption["workflow_id"] == f"redemption:{stack.described['tenant_id']}:{identity}"
    temporal = await Client.connect(stack.described["temporal_address"], namespace=stack.described["temporal_namespace"])
    handle = temporal.get_workflow_handle(redemption["workflow_id"])
    async with asyncio.timeout(60):
        await handle.result()
    described = await handle.describe()
    attributes = {key: values[0] for key, values in described.search_attributes.items()}
    assert attributes.items() >= {
        "TenantId": stack.described["tenant_id"],
        "RedemptionId": identity,
        "ExternalUserId": user,
        "RewardSlug": slug,
        "RedemptionStatus": "fulfilled",
    }.items()  # fmt: skip
    assert await described.static_summary()
    history = await handle.fetch_history()
    steps = [
        each
        for each in history.events
        if each.event_type in (EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventType.EVENT_TYPE_TIMER_STARTED)
    ]
    assert steps
    assert all(each.user_metadata.summary.data for each in steps), "each activity and timer has a summary"
    assert any(b"attempt 2" in each.user_metadata.summary.data for each in steps)
    told = history.to_json()
    whole = b"".join(each.SerializeToString() for each in history.events)
    for secret in (endpoint["secret"], "VERY-SECRET-CODE", "reward_redeemed", "bonus_credit"):
        assert secret not in told
        assert secret.encode() not in whole
