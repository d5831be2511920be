"""What partners are told of a redemption: the bodies of `reward_redeemed` and `redemption_updated` (contract 5)."""

from datetime import datetime

from domain.redemption.redemption import Redemption, RedemptionState, points_number
from domain.webhook.body import canonical_body, event_body
from domain.wire import rfc3339


def reward_redeemed(redemption: Redemption) -> bytes:
    """The body of `reward_redeemed`: exactly the keys of contract 5, in its order, made once and sent unchanged ever after."""
    filled = dict(redemption.fields)
    if redemption.variant_id is not None:
        filled["variant_id"] = redemption.variant_id
    reward = redemption.reward
    return canonical_body(
        {
            "event": "reward_redeemed",
            "redemption_id": str(redemption.redemption_id),
            "user_id": str(redemption.user_id),
            "external_user_id": redemption.external_user_id,
            "reward_id": str(redemption.reward_id),
            "reward_type": reward.get("type"),
            "reward_value": reward.get("value"),
            "points_spent": points_number(redemption),
            "reward": {
                "id": str(redemption.reward_id),
                "name": reward.get("name"),
                "type": reward.get("type"),
                "fulfillmentData": filled,
            },
            "timestamp": rfc3339(redemption.created_at, milliseconds=True),
        }
    )


def redemption_updated(redemption: Redemption, previous: RedemptionState, now: datetime) -> bytes:
    """The body of `redemption_updated`, for the redemption as it is after the move."""
    facts = {
        "redemption_id": str(redemption.redemption_id),
        "user_id": str(redemption.user_id),
        "external_user_id": redemption.external_user_id,
        "reward_id": str(redemption.reward_id),
        "previous_status": previous.value,
        "status": redemption.status.value,
        "fulfillment_data": redemption.fulfillment_data,
    }
    return event_body("redemption_updated", facts, now)
