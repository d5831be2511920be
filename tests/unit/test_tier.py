"""Tiers: sets, what points lead to, and what a person decides."""

from typing import Any

import msgspec
import pytest

from domain.errors import ValidationError
from domain.points.tier import (
    TierMember,
    TierSet,
    advanced,
    held_at,
    parse_tier_set,
)
from domain.points.tier_wire import standing_answer, tier_set_answer, user_tier_answer
from runtime.ids import new_id, utc_now

NAMES = ("bronze", "silver", "gold", "diamond")
BODY = {"tiers": [{"name": name, "level": level, "threshold": level * 100.5} for level, name in enumerate(NAMES)]}


def made() -> TierSet:
    return parse_tier_set(BODY, 1)


def member(points: int, tier: str | None = None, held_level: int = -1) -> TierMember:
    return TierMember(user_id=new_id(), external_id="u", points=points, tier=tier, held_level=held_level, since=utc_now())


def test_a_set_goes_to_the_wire_and_back() -> None:
    wire = msgspec.to_builtins(tier_set_answer(made(), 1))
    assert wire.pop("version") == 0
    assert parse_tier_set(wire, 1) == made()
    assert [tier.threshold for tier in made().tiers] == [0, 1005, 2010, 3015]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"basis": "earned_in_period"}, "period_days"),
        ({"basis": "luck"}, "basis"),
        ({"downgrade": "at_period_end"}, "period_days"),
        ({"downgrade": "at once"}, "downgrade"),
        ({"period_days": 30}, "period_days"),
        ({"basis": "earned_in_period", "period_days": 0}, "period_days"),
        ({"tiers": [{"name": "a", "level": 1, "threshold": 1}, {"name": "a", "level": 2, "threshold": 2}]}, "tiers"),
        ({"tiers": [{"name": "a", "level": 1, "threshold": 1}, {"name": "b", "level": 1, "threshold": 2}]}, "tiers"),
        ({"tiers": [{"name": "a", "level": 1, "threshold": 2}, {"name": "b", "level": 2, "threshold": 2}]}, "tiers"),
        ({"tiers": [{"name": "a", "level": 1, "threshold": -1}]}, "tiers[0].threshold"),
        ({"tiers": [{"name": "a", "level": 1, "threshold": 1.55}]}, "tiers[0].threshold"),
        ({"tiers": [{"name": "a", "level": -1, "threshold": 1}]}, "tiers[0].level"),
        ({"tiers": [{"name": "a/b", "level": 1, "threshold": 1}]}, "tiers[0].name"),
    ],
)
def test_a_bad_set_names_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_tier_set(body, 1)
    assert caught.value.details is not None
    assert caught.value.details[0]["field"] == field


@pytest.mark.parametrize(
    ("points", "tier", "held_level", "expected"),
    [
        (0, None, -1, "bronze"),
        (1004, None, -1, "bronze"),
        (1005, None, -1, "silver"),
        (9999, "bronze", -1, "diamond"),
        (1005, "silver", -1, None),
        (0, "gold", -1, None),
        (2010, "silver", 2, None),
        (3015, "silver", 2, "diamond"),
        (1005, "long gone", -1, "silver"),
    ],
)
def test_points_lead_upwards_only(points: int, tier: str | None, held_level: int, expected: str | None) -> None:
    found = advanced(made(), member(points, tier, held_level))
    assert (None if found is None else found.name) == expected


@pytest.mark.parametrize(("points", "chosen", "level"), [(2010, "silver", 2), (0, "gold", 2), (0, None, 0), (2010, None, 2)])
def test_what_a_person_decides_is_not_undone_by_points_earned_before(points: int, chosen: str | None, level: int) -> None:
    assert held_at(made(), member(points), made().named(chosen)) == level


def test_a_standing_shows_what_is_missing_to_the_next_tier() -> None:
    shown = standing_answer(made(), member(1500, "silver"), 1, history=[], next_cursor=None)
    assert (shown.points, shown.current and shown.current.name, shown.next and shown.next.name, shown.points_to_next) == (
        150,
        "silver",
        "gold",
        51,
    )
    top = standing_answer(made(), member(9999, "diamond"), 1, history=[], next_cursor=None)
    assert (top.next, top.points_to_next) == (None, None)
    assert user_tier_answer(made(), member(1, "long gone"), 1) is None
