"""The audit log: who changed what, when and why, with the values before and after."""

from typing import Any

from litestar import Response, get

from console.text import mark
from console.visit import Visit

ACTIONS = {
    "insert": mark("made"),
    "update": mark("changed"),
    "delete": mark("removed"),
    "export": mark("exported"),
    "issue": mark("issued"),
    "sign_in": mark("signed in"),
    "sign_in_refused": mark("sign-in refused"),
    "password_changed": mark("password changed"),
    "sign_out_everywhere": mark("signed out everywhere"),
}
SUBJECTS = (
    *("api_key", "app_user", "console_user", "currency", "earning_rule", "event_type", "gamer_token", "leaderboard", "payout_run"),
    *("payout_schedule", "redemption", "reward", "reward_config", "reward_item", "tenant", "tier", "tier_set", "transfer"),
    "webhook_endpoint",
)
"""What a filter may ask for; any other kind can be given in the address."""
SHORT = 60


def changes_of(entry: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(field, before, after) of the fields that differ, in alphabetical order."""
    before, after = entry["before"] or {}, entry["after"] or {}
    return [(name, before.get(name), after.get(name)) for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


@get("/audit-log")
async def show_audit_log(visit: Visit) -> Response[bytes]:
    """The entries, newest first."""
    asked = {name: visit.query(name) for name in ("subject", "subject_id", "cursor")}
    found = await visit.api.read("/v1/admin/audit-log", {**asked, "limit": 50})
    entries = [entry | {"changes": changes_of(entry)} for entry in found["audit_log"]]
    subjects = sorted({*SUBJECTS, *([asked["subject"]] if asked["subject"] else [])})
    return visit.page("audit_log/list.html", entries=entries, next_cursor=found["next_cursor"], subjects=subjects, actions=ACTIONS)


routes = [show_audit_log]
