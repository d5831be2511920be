"""Earning rules: definitions, caps and rounding."""

from typing import Any

import pytest

from domain.errors import ValidationError
from domain.points.earning_rule import capped, parse_earning_rule, rule_wire, smallest_units

RULE = {"name": "Daily play", "event_type": "match.completed", "points_expression": "attrs.score"}


def test_defaults_and_round_trip() -> None:
    rule = parse_earning_rule({**RULE, "starts_at": "2025-11-01T00:00:00Z", "max_per_event": 2.5})
    assert (rule.currency, rule.active, rule.priority, rule.conditions) == ("points", True, 0, {})
    assert parse_earning_rule(rule_wire(rule)) == rule


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"name": ""}, "name"),
        ({"event_type": ""}, "event_type"),
        ({"points_expression": "1 +"}, "points_expression"),
        ({"conditions": {"a": {"eqq": 1}}}, "conditions.a.eqq"),
        ({"currency": "a b"}, "currency"),
        ({"max_per_event": 0}, "max_per_event"),
        ({"max_per_event": "5"}, "max_per_event"),
        ({"max_per_event": True}, "max_per_event"),
        ({"starts_at": "2025-11-01T00:00:00"}, "starts_at"),
        ({"starts_at": "2025-11-02T00:00:00Z", "ends_at": "2025-11-02T00:00:00Z"}, "ends_at"),
        ({"active": 1}, "active"),
        ({"cap": 1}, "cap"),
        ({"max_per_day": -1}, "max_per_day"),
        ({"max_per_month": 1e10}, "max_per_month"),
        ({"budget": 0}, "budget"),
        ({"segment": []}, "segment"),
        ({"segment": {"attributes": {"country": {"is": "VN"}}}}, "segment.attributes.country.is"),
        ({"segment": {"countries": ["VN"]}}, "segment.countries"),
        ({"segment": {"tiers": "gold"}}, "segment.tiers"),
        ({"segment": {"tiers": []}}, "segment.tiers"),
    ],
)
def test_a_bad_rule_names_its_field(part: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_earning_rule({**RULE, **part})
    assert caught.value.details is not None
    assert caught.value.details[0]["field"] == field


@pytest.mark.parametrize(("points", "given"), [(None, 0), (-5, 0), (0, 0), (24_999, 24_999), (25_001, 25_000)])
def test_a_cap_bounds_what_one_event_gives(points: int | None, given: int) -> None:
    assert capped(parse_earning_rule({**RULE, "max_per_event": 2.5}), points) == given


def test_an_amount_is_rounded_down_to_the_places_of_its_currency() -> None:
    assert [smallest_units(19_999, places) for places in range(5)] == [1, 19, 199, 1_999, 19_999]
