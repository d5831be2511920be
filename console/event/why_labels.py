"""Why a board or an earning rule made nothing of an event, in the reader's language: the API's `why` in words."""

from datetime import datetime, tzinfo
from typing import Any

from console.api_labels import said
from console.format import number, written
from console.i18n import N_, _

PERIODS = {"day": N_("day"), "week": N_("week"), "month": N_("month")}
WORDS = {
    "user_erased": N_("The user was erased, and with it what the event said."),
    "not_in_force": N_("Created later, %(at)s."),
    "inactive": N_("Not active at the time."),
    "other_event_type": N_("Looks at “%(wanted)s” only."),
    "not_started": N_("The event occurred before the rule's start, %(at)s."),
    "ended": N_("The event occurred after the rule's end, %(at)s."),
    "condition_failed": N_("Condition not met: %(path)s %(operator)s %(wanted)s. The event has %(value)s."),
    "filter_failed": N_("Filter not met: %(path)s %(operator)s %(wanted)s. The event has %(value)s."),
    "not_positive": N_("The formula gives %(given)s; only more than 0 counts."),
    "below_smallest_unit": N_("The formula gives %(given)s, less than the currency's smallest unit."),
    "not_in_segment": N_("The user isn't in the rule's segment."),
    "limit_reached": N_("Limit per %(period)s reached: %(given)s of %(most)s."),
    "budget_used_up": N_("Budget used up: %(given)s of %(most)s."),
    "limited": N_("The rule's limits left no more."),
    "balance_full": N_("The balance is full: it has no room for more."),
    "not_posted": N_("The ledger has no transfer for it."),
    "no_rule": N_("No rule gives points."),
    "outside_time": N_("Outside the leaderboard's time."),
    "window_closed": N_("The window had closed."),
}


def why_words(why: dict[str, Any], zone: tzinfo) -> str:
    """One or two short sentences. What only the API can say (an error of a formula) is shown as it says it."""
    words = WORDS.get(why["code"])
    if words is None:
        return said(str(why.get("text", "")))
    facts = {name: number(value) if name in ("most", "given") else value for name, value in why.items()}
    if "at" in why:
        facts["at"] = written(datetime.fromisoformat(why["at"]).astimezone(zone))
    if "period" in why:
        facts["period"] = _(PERIODS[why["period"]])
    return _(words, **{"value": _("nothing there"), **facts})
