"""Payout schedules in plain words: when they are due, whom they pay, what they give."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

import msgspec

from console.format import WEEK, day_names, listed, month_name, number, share, span, time_of_day
from console.i18n import _, ngettext
from console.json_field import whole
from domain.leaderboard.definition import zone_of
from domain.payout.recurrence import When, instants_after, parse_when
from domain.payout.temporal_calendar import ticks_of

SHOWN_RUNS = 10
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a change of the clock moves, and how."""

    at: datetime
    note: str


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a `when` that come next, and those of the next year that a change of the clock moves.

    `zone` is the one whose clock the schedule goes by; empty for equal steps, which go by none.
    """

    runs: list[datetime]
    changes: list[ClockChange]
    zone: str


def coming_runs(value: Any, now: datetime) -> Coming:
    """The next ten runs of a `when` as the API takes it; ValidationError when it is none."""
    when = parse_when(value)
    ticks = ticks_of(when, now)
    return Coming(runs=_first(when, now), changes=_changes(when, now), zone="" if ticks.every else ticks.zone)


def _first(when: When, now: datetime) -> list[datetime]:
    found: list[datetime] = []
    for instant in instants_after(when, now):
        found.append(instant)
        if len(found) == SHOWN_RUNS:
            break
    return found


def _changes(when: When, now: datetime) -> list[ClockChange]:
    ticks = ticks_of(when, now)
    zone = zone_of(ticks.zone)
    changes = []
    for instant in ticks.single:
        local = instant.astimezone(zone)
        twice = local.replace(fold=1).utcoffset() != local.utcoffset()
        first = _("Clocks go back: this local time occurs twice. It runs once, the first time.")
        skipped = _("Clocks go forward and skip this local time: it runs right after.")
        if instant > now:
            changes.append(ClockChange(at=instant, note=first if twice else skipped))
    return changes


def expanded_days(value: Any) -> list[str] | None:
    """The weekdays that a field of a calendar or cron names, Sunday first; empty for every day; None when it is not as simple as that."""
    if value == "*":
        return []
    found: set[str] = set()
    for part in value if isinstance(value, list) else str(value).split(","):
        ends = [_day(each) for each in str(part).split("-")]
        if None in ends or len(ends) > 2:
            return None
        first, last = DAYS.index(str(ends[0])), DAYS.index(str(ends[-1]))
        found |= {DAYS[place % 7] for place in range(first, (last if last >= first else last + 7) + 1)}
    return [day for day in DAYS if day in found]


def _day(text: str) -> str | None:
    plain = text.strip().upper()
    if isinstance(whole(plain), int) and 0 <= int(plain) <= 7:
        return DAYS[int(plain) % 7]
    return plain[:3] if plain[:3] in DAYS and plain.isalpha() else None


def _numbers(value: Any, most: int) -> list[int] | None:
    """The numbers that a field names one by one; None when it says more than that."""
    parts = value if isinstance(value, list) else str(value).split(",")
    numbers = [number for part in parts[: most + 1] if isinstance(number := whole(str(part).strip()), int)]
    return numbers if len(numbers) == len(parts) <= most else None


def when_words(when: Mapping[str, Any]) -> str:
    """“Every Monday at 09:00”; a pattern that no short sentence says is shown as it is."""
    if "every_seconds" in when:
        return _("Every %(span)s", span=span(every if isinstance(every := when["every_seconds"], int) else None))
    if "cron" in when:
        parts = str(when["cron"]).split()
        names = ("minute", "hour", "day_of_month", "month", "day_of_week")
        fields: Mapping[str, Any] = dict(zip(names, parts, strict=False)) if len(parts) == len(names) else {"minute": "?"}
        both = fields.get("day_of_month") != "*" and fields.get("day_of_week") != "*"
        return (None if both else _pattern_words(fields)) or f"cron {when['cron']}"
    fields = {"minute": 0, "hour": 0, "day_of_month": "*", "month": "*", "day_of_week": "*"} | when.get("calendar", {})
    return _pattern_words(fields) or _(
        "Calendar %(fields)s", fields=" ".join(str(fields[name]) for name in ("hour", "minute", "day_of_week"))
    )


def _pattern_words(fields: Mapping[str, Any]) -> str | None:
    hours, minutes, days = _numbers(fields["hour"], 3), _numbers(fields["minute"], 3), expanded_days(fields["day_of_week"])
    if minutes is None or days is None or (hours is None and fields["hour"] != "*"):
        return None
    if hours is None:
        clock = _("every hour at minute %(minutes)s", minutes=listed(f"{each:02d}" for each in minutes))
    else:
        clock = _("at %(times)s", times=listed(time_of_day(time(hour, minute)) for hour in hours for minute in minutes))
    return " ".join(part for part in (_days_words(fields, days), clock) if part)


def _days_words(fields: Mapping[str, Any], days: list[str]) -> str:
    month_days = fields["day_of_month"]
    if days == list(WEEK[:5]):
        said = _("On weekdays")
    elif days:
        said = _("Every %(days)s", days=listed(name for day, name in day_names().items() if day in days))
    elif month_days == "L":
        said = _("On the last day of the month")
    elif month_days != "*":
        said = _("On day %(days)s of the month", days=_days_of_month(month_days))
    else:
        said = _("Every day")
    if days and month_days != "*":
        said += " " + _("that is day %(days)s of the month", days=_days_of_month(month_days))
    if fields["month"] != "*":
        said += " " + _("in %(months)s", months=_months(fields["month"]))
    return said


def _days_of_month(value: Any) -> str:
    return listed(value) if isinstance(value, list) else str(value)


def _months(value: Any) -> str:
    found = _numbers(value, 12)
    return str(value) if found is None else listed(map(month_name, found))


def audience_words(audience: Mapping[str, Any], boards: Mapping[str, str]) -> str:
    """“The first 10 of Weekly run, of the window that closed last”; `boards` are names by id."""
    kind = audience.get("type")
    if kind == "leaderboard_top":
        board = boards.get(audience["leaderboard_id"], audience["leaderboard_id"]) or "…"
        if audience.get("window", "latest_closed") == "current":
            return _("Top %(n)s of %(board)s at run time", n=number(audience["n"]), board=board)
        return _("Top %(n)s of %(board)s in the latest closed window", n=number(audience["n"]), board=board)
    if kind == "tier":
        return _("Everyone who has the tier %(names)s", names=listed(audience["names"], "or"))
    if kind == "users":
        listing = len(audience["external_ids"])
        return ngettext("%(num)s listed user", "%(num)s listed users", listing, num=number(listing))
    return _("Users matching a filter") if audience.get("filter") else _("All users")


def tier_words(tier: Mapping[str, Any], items: Mapping[str, str]) -> str:
    """“Ranks 1 to 3 get 500 coins and Badge”; `items` are names by id."""
    names = " + ".join(items.get(item_id, item_id[:13]) for item_id in tier.get("item_ids", [])) or "…"
    low, high = tier.get("min_rank"), tier.get("max_rank")
    if low and low == high:
        who = _("Rank %(n)s", n=low)
    elif low and high:
        who = _("Ranks %(low)s to %(high)s", low=low, high=high)
    elif low or high:
        who = _("Ranks from %(n)s on", n=low) if low else _("Ranks up to %(n)s", n=high)
    elif tier.get("min_score") is not None:
        who = _("Scores from %(n)s on", n=number(tier["min_score"]))
    elif tier.get("top_percent") is not None:
        who = _("The best %(share)s", share=share(tier["top_percent"] / 100))
    else:
        who = _("Everyone")
    return _("%(who)s: %(items)s", who=who, items=names)
