"""The audit log: who changed what, when and why, with the values before and after."""

from typing import Any

from litestar import Response, get

from console.format import day_start
from console.i18n import mark
from console.request import Visit

ACTIONS = {
    "erase": mark("erased"),
    "adjust": mark("adjusted"),
    "insert": mark("created"),
    "update": mark("updated"),
    "delete": mark("deleted"),
    "export": mark("exported"),
    "issue": mark("issued"),
    "sign_in": mark("signed in"),
    "sign_in_refused": mark("sign-in refused"),
    "password_changed": mark("password changed"),
    "sign_out_everywhere": mark("signed out everywhere"),
}
SUBJECTS = {
    "api_key": mark("API key"),
    "app_user": mark("user"),
    "console_user": mark("console account"),
    "currency": mark("currency"),
    "earning_rule": mark("earning rule"),
    "event_type": mark("event type"),
    "gamer_token": mark("gamer token"),
    "leaderboard": mark("leaderboard"),
    "payout_run": mark("payout run"),
    "payout_schedule": mark("payout schedule"),
    "redemption": mark("redemption"),
    "reward": mark("reward"),
    "reward_config": mark("reward config"),
    "reward_item": mark("reward item"),
    "tenant": mark("tenant"),
    "tier": mark("tier"),
    "tier_set": mark("tier set"),
    "transfer": mark("transfer"),
    "webhook_endpoint": mark("webhook endpoint"),
}
"""What a filter may ask for, in people's words; any other kind can be given in the address."""
SHORT = 60


def changes_of(entry: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(field, before, after) of the fields that differ, in alphabetical order."""
    before, after = entry["before"] or {}, entry["after"] or {}
    return [(name, before.get(name), after.get(name)) for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


@get("/audit-log")
async def show_audit_log(visit: Visit) -> Response[bytes]:
    """The entries, newest first."""
    asked = {name: visit.query(name) for name in ("subject", "subject_id", "actor", "cursor")}
    days = {"from": day_start(visit.query("from"), visit.zone), "to": day_start(visit.query("to"), visit.zone, days=1)}
    answer = await visit.api.get("/v1/admin/audit-log", {**asked, **days, "limit": 50})
    found = answer.body if answer.ok else {"audit_log": [], "next_cursor": None}
    entries = [entry | {"changes": changes_of(entry)} for entry in found["audit_log"]]
    subjects = sorted({*SUBJECTS, *([asked["subject"]] if asked["subject"] else [])})
    return visit.page(
        "audit_log/list.html",
        status=answer.status if answer.error else 200,
        error=answer.error,
        entries=entries,
        next_cursor=found["next_cursor"],
        subjects=subjects,
        names=SUBJECTS,
        actions=ACTIONS,
    )


routes = [show_audit_log]
