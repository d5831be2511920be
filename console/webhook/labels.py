"""Webhooks in plain words: what each event tells, what came of an attempt, and when an endpoint that does not answer is tried again."""

from collections.abc import Sequence
from typing import Any

from console.format import span
from console.i18n import _, mark

EVENTS: dict[str, str] = {
    "reward_redeemed": mark("A user redeemed a reward: fulfil it and call back."),
    "redemption_updated": mark("A redemption changed state."),
    "tier_change": mark("A user changed tier."),
    "reward_granted": mark("A user was granted an item, badge or points."),
    "points.expiring": mark("A user's points expire in seven days."),
    "leaderboard.window_closed": mark("A leaderboard window closed, with its top ten."),
    "payout.completed": mark("A payout run is complete."),
    "reward.low_stock": mark("A reward is low on stock."),
    "webhook.test": mark("A test sent from the console."),
}
"""The events of contract 5, in its order."""

ERRORS = {
    "timeout": mark("Timed out"),
    "dns": mark("Host name not found"),
    "refused": mark("Connection refused"),
    "reset": mark("Connection reset"),
    "tls": mark("TLS failed"),
    "redirect": mark("Redirect"),
    "blocked_address": mark("Address isn't public"),
    "bad_url": mark("Invalid URL"),
}
"""Why an attempt got no answer."""

OVERLAPS = {
    "86400": mark("24 hours"),
    "3600": mark("1 hour"),
    "604800": mark("7 days"),
    "0": mark("none: the old secret has leaked"),
}
"""How long the old secret signs along after a rotation."""


def ladder_words(delays: Sequence[float]) -> str:
    """When an endpoint is tried, and what happens when none of the tries is accepted."""
    if not delays:
        return _("One attempt. If it isn't accepted, the delivery fails until someone resends it.")
    waits = ", ".join(span(delay) for delay in delays)
    return _(
        "The first attempt is immediate, retries follow after {waits} (±20 %). If none is accepted within about {total}, the delivery fails"
        " until someone resends it.",
        waits=waits,
        total=span(sum(delays)),
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
