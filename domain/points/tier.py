"""Tiers: what a user has reached by the points it has earned or holds (contract 4, Tiers).

Between two ends of a period points lead upwards only, and a person can decide otherwise. With `downgrade` `at_period_end` a user has at
the end of its own period (`period_days` from the last change or end) the tier that its points are worth then.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from domain import limits
from domain.errors import ValidationError
from domain.points.ledger import amount_from_wire
from domain.wire import convert_value

MAX_TIERS = limits.TIERS.value
MAX_BENEFITS_BYTES = limits.TIER_BENEFITS_BYTES.value
NO_LEVEL = -1

TierName = Annotated[str, Meta(min_length=1, max_length=100, pattern="^[^/\\x00-\\x1f]+$", examples=["gold"])]


class Basis(StrEnum):
    """Which points count towards a tier; those of the currency `points`."""

    LIFETIME_EARNED = "lifetime_earned"
    EARNED_IN_PERIOD = "earned_in_period"
    BALANCE = "balance"


class Downgrade(StrEnum):
    """Whether a tier can be lost again."""

    NEVER = "never"
    AT_PERIOD_END = "at_period_end"


class TierBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier as an admin writes it: reached at `threshold` points. `benefits` are the tenant's own words."""

    name: TierName
    level: Annotated[int, Meta(ge=0, le=1000, description="Higher is better; each once", examples=[3])]
    threshold: Annotated[int | float, Meta(description="Points that it takes", examples=[10_000])]
    benefits: Annotated[dict[str, Any], Meta(description="Your own words", examples=[{"discount_percent": 10}])] = {}


class TierSetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole set as an admin writes it."""

    tiers: Annotated[list[TierBody], Meta(max_length=MAX_TIERS)] = []
    basis: Annotated[Basis, Meta(examples=["lifetime_earned"])] = Basis.LIFETIME_EARNED
    downgrade: Annotated[Downgrade, Meta(examples=["never"])] = Downgrade.NEVER
    period_days: Annotated[
        Annotated[int, Meta(ge=1, le=3660)] | None, Meta(description="For what is counted by periods alone", examples=[None])
    ] = None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier. `threshold` is in the smallest unit of `points`."""

    name: str
    level: int
    threshold: int
    benefits: dict[str, Any]


class TierSet(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's tiers, the lowest level first. `version` 0 is the empty set of a tenant that never wrote one."""

    basis: Basis = Basis.LIFETIME_EARNED
    downgrade: Downgrade = Downgrade.NEVER
    period_days: int | None = None
    tiers: tuple[Tier, ...] = ()
    version: int = 0

    def period_start(self, now: datetime) -> datetime:
        """What was earned from then on counts for the period that ends now; a set without periods counts all."""
        return datetime.fromtimestamp(0, now.tzinfo) if self.period_days is None else now - timedelta(days=self.period_days)

    def named(self, name: str | None) -> Tier | None:
        """The tier of that name, or None."""
        return next((tier for tier in self.tiers if tier.name == name), None)

    def earned(self, points: int) -> Tier | None:
        """The highest tier whose threshold the points reach, or None."""
        return next((tier for tier in reversed(self.tiers) if tier.threshold <= points), None)

    def after(self, level: int) -> Tier | None:
        """The lowest tier above the level, or None."""
        return next((tier for tier in self.tiers if tier.level > level), None)


class TierMember(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for a user, and the tier it has been given, if any. `points` are in the smallest unit of `points`."""

    user_id: UUID
    external_id: str
    points: int
    tier: str | None = None
    held_level: int = NO_LEVEL
    since: datetime | None = None
    reviewed_at: datetime | None = None


class TierChange(msgspec.Struct, frozen=True, kw_only=True):
    """A user's move from one tier to another. `changed_by` and `reason` when a person decided it, None when points did."""

    change_id: UUID
    user_id: UUID
    previous_tier: str | None
    new_tier: str | None
    points: int
    changed_by: str | None
    reason: str | None
    created_at: datetime


def needs_period(body: Mapping[str, Any]) -> bool:
    """Whether a set written like this needs `period_days`."""
    return body.get("basis") == Basis.EARNED_IN_PERIOD or body.get("downgrade") == Downgrade.AT_PERIOD_END


def parse_tier_set(value: Any, decimal_places: int) -> TierSet:
    """A decoded body as a checked set; ValidationError names the faulty field. `decimal_places` are those of `points`."""
    body = convert_value(value, TierSetBody)
    if (body.basis is Basis.EARNED_IN_PERIOD or body.downgrade is Downgrade.AT_PERIOD_END) != (body.period_days is not None):
        raise ValidationError.of(
            "period_days", "is required for the basis earned_in_period and the downgrade at_period_end, and not allowed otherwise"
        )
    tiers = sorted((_tier(tier, number, decimal_places) for number, tier in enumerate(body.tiers)), key=lambda tier: tier.level)
    _check_order(tiers)
    return TierSet(basis=body.basis, downgrade=body.downgrade, period_days=body.period_days, tiers=tuple(tiers))


def _tier(body: TierBody, number: int, decimal_places: int) -> Tier:
    threshold = amount_from_wire(body.threshold, decimal_places, f"tiers[{number}].threshold")
    if threshold < 0:
        raise ValidationError.of(f"tiers[{number}].threshold", "cannot be negative")
    if len(msgspec.json.encode(body.benefits)) > MAX_BENEFITS_BYTES:
        raise ValidationError.of(f"tiers[{number}].benefits", f"is larger than {MAX_BENEFITS_BYTES} bytes")
    return Tier(name=body.name, level=body.level, threshold=threshold, benefits=body.benefits)


def _check_order(tiers: Sequence[Tier]) -> None:
    if len({tier.name for tier in tiers}) < len(tiers):
        raise ValidationError.of("tiers", "contain a tier twice")
    for lower, higher in pairwise(tiers):
        if lower.level == higher.level:
            raise ValidationError.of("tiers", f"'{lower.name}' and '{higher.name}' have the same level")
        if lower.threshold >= higher.threshold:
            raise ValidationError.of("tiers", f"'{higher.name}' must have a higher threshold than '{lower.name}', which has a lower level")


def reached_level(tiers: TierSet, member: TierMember) -> int:
    """The level above which points lead to another tier: of the tier that the user has, or what a person fixed."""
    present = tiers.named(member.tier)
    return max(NO_LEVEL if present is None else present.level, member.held_level)


def advanced(tiers: TierSet, member: TierMember) -> Tier | None:
    """The tier that the user's points lead to now, or None when it stays where it is."""
    earned = tiers.earned(member.points)
    return earned if earned is not None and earned.level > reached_level(tiers, member) else None


def held_at(tiers: TierSet, member: TierMember, chosen: Tier | None) -> int:
    """The level that points must exceed after a person chose a tier: neither the tier itself nor what was earned before leads on."""
    earned = tiers.earned(member.points)
    return max(NO_LEVEL if tier is None else tier.level for tier in (earned, chosen))
