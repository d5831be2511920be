"""How values look on a page: numbers, instants in the tenant's time, durations, states."""

from contextvars import ContextVar
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from console.api_labels import said
from console.i18n import _, language
from console.labels import STATE_COLOURS, WORDS

NARROW_SPACE = "\u202f"
MINUTE, HOUR, DAY = 60, 3600, 86_400

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clock(msgspec.Struct, frozen=True):
    """Now, and the tenant's time zone."""

    now: datetime
    zone: ZoneInfo


clock: ContextVar[Clock] = ContextVar("clock")
"""The clock of the present page."""


def number(value: Any) -> str:
    """A number with its thousands apart: 128 402, 48 210.5; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    whole = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".")
    whole = whole.replace("-", "−")
    if language() == "vi":
        return whole.replace(".", "\0").replace(",", ".").replace("\0", ",")
    return whole.replace(",", NARROW_SPACE)


def short_number(value: float | None) -> str:
    """A number of at most four digits: 2.41 M, 12.5 k."""
    if value is None:
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{number(round(value / size, 2))}{NARROW_SPACE}{unit}"
    return number(value)


def instant_of(value: datetime | str | None) -> datetime | None:
    """An instant, also when it comes as the API's text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def day_start(text: str, zone: tzinfo, *, days: int = 0) -> str:
    """The beginning of a day of the tenant's calendar, so many days later, as the API wants it; what is none is left for it to refuse."""
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=days), time(), zone).isoformat() if text else ""
    except (ValueError, OverflowError):
        return text


def _day(local: datetime) -> str:
    if language() == "vi":
        return f"{local.day}/{local.month}/{local.year}"
    return f"{local.day} {MONTHS[local.month - 1]} {local.year}"


def day_name(day: date) -> str:
    """A day below a chart: 22 Oct."""
    return f"{day.day}/{day.month}" if language() == "vi" else f"{day.day} {MONTHS[day.month - 1]}"


def _exact(local: datetime) -> str:
    return f"{_day(local)}, {local:%H:%M:%S} {local.tzinfo}"


def when(value: datetime | str | None, style: str = "minute", zone: str = "") -> Markup | str:
    """An instant: `minute` 1 Mar 2026, 11:11; `second` with seconds; `day`; `time` only. In the tenant's time, or in that of `zone`.

    The title is exact and names the zone.
    """
    instant = instant_of(value)
    if instant is None:
        return "–"
    local = instant.astimezone(ZoneInfo(zone) if zone else clock.get().zone)
    text = {
        "minute": f"{_day(local)}, {local:%H:%M}",
        "second": f"{_day(local)}, {local:%H:%M:%S}",
        "day": _day(local),
        "time": f"{local:%H:%M:%S}",
    }[style]
    return Markup('<time datetime="{}" title="{}">{}</time>').format(instant.isoformat(), _exact(local), text)


def ago(value: datetime | str | None) -> Markup | str:
    """How long ago, or how far ahead, an instant is: “5 min ago”, “in 2 d 4 h”. The title is exact."""
    instant = instant_of(value)
    if instant is None:
        return "–"
    seconds = int((clock.get().now - instant).total_seconds())
    local = instant.astimezone(clock.get().zone)
    text = _("%(span)s ago", span=span(seconds)) if seconds > 0 else _("in %(span)s", span=span(-seconds))
    text = _("now") if -10 < seconds < 10 else text
    return Markup('<time datetime="{}" title="{}">{}</time>').format(instant.isoformat(), _exact(local), text)


def span(seconds: float | None) -> str:
    """A duration with its two largest units: 45 s, 12 min, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return "–"
    left = int(seconds)
    if left < MINUTE:
        return _("%(n)s s", n=left)
    days, hours, minutes = left // DAY, left % DAY // HOUR, left % HOUR // MINUTE
    if left < HOUR:
        return _("%(n)s min", n=minutes)
    if left < DAY:
        return _("%(n)s h", n=hours) + (" " + _("%(n)s min", n=minutes) if minutes else "")
    return _("%(n)s d", n=days) + (" " + _("%(n)s h", n=hours) if hours and days < 10 else "")


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
