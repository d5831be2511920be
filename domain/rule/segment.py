"""Segments: whom something is for, by what the tenant says of its users and by their tiers (contract 4, Segment)."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.rule.condition import Condition, matches, parse_conditions
from domain.wire import FreeForm

MAX_TIERS = 100
SegmentForm = Annotated[FreeForm, Meta(examples=[{"tiers": ["gold"], "attributes": {"country": {"eq": "VN"}}}])]
"""A segment as JSON has it: `tiers`, of which a user must have one, and conditions on `attributes`, by their paths."""


class UserSegment(msgspec.Struct, frozen=True):
    """A checked segment. `tiers` are the names of which the user must have one; None asks for none."""

    tiers: frozenset[str] | None
    conditions: tuple[Condition, ...]


def parse_segment(definition: Any, field: str) -> UserSegment:
    """Check `{"tiers": [name], "attributes": {path: {operator: operand}}}`; ValidationError names the wrong field."""
    if not isinstance(definition, dict):
        raise ValidationError.of(field, 'must be an object such as {"attributes": {"country": {"eq": "VN"}}}')
    for name in definition:
        if name not in ("tiers", "attributes"):
            raise ValidationError.of(f"{field}.{name}", "is not a member of a segment, which has tiers and attributes")
    tiers = definition.get("tiers")
    if tiers is not None and not (isinstance(tiers, list) and 0 < len(tiers) <= MAX_TIERS and all(isinstance(t, str) and t for t in tiers)):
        raise ValidationError.of(f"{field}.tiers", f"must be a list of 1 to {MAX_TIERS} names of tiers")
    conditions = parse_conditions(definition.get("attributes", {}), f"{field}.attributes")
    return UserSegment(None if tiers is None else frozenset(tiers), conditions)


def includes(segment: UserSegment, attributes: Mapping[str, Any], tier: str | None) -> bool:
    """Whether a user with these attributes and this tier is one of the segment."""
    return (segment.tiers is None or tier in segment.tiers) and matches(segment.conditions, attributes)
