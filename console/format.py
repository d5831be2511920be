"""How values look on a page: numbers, instants in the tenant's time, durations, states. Babel writes them for the person's locale."""

import decimal
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from babel import dates, numbers
from babel.lists import format_list
from babel.units import format_unit
from markupsafe import Markup

from console.api_labels import said
from console.i18n import _, locale, ngettext
from console.labels import STATE_COLOURS, WORDS

MINUTE, HOUR, DAY = 60, 3600, 86_400
UNITS = (("day", DAY), ("hour", HOUR), ("minute", MINUTE), ("second", 1))
WIDE = decimal.Context(prec=400)
"""Babel rounds in decimals, and a number can have more than the usual 28 digits."""
MILLION = 1_000_000
WEEK = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
"""The weekdays as schedules name them, in Babel's order."""


class Clock(msgspec.Struct, frozen=True):
    """Now, and the tenant's time zone."""

    now: datetime
    zone: ZoneInfo


clock: ContextVar[Clock] = ContextVar("clock")
"""The clock of the present page."""


def number(value: Any) -> str:
    """A number with its thousands apart and at most four decimals: 128,402; 48,210.5; a dash for None. A text stays as it is."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    with decimal.localcontext(WIDE):
        return numbers.format_decimal(value, "#,##0.####", locale=locale.get())


def short_number(value: float | None) -> str:
    """A number for a narrow place: millions and more are rounded to 2.41m."""
    if value is None or abs(value) < MILLION:
        return number(value)
    with decimal.localcontext(WIDE):
        return numbers.format_compact_decimal(value, format_type="short", fraction_digits=2, locale=locale.get())


def counted(value: float) -> int:
    """A number as the choice between singular and plural takes it: one point, half a point is points."""
    return int(value) if value == int(value) else 2


def points(value: float) -> str:
    """An amount of points: 1 point, 1,000 points."""
    return ngettext("%(num)s point", "%(num)s points", counted(value), num=number(value))


def price(each: Mapping[str, Any] | Any) -> str:
    """An amount of a currency, of which only points have a word of ours: 900 points, 5 coins."""
    amount, currency = (each["amount"], each["currency"]) if isinstance(each, Mapping) else (each.amount, each.currency)
    return points(amount) if currency == "points" else f"{number(amount)} {currency}"


def share(part: float) -> str:
    """A part of one as a percentage: 12.5%."""
    return numbers.format_percent(part, "#,##0.##%", locale=locale.get())


def listed(items: Iterable[str], style: Literal["standard", "or"] = "standard") -> str:
    """“a, b and c”, or “a, b or c”."""
    return format_list([str(each) for each in items], style=style, locale=locale.get())


def day_names() -> dict[str, str]:
    """The weekdays' names by `WEEK`, Monday first."""
    names = dates.get_day_names("wide", "stand-alone", locale=locale.get())
    return {day: str(names[place]) for place, day in enumerate(WEEK)}


def month_name(month: int) -> str:
    """The name of a month (1 to 12) within a sentence."""
    return str(dates.get_month_names("wide", "format", locale=locale.get())[month])


def instant_of(value: datetime | str | None) -> datetime | None:
    """An instant, also when it comes as the API's text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def day_start(text: str, zone: tzinfo, *, days: int = 0) -> str:
    """The beginning of a day of the tenant's calendar, so many days later, as the API wants it; what is none is left for it to refuse."""
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=days), time(), zone).isoformat() if text else ""
    except (ValueError, OverflowError):
        return text


def day_name(day: date) -> str:
    """A day below a chart: 22 Oct."""
    return dates.format_skeleton("MMMd", day, locale=locale.get())


def time_of_day(at: time) -> str:
    """A time by the clock: 09:00."""
    return dates.format_time(at, "short", locale=locale.get())


def written(local: datetime, style: str = "minute") -> str:
    """A local time: `minute` 1 Mar 2026, 11:11; `second` with seconds; `day`; `time` only."""
    here, zone = locale.get(), local.tzinfo
    if style == "day":
        return dates.format_date(local, "medium", locale=here)
    if style == "time":
        return dates.format_time(local, "medium", tzinfo=zone, locale=here)
    if style == "second":
        return dates.format_datetime(local, "medium", tzinfo=zone, locale=here)
    both = str(dates.get_datetime_format("medium", locale=here))
    clock_time = dates.format_time(local, "short", tzinfo=zone, locale=here)
    return both.replace("{0}", clock_time).replace("{1}", dates.format_date(local, "medium", locale=here))


def _shown(instant: datetime, local: datetime, text: str) -> Markup:
    exact = f"{written(local, 'second')} {local.tzinfo}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(instant.isoformat(), exact, text)


def when(value: datetime | str | None, style: str = "minute", zone: str = "") -> Markup | str:
    """An instant in a style of `written`, in the tenant's time or in that of `zone`. The title is exact and names the zone."""
    instant = instant_of(value)
    if instant is None:
        return "–"
    local = instant.astimezone(ZoneInfo(zone) if zone else clock.get().zone)
    return _shown(instant, local, written(local, style))


def ago(value: datetime | str | None) -> Markup | str:
    """How long ago, or how far ahead, an instant is: “5 min ago”, “in 2 days”. The title is exact."""
    instant = instant_of(value)
    if instant is None:
        return "–"
    left = instant - clock.get().now
    # A unit is used from two of it on: “in 47 hr” says more than “in 2 days”.
    text = dates.format_timedelta(left, threshold=2, add_direction=True, format="short", locale=locale.get())
    text = _("now") if abs(left) < timedelta(seconds=10) else text
    return _shown(instant, instant.astimezone(clock.get().zone), text)


def span(seconds: float | None, units: int = 2) -> str:
    """A duration with its largest units: 45 secs, 2 hrs 5 mins, 3 days 4 hrs."""
    if seconds is None:
        return "–"
    left, parts = int(seconds), list[tuple[int, str]]()
    for unit, size in UNITS:
        count, left = divmod(left, size)
        if parts or count or unit == "second":
            parts.append((count, unit))
    shown = [each for each in parts[:units] if each[0]] or parts[:1]
    texts = [format_unit(count, f"duration-{unit}", "short", locale=locale.get()) for count, unit in shown]
    return format_list(texts, style="unit-narrow", locale=locale.get())


def word(value: str | None) -> str:
    """The name of a state, role or kind, as people say it; what is not known is shown as it is."""
    return "–" if value is None else _(WORDS.get(value, value))


def pill(value: str | None, text: str = "") -> Markup:
    """A state as a coloured badge; the colour is never the only sign, the word stands in it."""
    colour = STATE_COLOURS.get(value or "", "")
    return Markup('<span class="pill{}">{}</span>').format(f" {colour}" if colour else "", text or word(value))


def short_id(value: str) -> Markup:
    """The head of a long id, with the whole of it in the title."""
    return Markup('<code title="{}">{}</code>').format(value, value[:13] if len(value) > 20 else value)


def pretty_json(value: Any) -> str:
    """A JSON value, indented, for a `pre`."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def copyable(text: str) -> Markup:
    """A value with a button that copies it; without JavaScript the button is not there."""
    return Markup(
        '<span class="copyable"><code title="{0}">{0}</code><button type="button" class="copy" data-copy="{0}" hidden>{1}</button></span>'
    ).format(text, _("Copy"))


FILTERS = {
    "number": number,
    "short_number": short_number,
    "counted": counted,
    "points": points,
    "price": price,
    "share": share,
    "listed": listed,
    "when": when,
    "ago": ago,
    "span": span,
    "word": word,
    "said": said,
    "pill": pill,
    "short_id": short_id,
    "json": pretty_json,
    "copyable": copyable,
}
