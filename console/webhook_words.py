"""Webhooks in plain words: what each event tells, and when an endpoint that does not answer is tried again."""

from collections.abc import Sequence

from console.show import span
from console.text import _, mark

EVENTS: dict[str, str] = {
    "reward_redeemed": mark("A user has redeemed a reward: hand it over, and call back."),
    "redemption_updated": mark("A redemption has moved to another state."),
    "tier_change": mark("A user has reached another tier."),
    "reward_granted": mark("A user was given something: a prize, a badge, points."),
    "points.expiring": mark("Points of a user expire in seven days."),
    "leaderboard.window_closed": mark("A leaderboard's window is closed; its first ten."),
    "payout.completed": mark("A payout run has paid everybody."),
    "reward.low_stock": mark("A reward is nearly out of stock."),
    "webhook.test": mark("A test that somebody sent from here."),
}
"""The events of contract 5, in its order."""

OVERLAPS = {
    "86400": mark("24 hours"),
    "3600": mark("1 hour"),
    "604800": mark("7 days"),
    "0": mark("no time at all: the old one has leaked"),
}
"""How long the old secret signs along after a rotation."""


def ladder_words(delays: Sequence[float]) -> str:
    """When an endpoint is tried, and what happens when none of the tries is accepted."""
    if not delays:
        return _("One try, at once. If it is not accepted, the delivery has failed until a person sends it again.")
    waits = ", ".join(span(delay) for delay in delays)
    return _(
        "The first try is made at once, the next ones after {waits} (each a fifth more or less). If none is accepted, about {total} later,"
        " the delivery has failed until a person sends it again.",
        waits=waits,
        total=span(sum(delays)),
    )
