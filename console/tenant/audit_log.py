"""The audit log: who changed what, when and why, with the values before and after."""

from typing import Any

from litestar import Response, get

from console.format import day_start
from console.i18n import N_
from console.request import Visit

ACTIONS = {
    "erase": N_("erased"),
    "adjust": N_("adjusted"),
    "insert": N_("created"),
    "update": N_("updated"),
    "delete": N_("deleted"),
    "export": N_("exported"),
    "issue": N_("issued"),
    "sign_in": N_("signed in"),
    "sign_in_refused": N_("sign-in refused"),
    "password_changed": N_("password changed"),
    "sign_out_everywhere": N_("signed out everywhere"),
}
SUBJECTS = {
    "api_key": N_("API key"),
    "app_user": N_("user"),
    "console_user": N_("console account"),
    "currency": N_("currency"),
    "earning_rule": N_("earning rule"),
    "event_type": N_("event type"),
    "gamer_token": N_("gamer token"),
    "leaderboard": N_("leaderboard"),
    "payout_run": N_("payout run"),
    "payout_schedule": N_("payout schedule"),
    "redemption": N_("redemption"),
    "reward": N_("reward"),
    "reward_config": N_("reward config"),
    "reward_item": N_("reward item"),
    "tenant": N_("tenant"),
    "tier": N_("tier"),
    "tier_set": N_("tier set"),
    "transfer": N_("transfer"),
    "webhook_endpoint": N_("webhook endpoint"),
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
