"""The pages of the console, as the navigation shows them (contract 6)."""

import msgspec

from console.i18n import mark


class NavLink(msgspec.Struct, frozen=True):
    """A link of the navigation; `path` comes behind `/console`, `label` goes through the catalogs.

    `more` are paths that belong to it too.
    """

    path: str
    label: str
    more: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Links under a heading; the first group has none."""

    heading: str
    entries: tuple[NavLink, ...]


NAV: tuple[Group, ...] = (
    Group("", (NavLink("/dashboard", mark("Dashboard")), NavLink("/stuck-work", mark("Needs attention")))),
    Group(
        mark("Programme"),
        (
            NavLink("/leaderboards", mark("Leaderboards")),
            NavLink("/rewards", mark("Rewards"), ("/reward-configs", "/reward-items")),
            NavLink("/redemptions", mark("Redemptions")),
            NavLink("/schedules", mark("Schedules"), ("/payout-runs",)),
            NavLink("/users", mark("Users"), ("/tiers", "/earning-rules")),
        ),
    ),
    Group(
        mark("Integration"),
        (
            NavLink("/event-types", mark("Event types")),
            NavLink("/event-log", mark("Event log")),
            NavLink("/api-keys", mark("API keys")),
            NavLink("/webhooks", mark("Webhooks")),
            NavLink("/third-parties", mark("Information for third parties")),
        ),
    ),
    Group(mark("Tenant"), (NavLink("/settings", mark("Settings")), NavLink("/audit-log", mark("Audit log")))),
)
"""Settings holds the list of CORS origins."""

ENTRIES = tuple(entry for group in NAV for entry in group.entries)


def present_path(path: str) -> str:
    """The navigation's link that a page belongs to: `/console/rewards/x` is under `/rewards`."""
    own = path.removeprefix("/console")
    return next(
        (entry.path for entry in ENTRIES if any(own == root or own.startswith(root + "/") for root in (entry.path, *entry.more))), ""
    )
