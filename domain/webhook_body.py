"""The bytes of a webhook's body: what JavaScript's `JSON.stringify(JSON.parse(body))` gives (contract 5).

A receiver that parses the body and stringifies it again before it checks the signature (the seed's Express example) gets our bytes.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain.error import ValidationFault
from domain.redemption import Redemption, State, points_number
from domain.wire import rfc3339

MAXIMUM_BYTES = 64 * 1024
LARGEST_EXACT_INTEGER = 2**53
LARGEST_ARRAY_INDEX = 2**32 - 2

_SURROGATE = re.compile("[\ud800-\udfff]")
_ARRAY_INDEX = re.compile("0|[1-9][0-9]{0,9}", re.ASCII)


def canonical_body(value: Any) -> bytes:
    """The value as JSON, byte for byte as JavaScript writes it; raises ValidationFault above 64 KB."""
    parts: list[str] = []
    _write(value, parts)
    body = "".join(parts).encode()
    if len(body) > MAXIMUM_BYTES:
        raise ValidationFault(f"The webhook's body would have {len(body)} bytes, more than {MAXIMUM_BYTES}")
    return body


def _write(value: Any, parts: list[str]) -> None:
    match value:
        case None:
            parts.append("null")
        case bool():
            parts.append("true" if value else "false")
        case str():
            parts.append(_string(value))
        case int() | float() | Decimal():
            parts.append(_number(value))
        case Mapping():
            _write_object(value, parts)
        case Sequence():
            _write_array(value, parts)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def _write_object(value: Mapping[str, Any], parts: list[str]) -> None:
    parts.append("{")
    for number, key in enumerate(_keys(value)):
        parts.append("," if number else "")
        parts.append(_string(key))
        parts.append(":")
        _write(value[key], parts)
    parts.append("}")


def _write_array(value: Sequence[Any], parts: list[str]) -> None:
    parts.append("[")
    for number, each in enumerate(value):
        parts.append("," if number else "")
        _write(each, parts)
    parts.append("]")


def _keys(value: Mapping[str, Any]) -> list[str]:
    """ECMA-262 OrdinaryOwnPropertyKeys: array indexes first, ascending; then the others as they came."""
    indexes = [key for key in value if _ARRAY_INDEX.fullmatch(key) and int(key) <= LARGEST_ARRAY_INDEX]
    if not indexes:
        return list(value)
    known = set(indexes)
    return sorted(indexes, key=int) + [key for key in value if key not in known]


def _string(text: str) -> str:
    if _SURROGATE.search(text):
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        quoted = json.dumps(paired, ensure_ascii=False)
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return json.dumps(text, ensure_ascii=False)


def _number(value: int | float | Decimal) -> str:
    """ECMA-262 Number::toString, of the double that JavaScript would read."""
    if isinstance(value, int) and abs(value) <= LARGEST_EXACT_INTEGER:
        return str(int(value))
    try:
        number = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(number):
        return "null"
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    return sign + _decimal_text(*_digits(abs(number)))


def _digits(number: float) -> tuple[str, int]:
    """The shortest digits that name the double, and where its point stands: 0.digits x 10**point."""
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    return stripped.rstrip("0"), point - (len(digits) - len(stripped))


def _decimal_text(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"


def reward_redeemed(redemption: Redemption) -> bytes:
    """The body of `reward_redeemed`: exactly the keys of contract 5, in its order, made once and sent unchanged ever after."""
    filled = dict(redemption.fields)
    if redemption.variant_id is not None:
        filled["variant_id"] = redemption.variant_id
    reward = redemption.reward
    return canonical_body(
        {
            "event": "reward_redeemed",
            "redemption_id": str(redemption.redemption_id),
            "user_id": str(redemption.user_id),
            "external_user_id": redemption.external_user_id,
            "reward_id": str(redemption.reward_id),
            "reward_type": reward.get("type"),
            "reward_value": reward.get("value"),
            "points_spent": points_number(redemption),
            "reward": {
                "id": str(redemption.reward_id),
                "name": reward.get("name"),
                "type": reward.get("type"),
                "fulfillmentData": filled,
            },
            "timestamp": rfc3339(redemption.created_at, milliseconds=True),
        }
    )


def redemption_updated(redemption: Redemption, previous: State, now: datetime) -> bytes:
    """The body of `redemption_updated`, for the redemption as it is after the move."""
    facts = {
        "redemption_id": str(redemption.redemption_id),
        "user_id": str(redemption.user_id),
        "external_user_id": redemption.external_user_id,
        "reward_id": str(redemption.reward_id),
        "previous_status": previous.value,
        "status": redemption.status.value,
        "fulfillment_data": redemption.fulfillment_data,
    }
    return event_body("redemption_updated", facts, now)


FACTS = {
    "redemption_updated": (
        "redemption_id", "user_id", "external_user_id", "reward_id", "previous_status", "status", "fulfillment_data",
    ),
    "tier_change": ("user_id", "external_user_id", "previous_tier", "new_tier", "points"),
    "reward_granted": (
        "grant_id", "user_id", "external_user_id", "item_id", "reward_type", "reward_value", "source_type", "source_id",
    ),
    "points.expiring": ("user_id", "external_user_id", "currency", "amount", "expires_at"),
    "leaderboard.window_closed": ("leaderboard_id", "window_key", "starts_at", "ends_at", "total", "top"),
    "payout.completed": ("schedule_id", "run_id", "recipients", "paid", "skipped", "total"),
    "reward.low_stock": ("reward_id", "slug", "name", "variant_id", "stock", "low_stock"),
    "webhook.test": ("endpoint_id",),
}  # fmt: skip
"""The members between `event` and `timestamp` (contract 5; `reward.low_stock` is ours)."""


def event_body(event: str, facts: Mapping[str, Any], now: datetime) -> bytes:
    """The body of an event other than `reward_redeemed`: `event`, its facts in the contract's order, `timestamp`.

    Facts are JSON values (ids and instants as text). Raises ValueError when one is missing or not in the contract.
    """
    names = FACTS[event]
    if set(facts) != set(names):
        raise ValueError(f"{event} has the facts {', '.join(names)}, not {', '.join(facts)}")
    return canonical_body({"event": event, **{name: facts[name] for name in names}, "timestamp": rfc3339(now, milliseconds=True)})
