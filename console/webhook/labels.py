"""Webhooks in plain words: what each event tells, what came of an attempt, and when an endpoint that does not answer is tried again."""

from collections.abc import Sequence
from typing import Any

from console.format import listed, span
from console.i18n import N_, _

EVENTS: dict[str, str] = {
    "reward_redeemed": N_("A user redeemed a reward: fulfil it and call back."),
    "redemption_updated": N_("A redemption changed state."),
    "tier_change": N_("A user changed tier."),
    "reward_granted": N_("A user was granted an item, badge or points."),
    "points.expiring": N_("A user's points expire in seven days."),
    "leaderboard.window_closed": N_("A leaderboard window closed, with its top ten."),
    "payout.completed": N_("A payout run is complete."),
    "reward.low_stock": N_("A reward is low on stock."),
    "webhook.test": N_("A test sent from the console."),
}
"""The events of contract 5, in its order."""

ERRORS = {
    "timeout": N_("Timed out"),
    "dns": N_("Host name not found"),
    "refused": N_("Connection refused"),
    "reset": N_("Connection reset"),
    "tls": N_("TLS failed"),
    "redirect": N_("Redirect"),
    "blocked_address": N_("Address isn't public"),
    "bad_url": N_("Invalid URL"),
}
"""Why an attempt got no answer."""

OVERLAPS = {
    "86400": N_("24 hours"),
    "3600": N_("1 hour"),
    "604800": N_("7 days"),
    "0": N_("none: the old secret has leaked"),
}
"""How long the old secret signs along after a rotation."""


def ladder_words(delays: Sequence[float]) -> str:
    """When an endpoint is tried, and what happens when none of the tries is accepted."""
    if not delays:
        return _("One attempt. If it isn't accepted, the delivery fails until someone resends it.")
    waits = listed(span(delay) for delay in delays)
    return _(
        "The first attempt is immediate, retries follow after %(waits)s (±20%%). If none is accepted within about %(total)s, "
        "the delivery fails until someone resends it.",
        waits=waits,
        total=span(sum(delays), units=1),
    )


def outcome_of(attempt: dict[str, Any]) -> str:
    """What an attempt came to: 200, or why there was no answer, or that it is under way."""
    if attempt["status"] is not None:
        return str(attempt["status"])
    if attempt["ended_at"] is None:
        return _("in progress")
    return _(ERRORS.get(attempt["error_class"] or "", attempt["error_class"] or "–"))


def attempt_tone(attempt: dict[str, Any]) -> str:
    """good, bad or info: the colour of an attempt's badge."""
    if attempt["ended_at"] is None:
        return "info"
    return "good" if attempt["status"] is not None and 200 <= attempt["status"] < 300 else "bad"
