"""Whoever is at a limit is refused with 409, on every route that can carry a tenant there; the API document names it for each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest

from domain import limits
from storage import limit as counting
from tests.builders.api import World
from tests.builders.seeded_tenant import BADGE, BODIES, CONFIG, HANDMADE, POINTS_BOARD, SCHEDULE, ask, make, seed

MOST = 2**53 - 1
CREATING: Mapping[str, tuple[str, Any]] = {
    "POST /v1/admin/leaderboards": ("LEADERBOARDS", {"leaderboard_id": "another", "name": "Another", "config": POINTS_BOARD}),
    "POST /v1/admin/earning-rules": ("EARNING_RULES", {"name": "another", "event_type": "goal", "points_expression": "2"}),
    "POST /v1/admin/event-types": ("EVENT_TYPES", {"name": "another"}),
    "POST /v1/admin/api-keys": ("API_KEYS", {"name": "another", "role": "read"}),
    "POST /v1/admin/webhook-endpoints": ("WEBHOOK_ENDPOINTS", {"url": "http://127.0.0.1:9/another", "events": ["tier_change"]}),
    "POST /v1/admin/schedules": ("SCHEDULES", SCHEDULE),
    "POST /v1/admin/rewards": ("REWARDS", {"slug": "another", **HANDMADE}),
    "POST /v1/admin/reward-items": ("REWARD_ITEMS", BADGE),
    "POST /v1/admin/reward-configs": ("REWARD_CONFIGS", CONFIG),
    "POST /v1/admin/currencies": ("CURRENCIES", {"id": "stars", "name": "Stars"}),
}
SCORED: Mapping[str, Any] = {
    "POST /v1/admin/leaderboards": CREATING["POST /v1/admin/leaderboards"][1],
    "PUT /v1/admin/leaderboards/{leaderboard_id}": BODIES["PUT /v1/admin/leaderboards/{leaderboard_id}"],
    "POST /v1/admin/earning-rules": CREATING["POST /v1/admin/earning-rules"][1],
    "PUT /v1/admin/earning-rules/{rule_id}": BODIES["PUT /v1/admin/earning-rules/{rule_id}"],
    "PATCH /v1/admin/earning-rules/{rule_id}": {"name": "y"},
}
"""What writes rules that scoring runs."""


def refusal(answer: httpx.Response) -> tuple[int, str | None]:
    """The status and the code."""
    return answer.status_code, answer.json().get("error", {}).get("code")


@contextmanager
def without_room(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """No tenant may have one more."""
    with monkeypatch.context() as bounded:
        present = getattr(limits, name)
        full = msgspec.structs.replace(present, value=0)
        bounded.setattr(limits, name, full)
        bounded.setitem(counting.COUNTED, full, counting.COUNTED[present])
        yield


def test_whatever_is_created_is_refused_when_there_is_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.client() as admin:
        with without_room(monkeypatch, "WEBHOOK_ENDPOINTS"):
            short = admin.put("/v1/admin/webhook", json={"url": "http://127.0.0.1:9/short"})
        assert refusal(short) == (409, "LIMIT_REACHED")
        things = seed(world)
        for route, (name, body) in CREATING.items():
            with without_room(monkeypatch, name):
                refused = ask(admin, route, things, body)
            assert refusal(refused) == (409, "LIMIT_REACHED"), route


def test_rules_are_refused_when_scoring_would_have_too_much_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    things = seed(world)
    monkeypatch.setattr(limits, "RULE_BYTES", msgspec.structs.replace(limits.RULE_BYTES, value=0))
    with world.client() as admin:
        for route, body in SCORED.items():
            refused = ask(admin, route, things, body)
            assert refusal(refused) == (409, "LIMIT_REACHED"), route


def test_a_full_balance_refuses_what_would_be_given_to_it(world: World) -> None:
    wallet = {"type": "points", "value": 5, "fulfilment": {"type": "wallet"}}
    price = [{"currency": "points", "amount": 10}]
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": "ann"})
        taken = {"currency": "points", "reason": "a test"}
        for amount in (40, -10):
            debit = make(admin, "/v1/admin/users/ann/adjustments", {**taken, "amount": amount})
        for slug, kind in (("mug", {"fulfilment": {"type": "manual"}}), ("bonus", wallet)):
            make(admin, "/v1/admin/rewards", {"slug": slug, "name": slug, "prices": price, **kind})
        item = make(admin, "/v1/admin/reward-items", {"name": "Bonus", "reward_type": "points", "reward_value": 5})
        mug, first, second = (
            make(admin, "/v1/redemptions", {"external_user_id": "ann", "slug": slug})["redemption_id"] for slug in ("mug", "bonus", "bonus")
        )
        make(admin, f"/v1/admin/redemptions/{mug}/fulfil", {}, 200)
        make(admin, "/v1/admin/users/ann/adjustments", {**taken, "amount": MOST - 20})  # with the holds of the two others it is full
        one = {"external_id": "ann", "amount": 1}
        for method, path, body in (
            ("POST", f"/v1/admin/redemptions/{mug}/reverse", {"reason": "broken"}),
            ("POST", f"/v1/admin/redemptions/{first}/fulfil", {}),
            ("PATCH", f"/v1/admin/rewards/redemptions/{second}", {"status": "fulfilled"}),
            ("POST", f"/v1/admin/transfers/{debit['transfer_id']}/reverse", {"reason": "a mistake"}),
            ("POST", "/v1/admin/adjustments", {"adjustments": [one], "reason": "a test", "atomic": True}),
            ("POST", "/v1/admin/grants", {"item_id": item["item_id"], "external_ids": ["ann"], "reason": "a test"}),
        ):
            refused = admin.request(method, path, json=body)
            assert refusal(refused) == (409, "LIMIT_REACHED"), path


def test_a_credit_that_was_spent_cannot_be_taken_back(world: World) -> None:
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": "ann"})
        reward = {"slug": "bonus", "name": "Bonus", "type": "points", "value": 5, "fulfilment": {"type": "wallet"}}
        make(admin, "/v1/admin/rewards", {**reward, "prices": [{"currency": "points", "amount": 0}]})
        bonus = make(admin, "/v1/redemptions", {"external_user_id": "ann", "slug": "bonus"})["redemption_id"]
        make(admin, f"/v1/admin/redemptions/{bonus}/fulfil", {}, 200)
        make(admin, "/v1/admin/users/ann/adjustments", {"amount": -5, "reason": "spent"})
        refused = admin.post(f"/v1/admin/redemptions/{bonus}/reverse", json={"reason": "a mistake"})
        assert refusal(refused) == (409, "INSUFFICIENT_POINTS")
