"""The main job with the client that openapi-python-client generates: python main_job.py, settings in the environment."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

from laurel_client import AuthenticatedClient
from laurel_client.api.events import send_event
from laurel_client.api.leaderboards import create_leaderboard, get_leaderboard_page
from laurel_client.api.points_and_tiers import create_earning_rule
from laurel_client.api.redemptions import get_redemption, redeem, report_redemption_outcome
from laurel_client.api.rewards import create_reward
from laurel_client.api.users import get_user_points
from laurel_client.models import (
    AcceptedEvent,
    EarningRule,
    EarningRuleInput,
    EventActor,
    FreeForm,
    IngestionEventV1,
    Leaderboard,
    LeaderboardConfigInput,
    LeaderboardDefinition,
    LeaderboardEntry,
    LeaderboardPage,
    RedeemBody,
    Redemption,
    RedemptionCallbackBody,
    RedemptionCallbackBodyStatus,
    Reward,
    RewardBody,
    RewardPriceInput,
    ScoringInput,
    ScoringRuleInput,
    TimeframeInput,
    TimeframeType,
    UserPoints,
)

Value = TypeVar("Value")
Answer = TypeVar("Answer")


def of(kind: type[Answer], answer: object) -> Answer:
    """The answer, which must be of that kind and no refusal."""
    assert isinstance(answer, kind), answer
    return answer


def eventually(look: Callable[[], Value | None]) -> Value:
    """What `look` finds at last."""
    deadline = time.monotonic() + 60
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)
    return found


def define(client: AuthenticatedClient, name: str, kind: str) -> None:
    """A board and a rule for events of this kind, and a reward, all of this name."""
    config = LeaderboardConfigInput(
        timeframe=TimeframeInput(type_=TimeframeType.DAILY),
        scoring=ScoringInput(rules=[ScoringRuleInput(event_type=kind, points_expression="attrs.points")]),
    )
    board = LeaderboardDefinition(leaderboard_id=name, name=name, config=config)
    of(Leaderboard, create_leaderboard.sync(client=client, body=board))
    rule = EarningRuleInput(name=name, event_type=kind, points_expression="attrs.points")
    of(EarningRule, create_earning_rule.sync(client=client, body=rule))
    reward = RewardBody(slug=name, name=name, prices=[RewardPriceInput(currency="points", amount=200)])
    of(Reward, create_reward.sync(client=client, body=reward))


def main() -> None:
    """Define a board, a rule and a reward, send an event, redeem, and call back."""
    client = AuthenticatedClient(base_url=os.environ["LAUREL_URL"], token=os.environ["LAUREL_ADMIN_KEY"])
    partner = AuthenticatedClient(base_url=os.environ["LAUREL_URL"], token=os.environ["LAUREL_FULFILMENT_KEY"])
    name = f"python-{uuid4().hex[:8]}"
    define(client, name, f"{name}.completed")
    event = IngestionEventV1(
        event_id=str(uuid4()),
        type_=f"{name}.completed",
        actor=EventActor(user_id=name),
        occurred_at=datetime.now(UTC),
        attrs=FreeForm.from_dict({"points": 255}),
    )
    assert of(AcceptedEvent, send_event.sync(client=client, body=event)).status == "accepted"

    def entry() -> LeaderboardEntry | None:
        page = of(LeaderboardPage, get_leaderboard_page.sync(name, client=client, limit=10))
        return page.entries[0] if page.entries else None

    def earned() -> bool | None:
        points = of(UserPoints, get_user_points.sync(name, client=client))
        return any(balance.available == 255 for balance in points.balances) or None

    first = eventually(entry)
    eventually(earned)
    order = RedeemBody(external_user_id=name, slug=name)
    redemption = of(Redemption, redeem.sync(client=client, body=order, idempotency_key=name))
    outcome = RedemptionCallbackBody(status=RedemptionCallbackBodyStatus.FULFILLED, fulfillment_data=FreeForm.from_dict({"code": "ABC"}))
    of(Redemption, report_redemption_outcome.sync(str(redemption.redemption_id), client=partner, body=outcome))
    settled = of(Redemption, get_redemption.sync(str(redemption.redemption_id), client=client))
    moves = [move.to for move in settled.timeline]
    print(json.dumps({"user": first.user_id, "score": first.score, "status": settled.status, "moves": moves}))


if __name__ == "__main__":
    main()
