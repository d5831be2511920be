"""Why a rule or a board made nothing of an event: a code with its facts, and the same as a sentence (contract 2)."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from domain.rule.condition import MISSING, Document, first_failed, json_text, parse_conditions, value_at
from domain.wire import decimal_number, points_number, rfc3339


class SilenceCause(StrEnum):
    """What stood in the way."""

    USER_ERASED = "user_erased"
    NOT_IN_FORCE = "not_in_force"
    INACTIVE = "inactive"
    OTHER_EVENT_TYPE = "other_event_type"
    NOT_STARTED = "not_started"
    ENDED = "ended"
    CONDITION_FAILED = "condition_failed"
    FILTER_FAILED = "filter_failed"
    NO_RESULT = "no_result"
    NOT_POSITIVE = "not_positive"
    BELOW_SMALLEST_UNIT = "below_smallest_unit"
    NOT_IN_SEGMENT = "not_in_segment"
    LIMIT_REACHED = "limit_reached"
    BUDGET_USED_UP = "budget_used_up"
    LIMITED = "limited"
    BALANCE_FULL = "balance_full"
    NOT_POSTED = "not_posted"
    NO_RULE = "no_rule"
    OUTSIDE_TIME = "outside_time"
    WINDOW_CLOSED = "window_closed"
    BROKEN = "broken"


class Why(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cause, and of its facts those that it has. `wanted` and `value` are JSON texts of at most 100 characters, `value` left out where
    the event has nothing at `path`; `most` and `given` are in points; `at` is RFC 3339."""

    code: SilenceCause
    path: str | None = None
    operator: str | None = None
    wanted: str | None = None
    value: str | None = None
    at: str | None = None
    period: str | None = None
    most: int | float | None = None
    given: int | float | None = None
    text: str | None = None


SENTENCES: dict[SilenceCause, str] = {
    SilenceCause.USER_ERASED: "the user was erased, and with it what the event said",
    SilenceCause.NOT_IN_FORCE: "it was made later, at {at}",
    SilenceCause.INACTIVE: "{text}",
    SilenceCause.OTHER_EVENT_TYPE: "event_type is {value}, wanted {wanted}",
    SilenceCause.NOT_STARTED: "the event occurred before {at}, when the rule starts",
    SilenceCause.ENDED: "the event occurred at or after {at}, when the rule ends",
    SilenceCause.CONDITION_FAILED: "{path} is {value}, wanted {operator} {wanted}",
    SilenceCause.FILTER_FAILED: "filters: {path} is {value}, wanted {operator} {wanted}",
    SilenceCause.NO_RESULT: "{text}",
    SilenceCause.NOT_POSITIVE: "the result is {given}, and only more than 0 earns",
    SilenceCause.BELOW_SMALLEST_UNIT: "the result is {given}, less than the smallest unit of the currency",
    SilenceCause.NOT_IN_SEGMENT: "the user is not in the rule's segment (as the user is now)",
    SilenceCause.LIMIT_REACHED: "max_per_{period} is {most}, and {given} were given in that {period}",
    SilenceCause.BUDGET_USED_UP: "the budget is {most}, and {given} are spent",
    SilenceCause.LIMITED: "its limits left no more of it",
    SilenceCause.BALANCE_FULL: "the balance has no room for it: a balance holds at most 2^53-1 of the smallest unit",
    SilenceCause.NOT_POSTED: "the ledger has no transfer for it",
    SilenceCause.NO_RULE: "no rule gives points",
    SilenceCause.OUTSIDE_TIME: "occurred_at is outside the board's time",
    SilenceCause.WINDOW_CLOSED: "the window had closed",
    SilenceCause.BROKEN: "{text}",
}


def sentence(why: Why) -> str:
    """The cause with its facts, in English."""
    facts = {name: getattr(why, name) for name in why.__struct_fields__}
    return SENTENCES[why.code].format_map(facts | {"value": "missing" if why.value is None else why.value})


def failed_condition(definition: Any, field: str, document: Document) -> Why | None:
    """The first of a definition's conditions that does not hold; None when all do. `field` is `conditions` or `filters`."""
    failed = first_failed(parse_conditions(definition, field), document)
    if failed is None:
        return None
    value = value_at(document, failed.path)
    return Why(
        code=SilenceCause.FILTER_FAILED if field == "filters" else SilenceCause.CONDITION_FAILED,
        path=failed.path,
        operator=failed.operator,
        wanted=json_text(failed.operand),
        value=None if value is MISSING else json_text(value),
    )


def other_event_type(wanted: str, event_type: str) -> Why | None:
    """None when the rule looks at events of this type."""
    return None if wanted in ("*", event_type) else Why(code=SilenceCause.OTHER_EVENT_TYPE, wanted=wanted, value=event_type)


def at_instant(code: SilenceCause, instant: datetime) -> Why:
    """A cause that has to do with an instant."""
    return Why(code=code, at=rfc3339(instant))


def of_points(code: SilenceCause, *, given: int, most: int | None = None, period: str | None = None) -> Why:
    """A cause that has to do with amounts, which are in 1/10 000 point."""
    return Why(code=code, given=points_number(given), most=None if most is None else decimal_number(most, 10_000), period=period)
