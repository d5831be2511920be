"""Earning rules: events that give points of a currency to the user's account (contract 4)."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.leaderboard.definition import Timeframe, TimeframeType, parse_event_type_pattern
from domain.leaderboard.window import WindowIndex
from domain.rule.condition import parse_conditions
from domain.rule.expression import parse_expression
from domain.rule.segment import SegmentForm, UserSegment, parse_segment
from domain.wire import GivenInstant, convert_value, parse_client_id, points_units

Points = Annotated[float, Meta(gt=0, le=1e9)] | Annotated[int, Meta(gt=0, le=1_000_000_000)]
Budget = Annotated[float, Meta(gt=0, le=1e12)] | Annotated[int, Meta(gt=0, le=1_000_000_000_000)]
Cap = Annotated[Points | None, Meta(description="Most points for one user; null: no limit", examples=[100])]


class EarningRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST and PUT. `starts_at ≤ occurred_at < ends_at` bounds the events that it looks at; a higher `priority` goes first.

    The caps are each user's, by the day, week and month of `occurred_at` in the tenant's timezone; `budget` is all users' together.
    """

    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Points for purchases"])]
    event_type: Annotated[str, Meta(description="A type, or a pattern such as match.*", examples=["purchase.settled"])]
    points_expression: Annotated[str, Meta(description="Computed for each event", examples=["attrs.amount * 0.1"])]
    conditions: Annotated[dict[str, dict[str, Any]], Meta(examples=[{"attrs.amount": {"gte": 10}}])] = {}
    currency: Annotated[str, Meta(description="The `id` of a currency of the tenant", examples=["points"])] = "points"
    max_per_event: Cap = None
    max_per_day: Cap = None
    max_per_week: Cap = None
    max_per_month: Cap = None
    budget: Annotated[Budget | None, Meta(description="Most points for all users together; null: no limit", examples=[1_000_000])] = None
    segment: Annotated[SegmentForm | None, Meta(description="Which users; null: all")] = None
    starts_at: GivenInstant | None = None
    ends_at: Annotated[GivenInstant | None, Meta(examples=["2025-12-24T12:00:00Z"])] = None
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000, description="Higher goes first")] = 0
    active: bool = True


class EarningVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it was in force from `valid_from` on; `decimal_places` is its currency's, `timezone` its tenant's."""

    rule_id: UUID
    version: int
    rule: EarningRule
    valid_from: datetime
    decimal_places: int = 0
    timezone: str = "UTC"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule needs to know of the user and of what it gave before. All points in 1/10 000; `unit` is the currency's smallest one."""

    rule_id: UUID
    version: int
    currency: str
    unit: int
    caps: tuple[tuple[WindowIndex, int], ...]
    budget: int | None
    segment: UserSegment | None


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What one rule would give for one event if it were not for its Limits: `points` in 1/10 000 after `max_per_event`."""

    limits: Limits
    position: int
    user_id: UUID
    points: int
    occurred_at: datetime


class RuleEarning(msgspec.Struct, frozen=True, gc=False):
    """What one rule gives for one event: `points` in 1/10 000 after `max_per_event`, `amount` in the currency's smallest unit (> 0)."""

    position: int
    rule_id: UUID
    user_id: UUID
    currency: str
    points: int
    amount: int
    occurred_at: datetime


def parse_earning_rule(value: Any) -> EarningRule:
    """A decoded request body as a checked rule; ValidationError names the faulty field."""
    rule = convert_value(value, EarningRule)
    parse_event_type_pattern(rule.event_type, "event_type")
    parse_expression(rule.points_expression)
    parse_conditions(rule.conditions, "conditions")
    parse_client_id(rule.currency, "currency")
    if rule.segment is not None:
        parse_segment(rule.segment, "segment")
    if rule.starts_at and rule.ends_at and rule.starts_at >= rule.ends_at:
        raise ValidationError.of("ends_at", "must be after starts_at")
    return rule


def rule_wire(rule: EarningRule) -> dict[str, Any]:
    """The rule as JSON values, for the wire and the row; `parse_earning_rule` gives it back."""
    wire: dict[str, Any] = msgspec.to_builtins(rule)
    return wire


def smallest_units(points: int, decimal_places: int) -> int:
    """Points (1/10 000) as the currency's smallest units, rounded down; the last step, after all caps."""
    divisor: int = 10 ** (4 - decimal_places)
    return points // divisor


def event_cap(rule: EarningRule) -> int | None:
    """`max_per_event` in 1/10 000; None for no cap."""
    return None if rule.max_per_event is None else points_units(rule.max_per_event)


def capped(rule: EarningRule, points: int | None) -> int:
    """The points (1/10 000) that one event gives under `max_per_event`; 0 when its result is none or not positive."""
    if points is None or points <= 0:
        return 0
    cap = event_cap(rule)
    return points if cap is None else min(points, cap)


def limits_of(version: EarningVersion, index: Callable[[Timeframe], WindowIndex]) -> Limits | None:
    """The rule's limits; None for a rule that looks only at the event. `index` gives the windows of a timeframe."""
    rule = version.rule
    periods = (
        (TimeframeType.DAILY, rule.max_per_day),
        (TimeframeType.WEEKLY, rule.max_per_week),
        (TimeframeType.MONTHLY, rule.max_per_month),
    )
    caps = tuple(
        (index(Timeframe(type=period, timezone=version.timezone)), points_units(cap)) for period, cap in periods if cap is not None
    )
    if not caps and rule.budget is None and rule.segment is None:
        return None
    return Limits(
        rule_id=version.rule_id,
        version=version.version,
        currency=rule.currency,
        unit=10 ** (4 - version.decimal_places),
        caps=caps,
        budget=None if rule.budget is None else points_units(rule.budget),
        segment=None if rule.segment is None else parse_segment(rule.segment, "segment"),
    )
