"""Tiers as they are shown: the tenant's set, and where a user stands (contract 4, Tiers)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.points.tier import Basis, Downgrade, Tier, TierChange, TierMember, TierSet, reached_level
from domain.wire import Actor, FreeForm, Id, Instant, NextCursor, Number, amount_number, rfc3339

ShownName = Annotated[str, Meta(examples=["Gold"])]
Level = Annotated[int, Meta(description="The higher, the better", examples=[2])]
Threshold = Annotated[Number, Meta(description="Points that lead to the tier", examples=[5000])]
PeriodDays = Annotated[int | None, Meta(description="Length of a user's period; null where none is needed", examples=[365])]


class TierAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tier, which users reach by points."""

    name: ShownName
    level: Level
    threshold: Threshold
    benefits: Annotated[FreeForm, Meta(description="The tenant's own words")]


class TierSetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's tiers, lowest level first, and what counts towards them."""

    basis: Basis
    downgrade: Downgrade
    period_days: PeriodDays
    tiers: list[TierAnswer]
    version: Annotated[int, Meta(description="For If-Match; 0 before the first write", examples=[1])]


class TierSetPageAnswer(TierSetAnswer, frozen=True, kw_only=True):
    """The tenant's tiers, a page of them, and what counts towards them."""

    next_cursor: NextCursor


class UserTierAnswer(TierAnswer, frozen=True, kw_only=True):
    """The tier that a user has."""

    since: Instant


class TierChangeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A user's move from one tier to another."""

    change_id: Id
    previous_tier: str | None
    new_tier: str | None
    points: Annotated[Number, Meta(description="What counted at that time")]
    by: Annotated[Actor | None, Meta(description="null when points decided")]
    reason: Annotated[str | None, Meta(description="What a person said who decided it; players never see it")]
    created_at: Instant


class TierStandingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where a user stands: its tier, the next one, the points that are missing, and its history, newest first."""

    user_id: Id
    external_id: str
    basis: Basis
    points: Annotated[Number, Meta(description="What counts towards tiers")]
    current: UserTierAnswer | None
    next: TierAnswer | None
    points_to_next: Number | None
    history: list[TierChangeAnswer]
    next_cursor: NextCursor


def tier_answer(tier: Tier, decimal_places: int) -> TierAnswer:
    """The tier with its threshold as a number of points."""
    return TierAnswer(name=tier.name, level=tier.level, threshold=amount_number(tier.threshold, decimal_places), benefits=tier.benefits)


def tier_set_answer(tiers: TierSet, decimal_places: int) -> TierSetAnswer:
    """The set; its members but `version` are what `parse_tier_set` takes."""
    return TierSetAnswer(
        basis=tiers.basis,
        downgrade=tiers.downgrade,
        period_days=tiers.period_days,
        tiers=[tier_answer(tier, decimal_places) for tier in tiers.tiers],
        version=tiers.version,
    )


def user_tier_answer(tiers: TierSet, member: TierMember, decimal_places: int) -> UserTierAnswer | None:
    """The user's tier as its profile shows it; None when it has none, or when its tier is no longer in the set."""
    present = tiers.named(member.tier)
    if present is None or member.since is None:
        return None
    shown: dict[str, Any] = msgspec.structs.asdict(tier_answer(present, decimal_places))
    return UserTierAnswer(**shown, since=rfc3339(member.since))


def standing_answer(
    tiers: TierSet, member: TierMember, decimal_places: int, *, history: list[TierChangeAnswer], next_cursor: str | None
) -> TierStandingAnswer:
    """Where the user stands, with this page of its history."""
    following = tiers.after(reached_level(tiers, member))
    return TierStandingAnswer(
        user_id=member.user_id,
        external_id=member.external_id,
        basis=tiers.basis,
        points=amount_number(member.points, decimal_places),
        current=user_tier_answer(tiers, member, decimal_places),
        next=None if following is None else tier_answer(following, decimal_places),
        points_to_next=None if following is None else amount_number(max(0, following.threshold - member.points), decimal_places),
        history=history,
        next_cursor=next_cursor,
    )


def tier_change_answer(change: TierChange, decimal_places: int) -> TierChangeAnswer:
    """A line of a user's history."""
    return TierChangeAnswer(
        change_id=change.change_id,
        previous_tier=change.previous_tier,
        new_tier=change.new_tier,
        points=amount_number(change.points, decimal_places),
        by=change.changed_by,
        reason=change.reason,
        created_at=rfc3339(change.created_at),
    )
