"""Definitions of boards: defaults, round trip, and errors that name their field."""

from typing import Any

import pytest

from domain.errors import ValidationError
from domain.leaderboard.definition import config_wire, load_config, parse_config, parse_definition
from domain.scoring.rules import min_score_units

RULE = {"event_type": "match.completed", "points_expression": "attrs.score * 0.1"}


def definition(**parts: Any) -> dict[str, Any]:
    config = {"timeframe": {"type": "weekly"}, "scoring": {"rules": [RULE]}, **parts}
    return {"leaderboard_id": "xp", "name": "XP", "config": config}


def test_defaults_are_filled_in_and_the_wire_form_gives_the_same_config_back() -> None:
    config = parse_definition(definition()).config
    wire = config_wire(config)
    assert wire["timeframe"] == {"type": "weekly", "timezone": "UTC", "reset_day": "monday", "reset_time": "00:00", "grace_seconds": 60}
    assert wire["ranking"] == {"method": "score_desc", "size": 1000, "min_score": None}
    assert wire["scope"] == {"filters": {}}
    assert wire["scoring"]["aggregation"] == "sum"
    assert parse_config(wire) == load_config(wire) == config


def test_a_custom_timeframe_keeps_its_instants() -> None:
    timeframe = {"type": "custom", "starts_at": "2025-11-01T00:00:00+07:00", "ends_at": "2025-12-01T00:00:00Z"}
    config = parse_definition(definition(timeframe=timeframe)).config
    assert parse_config(config_wire(config)) == config
    assert config_wire(config)["timeframe"]["starts_at"] == "2025-10-31T17:00:00Z"  # shown in UTC, as every instant is


@pytest.mark.parametrize(
    ("least", "units"), [(0.00005, 1), (-0.00005, 0), (0.1, 1000), (-5, -50_000), (1e15, 2**63 - 1), (-1e15, -(2**63 - 1)), (None, None)]
)
def test_a_score_below_min_score_is_never_ranked_however_it_is_written(least: float | None, units: int | None) -> None:
    assert min_score_units(parse_config({**definition()["config"], "ranking": {"min_score": least}})) == units


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"timeframe": {}}, "config.timeframe.type"),
        ({"timeframe": {"type": "yearly"}}, "config.timeframe.type"),
        ({"timeframe": {"type": "daily", "timezone": "Mars/Base"}}, "config.timeframe.timezone"),
        ({"timeframe": {"type": "daily", "timezone": "../etc"}}, "config.timeframe.timezone"),
        ({"timeframe": {"type": "daily", "reset_time": "24:00"}}, "config.timeframe.reset_time"),
        ({"timeframe": {"type": "weekly", "reset_day": 1}}, "config.timeframe.reset_day"),
        ({"timeframe": {"type": "monthly", "reset_day": 29}}, "config.timeframe.reset_day"),
        ({"timeframe": {"type": "monthly", "reset_day": True}}, "config.timeframe.reset_day"),
        ({"timeframe": {"type": "daily", "grace_seconds": 86401}}, "config.timeframe.grace_seconds"),
        ({"timeframe": {"type": "custom", "starts_at": "2025-11-01T00:00:00Z"}}, "config.timeframe.ends_at"),
        (
            {"timeframe": {"type": "custom", "starts_at": "2025-11-01T00:00:00", "ends_at": "2025-12-01T00:00:00Z"}},
            "config.timeframe.starts_at",
        ),
        (
            {"timeframe": {"type": "custom", "starts_at": "2025-12-01T00:00:00Z", "ends_at": "2025-12-01T00:00:00Z"}},
            "config.timeframe.ends_at",
        ),
        (
            {"timeframe": {"type": "custom", "starts_at": "0001-01-01T00:00:00+07:00", "ends_at": "2025-12-01T00:00:00Z"}},
            "config.timeframe.starts_at",
        ),
        (
            {"timeframe": {"type": "custom", "starts_at": "2025-11-01T00:00:00Z", "ends_at": "9999-12-31T23:59:59Z"}},
            "config.timeframe.ends_at",
        ),
        ({"timeframe": {"type": "daily", "timezone": "localtime"}}, "config.timeframe.timezone"),
        ({"timeframe": {"type": "daily", "timezone": "right/UTC"}}, "config.timeframe.timezone"),
        ({"scoring": {"rules": []}}, "config.scoring.rules"),
        ({"scoring": {"rules": [RULE], "aggregation": "median"}}, "config.scoring.aggregation"),
        ({"scoring": {"rules": [{"event_type": "a b", "points_expression": "1"}]}}, "config.scoring.rules[0].event_type"),
        ({"scoring": {"rules": [{"event_type": "a", "points_expression": "1 +"}]}}, "config.scoring.rules[0].points_expression"),
        ({"scoring": {"rules": [{**RULE, "conditions": {"a": {"x": 1}}}]}}, "config.scoring.rules[0].conditions.a.x"),
        ({"scope": {"filters": {"a": {"in": 1}}}}, "config.scope.filters.a.in"),
        ({"ranking": {"size": 1_000_001}}, "config.ranking.size"),
        ({"ranking": {"size": True}}, "config.ranking.size"),
        ({"ranking": {"method": "best"}}, "config.ranking.method"),
        ({"extra": 1}, "config.extra"),
    ],
)
def test_a_bad_definition_names_its_field(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_definition(definition(**parts))
    assert caught.value.details is not None
    assert caught.value.details[0]["field"] == field


@pytest.mark.parametrize(
    ("key", "value"), [("leaderboard_id", "-x"), ("leaderboard_id", "__proto__"), ("name", ""), ("status", "archived")]
)
def test_a_bad_field_beside_the_config_is_named_too(key: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"^{key}: "):
        parse_definition({**definition(), key: value})
