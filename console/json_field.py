"""Values of forms that are JSON, numbers or instants, as the API wants them."""

import math
import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from console.client import Refusal
from console.i18n import _

_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
"""What fits a whole number of the API, and no digit of another script, which `int` does not read."""


def refusal_of(errors: dict[str, str]) -> Refusal | None:
    """What could not be read of a form, as a refusal of the API would say it; None when nothing is wrong."""
    if not errors:
        return None
    details = [{"field": field, "message": message} for field, message in errors.items()]
    return Refusal(code="VALIDATION_ERROR", message="", status=400, details=details)


def decoded(text: str, field: str, errors: dict[str, str], *, empty: Any = None) -> Any:
    """The JSON value in a field, `empty` for nothing; what is no JSON is noted under the field's name."""
    if not text:
        return empty
    try:
        return msgspec.json.decode(text.encode())
    except (ValueError, RecursionError) as error:
        errors[field] = _("Invalid JSON: %(error)s", error=str(error))
        return empty


def value_of(text: str) -> Any:
    """What a person typed as a value: a number, true, JSON, or else the text itself; None for nothing."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text.encode())
    except (ValueError, RecursionError):
        return text


def value_text(value: Any) -> str:
    """A value as `value_of` takes it back: a text as it is, unless it would be read as something else."""
    return value if isinstance(value, str) and value_of(value) == value else json_text(value)


def json_text(value: Any) -> str:
    """A JSON value on one line; nothing for what is empty."""
    return msgspec.json.encode(value).decode() if value not in (None, {}, []) else ""


def pretty_text(value: Any) -> str:
    """A JSON value on several lines; nothing for what is empty."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if value not in (None, {}, []) else ""


def whole(text: str) -> Any:
    """A whole number; what is none goes on as it is, for the API to refuse."""
    return int(text) if _WHOLE.fullmatch(text) else text


def amount(text: str) -> Any:
    """A number, whole or not; what is none goes on as it is."""
    plain = text.replace("\u202f", "").replace("\u00a0", "").replace(" ", "")
    if _GROUPED.fullmatch(plain):  # 1,000 is a thousand, wherever one comes from
        plain = plain.replace(",", "")
    if _WHOLE.fullmatch(plain):
        return int(plain)
    try:
        number = float(plain)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def local_text(instant: str | datetime | None, zone: ZoneInfo) -> str:
    """An instant as an input of type `datetime-local` wants it."""
    if not instant:
        return ""
    moment = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def instant_text(local: str, zone: ZoneInfo, present: str | None = None) -> str | None:
    """What stands in an input of type `datetime-local` as the API wants it; None for nothing; what is no time goes on as it is.

    The input shows no seconds: where it still shows `present`, that is what is meant.
    """
    if not local:
        return None
    if present and local == local_text(present, zone):
        return present
    try:
        return datetime.fromisoformat(local).replace(tzinfo=zone).isoformat()
    except ValueError:
        return local
