"""How values look on the wire: instants, scores and amounts (contract 1)."""

from datetime import UTC, datetime

SCORE_UNITS = 10_000
"""A score is kept as an integer of 1/10 000 point."""


def rfc3339(instant: datetime, *, milliseconds: bool = False) -> str:
    """The instant in UTC with `Z`; whole seconds stay whole, otherwise microseconds, or always milliseconds when asked."""
    moment = instant.astimezone(UTC).replace(tzinfo=None)
    if milliseconds:
        return moment.isoformat(timespec="milliseconds") + "Z"
    return moment.isoformat() + "Z"


def optional_rfc3339(instant: datetime | None) -> str | None:
    """`rfc3339`, or None for None."""
    return None if instant is None else rfc3339(instant)


def decimal_number(units: int, units_in_one: int) -> int | float:
    """An integer of small units as a JSON number: an int where nothing follows the point, else a float."""
    whole, rest = divmod(units, units_in_one)
    return whole if rest == 0 else units / units_in_one


def score_number(score: int) -> int | float:
    """A score (1/10 000 point) as the JSON number that boards show."""
    return decimal_number(score, SCORE_UNITS)


def amount_number(amount: int, decimal_places: int) -> int | float:
    """A ledger amount (the currency's smallest unit) as a JSON number."""
    return decimal_number(amount, 10**decimal_places)
