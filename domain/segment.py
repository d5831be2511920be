"""Segments: whom something is for, by what the tenant says of its users (contract 4, Segment)."""

from collections.abc import Mapping
from typing import Any

from domain.condition import matches, parse_conditions
from domain.error import ValidationFault


def parse_segment(definition: Any, field: str) -> None:
    """Check `{"attributes": {path: {operator: operand}}}`; ValidationFault names the faulty field."""
    if not isinstance(definition, dict):
        raise ValidationFault.of(field, 'must be an object such as {"attributes": {"country": {"eq": "VN"}}}')
    for name in definition:
        if name != "attributes":
            problem = "cannot be used yet: this version has no tiers" if name == "tiers" else "is not a part of a segment"
            raise ValidationFault.of(f"{field}.{name}", problem)
    parse_conditions(definition.get("attributes", {}), f"{field}.attributes")


def belongs(definition: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
    """Whether a user with these attributes is one of the segment."""
    return matches(parse_conditions(definition.get("attributes", {}), "attributes"), attributes)
