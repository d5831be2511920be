"""A redemption as its page tells it: the state diagram, what happened when, and what may be done now."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from console.format import instant_of, number, word
from console.i18n import N_, _
from console.webhook.labels import attempt_tone, outcome_of
from domain.redemption.redemption import FINAL, TRANSITIONS, Effect, Redemption, RedemptionFlag, RedemptionState, effect_of

HAPPY = (
    RedemptionState.PENDING_CLAIM,
    RedemptionState.PENDING_APPROVAL,
    RedemptionState.PENDING,
    RedemptionState.PROCESSING,
    RedemptionState.FULFILLED,
)
"""The order in which what may come is drawn; the others follow."""

OUTCOMES = {
    Effect.CAPTURE: N_("points spent"),
    Effect.RELEASE: N_("points returned"),
    Effect.REFUND: N_("points refunded"),
}
FLAGS = {
    "delivery_exhausted": N_("webhook failed"),
    "no_endpoint": N_("no endpoint"),
}
SENTENCES = {
    RedemptionState.PENDING_CLAIM: N_("The user must claim it and fill in the required fields."),
    RedemptionState.PENDING_APPROVAL: N_("Needs approval."),
    RedemptionState.PENDING: N_("Points are held; fulfilment hasn't started."),
    RedemptionState.PROCESSING: N_("Fulfilment is in progress."),
    RedemptionState.FULFILLED: N_("The user has received the reward; points spent."),
    RedemptionState.FAILED: N_("Fulfilment failed; points refunded."),
    RedemptionState.CANCELLED: N_("Cancelled; points refunded."),
    RedemptionState.EXPIRED: N_("Not fulfilled before the deadline; points refunded."),
    RedemptionState.REVERSED: N_("Fulfilled, then reversed; points refunded."),
}
FULFILMENTS = {
    "webhook": N_("partner webhook"),
    "wallet": N_("credited to the user's account"),
    "codes": N_("a code from the pool"),
    "manual": N_("manual"),
}


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A point of the timeline; `tone` is "", "bad" or "wait"."""

    at: datetime | None
    title: str
    text: str = ""
    tone: str = ""


def actor(by: str) -> str:
    """Who made a move, as people say it."""
    kind, colon, name = by.partition(":")
    if kind == "workflow":
        return "Laurel"
    if kind == "api_key" and colon:
        return _("API key %(name)s", name=name)
    if kind in ("gamer", "user"):
        return _("the user")
    return name if kind == "console" and colon else by


def flag_word(flag: str) -> str:
    """A flag in words."""
    return _(FLAGS.get(flag, flag))


def past_states(document: dict[str, Any]) -> list[str]:
    """The states it has left, in order."""
    return [each["from"] for each in document["timeline"] if each["from"] and each["from"] != each["to"]]


def steps_ahead(redemption: Redemption) -> list[str]:
    """The states that come on the usual way before an outcome: drawn in a row behind the present one."""
    asked = redemption.fulfilment.get("type") in ("webhook", "manual")
    return [RedemptionState.PROCESSING.value] if redemption.status is RedemptionState.PENDING and asked else []


def next_states(document: dict[str, Any], ahead: list[str]) -> list[tuple[str, str]]:
    """What may come besides the steps ahead, the happy way first, with what each would do to the points."""
    possible = TRANSITIONS[RedemptionState(document["status"])] - set(ahead)
    ordered = [state for state in HAPPY if state in possible] + sorted(state for state in possible if state not in HAPPY)
    if RedemptionState.PENDING_APPROVAL in possible and RedemptionState.PENDING in possible:
        ordered.remove(RedemptionState.PENDING)
    said = OUTCOMES if document["points_spent"] else {}
    return [(state.value, _(said[effect_of(state)]) if effect_of(state) in said else "") for state in ordered]


def timeline_of(document: dict[str, Any], deliveries: Iterable[dict[str, Any]]) -> list[TimelineEntry]:
    """Moves, notes and attempts of the fulfilment webhook by time, and then what is waited for."""
    items = [_move(each) for each in document["timeline"]]
    for delivery in deliveries:
        items += [_attempt(each) for each in delivery["attempts"]]
    items.sort(key=lambda item: item.at.timestamp() if item.at else 0)
    if document["status"] in FINAL:
        return items
    for each in document["deliveries"]:
        if each["next_attempt_at"]:
            items.append(TimelineEntry(at=instant_of(each["next_attempt_at"]), title=_("Next webhook attempt"), tone="wait"))
    if document["deadline_at"]:
        items.append(TimelineEntry(at=instant_of(document["deadline_at"]), title=_("Deadline"), text=_waiting(document), tone="wait"))
    return items


def _move(each: dict[str, Any]) -> TimelineEntry:
    who, note = actor(each["by"]), each["note"] or ""
    at = instant_of(each["at"])
    text = " · ".join(part for part in (who, note) if part)
    if each["from"] is None:
        return TimelineEntry(at=at, title=_("Redemption %(state)s", state=word(each["to"])), text=text)
    if each["from"] == each["to"]:
        return TimelineEntry(at=at, title=_("Note"), text=text)
    tone = "bad" if each["to"] in (RedemptionState.FAILED, RedemptionState.EXPIRED) else ""
    return TimelineEntry(at=at, title=f"{word(each['from'])} → {word(each['to'])}", text=text, tone=tone)


def _attempt(each: dict[str, Any]) -> TimelineEntry:
    at = instant_of(each["ended_at"] or each["started_at"])
    if each["ended_at"] is None:
        return TimelineEntry(at=at, title=_("Sending webhook"), text=_("attempt %(n)s", n=each["number"]), tone="wait")
    took = f"{number(round(each['duration_ms'] or 0))} ms"
    good = attempt_tone(each) == "good"
    title = _("Webhook accepted") if good else _("Webhook failed")
    return TimelineEntry(
        at=at, title=title, text=f"{outcome_of(each)} · {took} · {_('attempt %(n)s', n=each['number'])}", tone="" if good else "bad"
    )


def _waiting(document: dict[str, Any]) -> str:
    if document["status"] == RedemptionState.PENDING_CLAIM:
        return _("awaiting claim")
    if document["status"] == RedemptionState.PENDING_APPROVAL:
        return _("awaiting approval")
    return _("then points are refunded") if document["points_spent"] else _("then it expires")


class Acts(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may do in the present state."""

    approve: bool = False
    reject: bool = False
    take_on: bool = False
    fulfil: bool = False
    fail: bool = False
    resend: bool = False
    cancel: bool = False
    reverse: bool = False


def acts_for(redemption: Redemption, document: dict[str, Any]) -> Acts:
    """The acts that the table of moves allows now (contract 4)."""
    status, possible = redemption.status, TRANSITIONS[redemption.status]
    awaits = status is RedemptionState.PENDING_APPROVAL
    tried = [each["state"] for each in document["deliveries"]]
    resendable = any(state not in ("pending", "held") for state in tried) or (not tried and RedemptionFlag.NO_ENDPOINT in redemption.flags)
    return Acts(
        approve=awaits,
        reject=awaits,
        take_on=RedemptionState.PROCESSING in possible and redemption.fulfilment.get("type") == "manual",
        fulfil=RedemptionState.FULFILLED in possible,
        fail=RedemptionState.FAILED in possible,
        resend=resendable and status not in FINAL,
        cancel=RedemptionState.CANCELLED in possible and not awaits,
        reverse=RedemptionState.REVERSED in possible,
    )
