"""The limits of earning rules, kept in the scoring transaction: at most five statements for a batch, none when no rule has limits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from domain.points.earning_limit import Fit, Usage, earning_of, in_segment, periods_of, rounds
from domain.points.earning_rule import RuleEarning, Wish
from runtime.postgres import Connection
from storage.points.earning_limit import BudgetAsked, add_usage, facts_of, spend_budgets, usage_of


async def settle_wishes(connection: Connection, wishes: Mapping[UUID, Sequence[Wish]]) -> dict[UUID, list[RuleEarning]]:
    """What the rules give of the wishes within segments, caps and budgets, by tenant. `wishes` by tenant; notes what it gives."""
    tenants = {wish.limits.rule_id: tenant_id for tenant_id, mine in wishes.items() for wish in mine}
    wanted = [wish for mine in wishes.values() for wish in mine]
    asking = {(tenants[wish.limits.rule_id], wish.user_id) for wish in wanted if wish.limits.segment is not None}
    wanted = in_segment(wanted, await facts_of(connection, list(asking)) if asking else {})
    keys = list({key for wish in wanted for key, _ in periods_of(wish)})
    usage = Usage(await usage_of(connection, tenants, keys) if keys else {})
    earnings: dict[UUID, list[RuleEarning]] = defaultdict(list)
    for part in rounds(wanted):
        fits = usage.fit(part)
        for fit in usage.cut(fits, await _granted(connection, tenants, fits)):
            earnings[tenants[fit.wish.limits.rule_id]].append(earning_of(fit))
    added = {key: points for key, points in usage.added.items() if points}
    if added:
        await add_usage(connection, tenants, added)
    return earnings


async def _granted(connection: Connection, tenants: Mapping[UUID, UUID], fits: Sequence[Fit]) -> dict[UUID, int]:
    """What the budgets of the rules grant for all these together, by rule."""
    totals: dict[UUID, int] = defaultdict(int)
    for fit in fits:
        totals[fit.wish.limits.rule_id] += fit.points
    limits = {fit.wish.limits.rule_id: fit.wish.limits for fit in fits}
    asked = [
        BudgetAsked(tenant_id=tenants[rule_id], rule_id=rule_id, points=totals[rule_id], budget=each.budget, unit=each.unit)
        for rule_id, each in limits.items()
        if each.budget is not None
    ]
    return await spend_budgets(connection, asked) if asked else {}
