"""When points expire, told from sums: no credit remembers what is left of it (contract 4, Points ledger).

Points are used up oldest first, so what is left of an account lies in its last credits. `liquid` is what could still expire:
posted − held + pending. Held points are not in it, so they count as if they were spent, and a released hold as if it had never been.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

NOTICE_DAYS = 7
UNDATED_AT = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in an account's `next_expiry_at`: its points expire when the currency's undated ones do."""
NEVER_AT = datetime(9999, 1, 1, tzinfo=UTC)


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """Points that expire at the same instant: what was credited, or what of it is left."""

    at: datetime
    amount: int


def lapsed(liquid: int, live: Sequence[Lot]) -> int:
    """How many points are past their date: those that the credits still to expire (`live`) cannot account for."""
    return max(0, liquid - sum(lot.amount for lot in live))


def remaining(liquid: int, live: Sequence[Lot]) -> list[Lot]:
    """What is left of the credits still to expire, the next to expire first; lots that are used up are left out."""
    left, lots = liquid, []
    for lot in sorted(live, key=lambda lot: lot.at, reverse=True):
        amount = min(left, lot.amount)
        left -= amount
        if amount > 0:
            lots.append(Lot(at=lot.at, amount=amount))
    return lots[::-1]


def notice_horizon(now: datetime) -> datetime:
    """The end of the day (UTC) that is seven days ahead: days are told of as a whole, so a user hears of each day once."""
    return _day(now) + timedelta(days=NOTICE_DAYS + 1)


def notices(lots: Sequence[Lot], noticed_until: datetime | None, now: datetime) -> list[Lot]:
    """What to tell of now: for each day up to the horizon that was not told of, its points and when the first of them expire."""
    horizon, days = notice_horizon(now), dict[datetime, Lot]()
    for lot in sorted(lots, key=lambda lot: lot.at):
        if lot.at < horizon and (noticed_until is None or lot.at >= noticed_until):
            known = days.get(_day(lot.at))
            days[_day(lot.at)] = lot if known is None else Lot(at=known.at, amount=known.amount + lot.amount)
    return list(days.values())


def end_of_day(instant: datetime) -> datetime:
    """Where the instant's day (UTC) ends."""
    return _day(instant) + timedelta(days=1)


def _day(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
