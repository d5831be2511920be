"""The pages of the console, as the navigation shows them (contract 6)."""

import msgspec

from console.i18n import N_


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
    Group("", (NavLink("/dashboard", N_("Dashboard")), NavLink("/stuck-work", N_("Needs attention")))),
    Group(
        N_("Programme"),
        (
            NavLink("/leaderboards", N_("Leaderboards")),
            NavLink("/rewards", N_("Rewards"), ("/reward-configs", "/reward-items")),
            NavLink("/redemptions", N_("Redemptions")),
            NavLink("/schedules", N_("Schedules"), ("/payout-runs",)),
            NavLink("/users", N_("Users"), ("/tiers", "/earning-rules")),
        ),
    ),
    Group(
        N_("Integration"),
        (
            NavLink("/event-types", N_("Event types")),
            NavLink("/event-log", N_("Event log")),
            NavLink("/api-keys", N_("API keys")),
            NavLink("/webhooks", N_("Webhooks")),
            NavLink("/third-parties", N_("Information for third parties")),
        ),
    ),
    Group(N_("Tenant"), (NavLink("/settings", N_("Settings")), NavLink("/audit-log", N_("Audit log")))),
)
"""Settings holds the list of CORS origins."""

ENTRIES = tuple(entry for group in NAV for entry in group.entries)


def present_path(path: str) -> str:
    """The navigation's link that a page belongs to: `/console/rewards/x` is under `/rewards`."""
    own = path.removeprefix("/console")
    return next(
        (entry.path for entry in ENTRIES if any(own == root or own.startswith(root + "/") for root in (entry.path, *entry.more))), ""
    )
