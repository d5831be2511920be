"""Why a board or an earning rule made nothing of an event, in the reader's language: the API's `why` in words."""

from datetime import datetime, tzinfo
from typing import Any

from console.api_labels import said
from console.format import number
from console.i18n import _, mark

PERIODS = {"day": mark("day"), "week": mark("week"), "month": mark("month")}
WORDS = {
    "user_erased": mark("The user was erased, and with it what the event said."),
    "not_in_force": mark("Created later, {at}."),
    "inactive": mark("Not active at the time."),
    "other_event_type": mark("Looks at “{wanted}” only."),
    "not_started": mark("The event occurred before the rule's start, {at}."),
    "ended": mark("The event occurred after the rule's end, {at}."),
    "condition_failed": mark("Condition not met: {path} {operator} {wanted}. The event has {value}."),
    "filter_failed": mark("Filter not met: {path} {operator} {wanted}. The event has {value}."),
    "not_positive": mark("The formula gives {given}; only more than 0 counts."),
    "below_smallest_unit": mark("The formula gives {given}, less than the currency's smallest unit."),
    "not_in_segment": mark("The user isn't in the rule's segment."),
    "limit_reached": mark("Limit per {period} reached: {given} of {most}."),
    "budget_used_up": mark("Budget used up: {given} of {most}."),
    "limited": mark("The rule's limits left no more."),
    "balance_full": mark("The balance is full: it has no room for more."),
    "not_posted": mark("The ledger has no transfer for it."),
    "no_rule": mark("No rule gives points."),
    "outside_time": mark("Outside the leaderboard's time."),
    "window_closed": mark("The window had closed."),
}


def why_words(why: dict[str, Any], zone: tzinfo) -> str:
    """One or two short sentences. What only the API can say (an error of a formula) is shown as it says it."""
    words = WORDS.get(why["code"])
    if words is None:
        return said(str(why.get("text", "")))
    facts = {name: number(value) if name in ("most", "given") else value for name, value in why.items()}
    if "at" in why:
        facts["at"] = datetime.fromisoformat(why["at"]).astimezone(zone).strftime("%Y-%m-%d %H:%M")
    if "period" in why:
        facts["period"] = _(PERIODS[why["period"]])
    return _(words, **{"value": _("nothing there"), **facts})
