"""What an earning rule would give for an event, and what kept it from doing so (contract 2, GET event)."""

from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec

from domain import limits
from domain.leaderboard.definition import Timeframe
from domain.leaderboard.window import WindowIndex
from domain.points.earning_limit import NOTHING_KNOWN, UsageKey, UserFacts, in_segment, periods_of
from domain.points.earning_rule import EarningVersion, Limits, Wish, capped, limits_of, smallest_units
from domain.rule.expression import evaluate, parse_expression
from domain.scoring.rules import ScorableEvent
from domain.scoring.why import SilenceCause, Why, at_instant, failed_condition, of_points, other_event_type


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule gives for the event by the event alone: `points` in 1/10 000 after `max_per_event` (0: nothing, and `why`). `wish` is
    there where limits decide as well."""

    version: EarningVersion
    matched: bool
    points: int = 0
    why: Why | None = None
    wish: Wish | None = None

    @property
    def amount(self) -> int:
        """The same in the currency's smallest unit."""
        return smallest_units(self.points, self.version.decimal_places)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What limits look at, as it is now: the user, what was given in the periods and spent of budgets (1/10 000 point), and the
    balances with what waits, by currency (smallest unit)."""

    facts: UserFacts = NOTHING_KNOWN
    usage: Mapping[UsageKey, int] = {}
    spent: Mapping[UUID, int] = {}
    balances: Mapping[str, int] = {}


def promise(version: EarningVersion, event_type: str, event: ScorableEvent, index: Callable[[Timeframe], WindowIndex]) -> Promise:
    """What this version of a rule makes of the event, by the event alone."""
    rule = version.rule
    why = other_event_type(rule.event_type, event_type)
    if why is None and rule.starts_at is not None and event.occurred_at < rule.starts_at:
        why = at_instant(SilenceCause.NOT_STARTED, rule.starts_at)
    if why is None and rule.ends_at is not None and event.occurred_at >= rule.ends_at:
        why = at_instant(SilenceCause.ENDED, rule.ends_at)
    why = why or failed_condition(rule.conditions, "conditions", event.document)
    if why is not None:
        return Promise(version=version, matched=False, why=why)
    result, text = evaluate(parse_expression(rule.points_expression), event.document)
    points = capped(rule, result)
    if result is None:
        why = Why(code=SilenceCause.NO_RESULT, text=text)
    elif points == 0:
        why = of_points(SilenceCause.NOT_POSITIVE, given=result)
    elif smallest_units(points, version.decimal_places) == 0:
        why = of_points(SilenceCause.BELOW_SMALLEST_UNIT, given=points)
    if why is not None:
        return Promise(version=version, matched=True, why=why)
    kept = limits_of(version, index)
    wish = None if kept is None else Wish(kept, event.position, event.user_id, points, event.occurred_at)
    return Promise(version=version, matched=True, points=points, wish=wish)


def why_less(of: Promise, given: int, known: Known) -> Why | None:
    """Why the rule gave `given` (smallest unit) and not what it promised; None when it gave that. Judged by what is known now, for what
    it was then is not kept: a period's or a budget's use only grows, a user may have changed."""
    if given >= of.amount:
        return None if given else of.why
    if known.balances.get(of.version.rule.currency, 0) + of.amount - given > limits.BALANCE.value:
        return Why(code=SilenceCause.BALANCE_FULL)
    if of.wish is None:
        return Why(code=SilenceCause.NOT_POSTED)
    if given == 0 and not in_segment([of.wish], {of.wish.user_id: known.facts}):
        return Why(code=SilenceCause.NOT_IN_SEGMENT)
    return _reached(of.version, of.wish, known.usage) or _spent(of.wish.limits, known.spent) or Why(code=SilenceCause.LIMITED)


def _reached(version: EarningVersion, wish: Wish, usage: Mapping[UsageKey, int]) -> Why | None:
    rule = version.rule
    capped_periods = (("day", rule.max_per_day), ("week", rule.max_per_week), ("month", rule.max_per_month))
    names = [name for name, cap in capped_periods if cap is not None]
    for name, (key, cap) in zip(names, periods_of(wish), strict=False):
        used = usage.get(key, 0)
        if cap - used < wish.limits.unit:
            return of_points(SilenceCause.LIMIT_REACHED, given=used, most=cap, period=name)
    return None


def _spent(kept: Limits, spent: Mapping[UUID, int]) -> Why | None:
    used = spent.get(kept.rule_id, 0)
    if kept.budget is None or kept.budget - used >= kept.unit:
        return None
    return of_points(SilenceCause.BUDGET_USED_UP, given=used, most=kept.budget)
