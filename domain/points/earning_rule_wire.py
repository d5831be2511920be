"""Earning rules as admins see them (contract 4, Points ledger)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.points.earning_rule import Budget, Cap
from domain.points.ledger_wire import CurrencyId
from domain.wire import FreeForm, Id, Instant, NextCursor, Number


class EarningRuleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A rule by which events earn points."""

    rule_id: Id
    name: Annotated[str, Meta(examples=["Points for purchases"])]
    event_type: Annotated[str, Meta(description="A type, or a pattern such as match.*", examples=["purchase.settled"])]
    points_expression: Annotated[str, Meta(description="Computed for each event", examples=["attrs.amount * 0.1"])]
    conditions: Annotated[dict[str, FreeForm], Meta(description="What an event must fulfil, by the path of its member")]
    currency: CurrencyId
    max_per_event: Cap
    max_per_day: Cap
    max_per_week: Cap
    max_per_month: Cap
    budget: Annotated[Budget | None, Meta(description="Most points for all users together; null: no limit", examples=[1_000_000])]
    segment: Annotated[FreeForm | None, Meta(description="Which users; null: all")]
    starts_at: Instant | None
    ends_at: Instant | None
    priority: Annotated[int, Meta(description="Higher goes first", examples=[0])]
    active: bool
    budget_spent: Annotated[Number | None, Meta(description="null without a budget")]
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    created_at: Instant
    updated_at: Instant


class EarningRuleListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Earning rules, newest first."""

    earning_rules: list[EarningRuleAnswer]
    next_cursor: NextCursor
