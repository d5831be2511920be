"""How the limits of earning rules are kept over a batch of events: caps by user and period, budgets, segments (contract 4).

The caller reads what was given before, asks here what fits, asks the budgets for it, and gives back what they refused. Everything is in
1/10 000 point and a multiple of the currency's smallest unit, so that a cap is used up by what is given and not by what is rounded away.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from domain.points.earning_rule import RuleEarning, Wish
from domain.rule.condition import Document
from domain.rule.segment import includes

UsageKey = tuple[UUID, UUID, str]
"""Rule, user, and the key of a day, week or month; the three look different."""


class UserFacts(msgspec.Struct, frozen=True):
    """What segments look at."""

    attributes: Document
    tier: str | None


NOTHING_KNOWN = UserFacts({}, None)


class Fit(msgspec.Struct, frozen=True):
    """A wish with the points (> 0) that its limits leave of it."""

    wish: Wish
    points: int


def periods_of(wish: Wish) -> list[tuple[UsageKey, int]]:
    """The periods that the event falls into with the caps on them."""
    found = []
    for index, cap in wish.limits.caps:
        span = index.find(wish.occurred_at)
        if span is not None:
            found.append(((wish.limits.rule_id, wish.user_id, span.key), cap))
    return found


def in_segment(wishes: Iterable[Wish], profiles: Mapping[UUID, UserFacts]) -> list[Wish]:
    """The wishes for users whom the rule is for. `profiles` by user."""
    kept = []
    for wish in wishes:
        facts = profiles.get(wish.user_id, NOTHING_KNOWN)
        if wish.limits.segment is None or includes(wish.limits.segment, facts.attributes, facts.tier):
            kept.append(wish)
    return kept


def rounds(wishes: Iterable[Wish]) -> list[list[Wish]]:
    """The wishes in the order of the log, with one version of a rule in each round: a batch can span a change of the budget."""
    by_rule: dict[UUID, dict[int, list[Wish]]] = defaultdict(lambda: defaultdict(list))
    for wish in sorted(wishes, key=lambda wish: wish.position):
        by_rule[wish.limits.rule_id][wish.limits.version].append(wish)
    ordered = [[versions[number] for number in sorted(versions)] for versions in by_rule.values()]
    longest = max(map(len, ordered), default=0)
    return [[wish for versions in ordered if len(versions) > number for wish in versions[number]] for number in range(longest)]


class Usage:
    """What rules have given to users in periods: `before` as stored, `added` since."""

    def __init__(self, before: Mapping[UsageKey, int]) -> None:
        self.before = before
        self.added: dict[UsageKey, int] = defaultdict(int)

    def fit(self, wishes: Sequence[Wish]) -> list[Fit]:
        """What the caps leave of the wishes, in their order, noted as given; a remainder is given in part."""
        fits = []
        for wish in wishes:
            periods, points = periods_of(wish), wish.points
            for key, cap in periods:
                points = min(points, cap - self.before.get(key, 0) - self.added[key])
            points -= points % wish.limits.unit
            if points > 0:
                self._note(wish, points)
                fits.append(Fit(wish, points))
        return fits

    def cut(self, fits: Sequence[Fit], granted: Mapping[UUID, int]) -> list[Fit]:
        """What the budgets leave, in the same order. `granted` by rule is what a budget gave for all of its fits together."""
        left, kept = dict(granted), []
        for fit in fits:
            points = fit.points
            if fit.wish.limits.budget is not None:
                points = min(points, left.get(fit.wish.limits.rule_id, 0))
                left[fit.wish.limits.rule_id] = left.get(fit.wish.limits.rule_id, 0) - points
            if points < fit.points:
                self._note(fit.wish, points - fit.points)
            if points > 0:
                kept.append(Fit(fit.wish, points))
        return kept

    def _note(self, wish: Wish, points: int) -> None:
        for key, _ in periods_of(wish):
            self.added[key] += points


def earning_of(fit: Fit) -> RuleEarning:
    """What is posted for it."""
    wish, limits = fit.wish, fit.wish.limits
    amount = fit.points // limits.unit
    return RuleEarning(wish.position, limits.rule_id, wish.user_id, limits.currency, fit.points, amount, wish.occurred_at)
