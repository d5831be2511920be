"""What one user can have of a reward now: its variant, its windows of time and its limit (contract 4, Store)."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from domain.errors import NotEligible, ValidationError
from domain.leaderboard.definition import Timeframe, TimeframeType
from domain.leaderboard.window import WindowSpan, window_at
from domain.points.ledger import POINTS, Currency, amount_from_wire
from domain.reward.reward import Reward, RewardBody
from domain.rule.condition import holds
from domain.rule.segment import parse_segment
from domain.wire import rfc3339

PERIODS = {
    "day": TimeframeType.DAILY,
    "week": TimeframeType.WEEKLY,
    "month": TimeframeType.MONTHLY,
    "ever": TimeframeType.ALL_TIME,
}


def chosen_variant(reward: Reward, variant_id: str | None) -> Reward:
    """The reward as the variant makes it: its prices, value and stock where it has its own.

    ValidationError for a variant that the reward does not have, and when one has to be chosen and none was.
    """
    if not reward.variants:
        if variant_id is not None:
            raise ValidationError.of("variant_id", "is not a variant of this reward")
        return reward
    known = {variant.id: variant for variant in reward.variants}
    if variant_id is None:
        raise ValidationError.of("variant_id", f"is required: the reward has variants ({', '.join(known)})")
    if variant_id not in known:
        raise ValidationError.of("variant_id", f"is not a variant of this reward ({', '.join(known)})")
    variant = known[variant_id]
    return msgspec.structs.replace(
        reward,
        prices=reward.prices if variant.prices is None else variant.prices,
        value=reward.value if variant.value is None else variant.value,
        stock=reward.variant_stock.get(variant_id, reward.stock),
    )


def has_own_stock(reward: Reward, variant_id: str | None) -> bool:
    """Whether the variant is counted on its own instead of with the reward."""
    return variant_id is not None and variant_id in reward.variant_stock


def check_available(reward: Reward, attributes: Mapping[str, Any], now: datetime, *, tier: str | None = None) -> None:
    """NotEligible outside the reward's time of availability, or for a user outside its segment; it says which `condition` fails."""
    for refusal in obstacles(reward, attributes, now, tier=tier):
        raise refusal


def obstacles(reward: Reward, attributes: Mapping[str, Any], now: datetime, *, tier: str | None = None) -> Iterator[NotEligible]:
    """Each condition that this user, or everybody now, fails. What an attribute should be is not told: a segment is the tenant's."""
    if not reward.active:
        yield NotEligible("This reward is not available now", condition="active")
    if reward.available_from is not None and now < reward.available_from:
        begins = rfc3339(reward.available_from)
        yield NotEligible(f"This reward is not available before {begins}", condition="available_from", available_from=begins)
    if reward.available_until is not None and reward.available_until <= now:
        ended = rfc3339(reward.available_until)
        yield NotEligible(f"This reward was available until {ended}", condition="available_until", available_until=ended)
    if reward.eligibility is None:
        return
    segment = parse_segment(reward.eligibility, "eligibility")
    if segment.tiers is not None and tier not in segment.tiers:
        names = sorted(segment.tiers)
        yield NotEligible(f"This reward is for users of tier {' or '.join(names)}", condition="tiers", tiers=names)
    for path in dict.fromkeys(each.path for each in segment.conditions if not holds(each, attributes)):
        yield NotEligible(f"This reward is for users with a different {path}", condition=f"attributes.{path}")


def is_within(start: datetime | None, end: datetime | None, now: datetime) -> bool:
    """Whether `start ≤ now < end`; None is no bound."""
    return (start is None or start <= now) and (end is None or now < end)


def limit_period(reward: Reward, timezone: str, now: datetime) -> WindowSpan:
    """The day, week or month of the tenant's time in which the user's redemptions count, or all time."""
    span = window_at(Timeframe(type=PERIODS[reward.per_user_period], timezone=timezone), now)
    if span is None:
        raise RuntimeError("days, weeks, months and all time leave no gap")
    return span


def credited_currency(reward: Reward | RewardBody) -> str:
    """The currency that a `wallet` reward gives: points, or what its config names."""
    return str(reward.config.get("currency", "")) if reward.type == "currency" else POINTS


def check_wallet(body: RewardBody, currencies: Mapping[str, Currency]) -> None:
    """ValidationError unless a `wallet` reward says which currency it credits and how much, with every variant."""
    if body.fulfilment.type != "wallet":
        return
    if body.type not in ("points", "currency"):
        raise ValidationError.of("type", "must be points or currency when the fulfilment is wallet")
    currency = currencies.get(credited_currency(body))
    if currency is None:
        raise ValidationError.of("config.currency", "is not a currency of this tenant")
    values = {f"variants[{place}].value": variant.value for place, variant in enumerate(body.variants) if variant.value is not None}
    if not body.variants or len(values) < len(body.variants):
        values["value"] = body.value
    for field, value in values.items():
        if type(value) not in (int, float) or value <= 0:
            raise ValidationError.of(field, "must be the amount that is credited, more than 0")
        amount_from_wire(value, currency.decimal_places, field)
