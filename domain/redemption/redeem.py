"""How a redemption of a reward begins: its first state with its deadline, and how it will be fulfilled (contract 4, Redemption)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from domain.canonical_json import canonical_json
from domain.errors import ValidationError
from domain.points.ledger import amount_from_wire
from domain.redemption.redemption import MAXIMUM_DATA_BYTES, WAITING_SECONDS, RedemptionState
from domain.reward.offer import credited_currency
from domain.reward.reward import Reward


def first_state(reward: Reward) -> RedemptionState:
    """Where a redemption of this reward begins."""
    if reward.requires_claim:
        return RedemptionState.PENDING_CLAIM
    return RedemptionState.PENDING_APPROVAL if reward.requires_approval else RedemptionState.PENDING


def first_deadline(reward: Reward, now: datetime) -> datetime:
    """The end of its first state: 7 days to claim or to approve, else the reward's own deadline."""
    waits = reward.requires_claim or reward.requires_approval
    return now + timedelta(seconds=WAITING_SECONDS if waits else reward.fulfilment.deadline_seconds)


def fulfilment_copy(reward: Reward, places: Mapping[str, int]) -> dict[str, Any]:
    """How this redemption will be fulfilled, whatever becomes of the reward later. `places` are the decimal places of each currency."""
    copy: dict[str, Any] = msgspec.to_builtins(reward.fulfilment)
    if reward.fulfilment.type == "wallet":
        currency = credited_currency(reward)
        copy["credit"] = {"currency": currency, "amount": amount_from_wire(reward.value, places[currency], "value")}
    if reward.requires_claim:
        copy |= {"claim_fields": msgspec.to_builtins(reward.fields), "requires_approval": reward.requires_approval}
    return copy


def check_size(fields: dict[str, Any]) -> None:
    """ValidationError when the filled-in fields are too large for a webhook's body."""
    if len(canonical_json(fields)) > MAXIMUM_DATA_BYTES:
        raise ValidationError.of("fields", f"must be at most {MAXIMUM_DATA_BYTES} bytes")
