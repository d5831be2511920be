"""Wall clocks: which instant a local time of a zone means, also where the clock is put forward or back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo


def first_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the zone's clock shows this naive local time, or, if the clock skips it, the first one after.

    A time that comes twice is thus its first occurrence (contract 4, Payout schedules; contract 3, Windows).
    """
    first = local.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return transition(before, first, lambda instant: instant.astimezone(zone).replace(tzinfo=None) >= local)


def transition(before: datetime, after: datetime, passed: Callable[[datetime], bool]) -> datetime:
    """The first whole second in (before, after] at which `passed` is true; transitions of zones fall on whole seconds."""
    before = before.replace(microsecond=0)
    low, high = 0, int(-((before - after) // timedelta(seconds=1)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passed(before + timedelta(seconds=middle)) else (middle, high)
    return before + timedelta(seconds=high)


def clock_changes(zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The instants in (start, end] from which the zone has another offset, in order."""

    def offset(instant: datetime) -> timedelta | None:
        return instant.astimezone(zone).utcoffset()

    def change_between(before: datetime, after: datetime) -> datetime:
        old = offset(before)
        return transition(before, after, lambda instant: offset(instant) != old)

    days = [start + timedelta(days=number) for number in range(-(-(end - start) // timedelta(days=1)))]
    spans = pairwise([*days, end])
    return [change_between(before, after) for before, after in spans if offset(before) != offset(after)]
