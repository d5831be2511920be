"""The bytes of a webhook's body: what JavaScript's `JSON.stringify(JSON.parse(body))` gives (contract 5).

A receiver that parses the body and stringifies it again before it checks the signature (the seed's Express example) gets our bytes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain.canonical_json import WRAPPED_LEVELS, canonical_json
from domain.errors import ValidationError
from domain.webhook.bodies_wire import members_of
from domain.wire import rfc3339

MAXIMUM_BYTES = 64 * 1024


def canonical_body(value: Any) -> bytes:
    """The value as JSON, byte for byte as JavaScript writes it; raises ValidationError above 64 KB."""
    body = canonical_json(value, WRAPPED_LEVELS)
    if len(body) > MAXIMUM_BYTES:
        raise ValidationError(f"The webhook's body would have {len(body)} bytes, more than {MAXIMUM_BYTES}")
    return body


def event_body(event: str, facts: Mapping[str, Any], now: datetime) -> bytes:
    """The body of an event other than `reward_redeemed`: `event`, its facts in the contract's order, `timestamp`.

    Facts are JSON values (ids and instants as text). Raises ValueError when one is missing or not in the contract.
    """
    names = members_of(event)
    if set(facts) != set(names):
        raise ValueError(f"{event} has the facts {', '.join(names)}, not {', '.join(facts)}")
    return canonical_body({"event": event, **{name: facts[name] for name in names}, "timestamp": rfc3339(now, milliseconds=True)})
