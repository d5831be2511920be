"""The editor of payout schedules: the next ten runs in the tenant's time, and what the schedule says in plain words, before it is saved."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.format import day_names
from console.i18n import N_, _
from console.json_field import amount, decoded, instant_text, json_text, local_text, refusal_of, whole
from console.payout.schedule_labels import Coming, audience_words, coming_runs, expanded_days, tier_words, when_words
from console.request import Form, Visit
from domain.errors import DomainError

UNITS = {"60": N_("minutes"), "3600": N_("hours"), "86400": N_("days")}
KINDS = {"calendar": N_("at set times on certain days"), "every": N_("at fixed intervals"), "cron": N_("cron expression")}
AUDIENCES = {
    "leaderboard_top": N_("top of a leaderboard"),
    "tier": N_("members of a tier"),
    "all_users": N_("all users, or those matching a filter"),
    "users": N_("a list of users"),
}
LIST = 200


class ScheduleValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text; made from a schedule, or from what a person sent."""

    name: str = ""
    kind: str = "calendar"
    hour: str = "9"
    minute: str = "0"
    days: list[str] = []
    other_days: str = ""
    day_of_month: str = ""
    month: str = ""
    cron: str = ""
    every: str = "1"
    unit: str = "3600"
    timezone: str = "UTC"
    starts_at: str = ""
    ends_at: str = ""
    audience: str = "leaderboard_top"
    leaderboard_id: str = ""
    window: str = "latest_closed"
    n: str = "10"
    tier: list[str] = []
    filter: str = ""
    external_ids: str = ""
    gives: str = "by_items"
    reward_config_id: str = ""
    item: list[str] = []
    budget_key: list[str] = []
    budget_amount: list[str] = []
    overlap: str = "skip"
    catchup_hours: str = "24"
    note: str = ""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule may name, by id."""

    boards: dict[str, str]
    tiers: list[str]
    configs: dict[str, dict[str, Any]]
    items: dict[str, str]
    currencies: dict[str, str]


class SchedulePreview(msgspec.Struct, kw_only=True):
    """What the schedule would be; or why it cannot be one."""

    errors: dict[str, str] = {}
    coming: Coming | None = None
    when: str = ""
    audience: str = ""
    gives: list[str] = []


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _when_values(when: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    span = {name: local_text(when.get(name), zone) for name in ("starts_at", "ends_at")}
    if "cron" in when:
        return {"kind": "cron", "cron": when["cron"], "timezone": when["timezone"], **span}
    if "every_seconds" in when:
        seconds = when["every_seconds"]
        unit = next((size for size in (86_400, 3600, 60) if seconds % size == 0), None)
        return {"kind": "every", "every": str(seconds // (unit or 1)), "unit": str(unit or 1), **span}
    calendar = when["calendar"]
    days = expanded_days(calendar.get("day_of_week", "*"))
    plain = {name: _text(calendar.get(name, "*")) for name in ("day_of_month", "month")}
    return {
        "kind": "calendar",
        "hour": _text(calendar.get("hour", 0)),
        "minute": _text(calendar.get("minute", 0)),
        "days": days or [],
        "other_days": _text(calendar["day_of_week"]) if days is None else "",
        **{name: "" if value == "*" else value for name, value in plain.items()},
        "timezone": calendar.get("timezone", "UTC"),
        **span,
    }


def values_of(schedule: dict[str, Any], zone: ZoneInfo) -> ScheduleValues:
    """The form of a schedule that exists."""
    audience, budget = schedule["audience"], schedule["budget"] or {}
    return ScheduleValues(
        name=schedule["name"],
        **_when_values(schedule["when"], zone),
        audience=audience["type"],
        leaderboard_id=audience.get("leaderboard_id", ""),
        window=audience.get("window", "latest_closed"),
        n=str(audience.get("n", 10)),
        tier=audience.get("names", []),
        filter=json_text(audience.get("filter")),
        external_ids="\n".join(audience.get("external_ids", [])),
        gives="by_config" if schedule["reward_config_id"] else "by_items",
        reward_config_id=schedule["reward_config_id"] or "",
        item=schedule["item_ids"] or [],
        budget_key=list(budget),
        budget_amount=[str(each) for each in budget.values()],
        overlap=schedule["overlap"],
        catchup_hours=f"{schedule['catchup_seconds'] / 3600:.10g}",
        note=schedule["note"] or "",
    )


def values_sent(form: Form) -> ScheduleValues:
    """The form as it was sent."""
    many = ("days", "tier", "item", "budget_key", "budget_amount")
    sent: dict[str, Any] = {name: form.all(name) if name in many else form.text(name) for name in ScheduleValues.__struct_fields__}
    return ScheduleValues(**sent)


def _part(text: str) -> Any:
    return whole(text)


def when_of(values: ScheduleValues, zone: ZoneInfo, present: Mapping[str, Any]) -> dict[str, Any]:
    """The API's `when`; `present` is that of the schedule that is edited."""
    span = {name: instant_text(getattr(values, name), zone, present.get(name)) for name in ("starts_at", "ends_at")}
    given: dict[str, Any] = {name: value for name, value in span.items() if value is not None}
    if values.kind == "cron":
        return {"cron": values.cron, "timezone": values.timezone or "UTC", **given}
    if values.kind == "every":
        steps, unit = whole(values.every or "0"), whole(values.unit)
        return {"every_seconds": steps * unit if isinstance(steps, int) and isinstance(unit, int) else steps, **given}
    calendar: dict[str, Any] = {
        "hour": _part(values.hour or "0"),
        "minute": _part(values.minute or "0"),
        "timezone": values.timezone or "UTC",
    }
    days = ",".join(part for part in (*values.days, values.other_days) if part)
    for name, text in (("day_of_week", days), ("day_of_month", values.day_of_month), ("month", values.month)):
        if text:
            calendar[name] = _part(text)
    return {"calendar": calendar, **given}


def audience_of(values: ScheduleValues, errors: dict[str, str]) -> dict[str, Any]:
    """The API's `audience`."""
    if values.audience == "leaderboard_top":
        return {
            "type": "leaderboard_top",
            "leaderboard_id": values.leaderboard_id,
            "window": values.window or "latest_closed",
            "n": whole(values.n),
        }
    if values.audience == "tier":
        return {"type": "tier", "names": values.tier}
    if values.audience == "users":
        return {"type": "users", "external_ids": [line.strip() for line in values.external_ids.splitlines() if line.strip()]}
    fits = decoded(values.filter, "audience.filter", errors)
    return {"type": "all_users", **({"filter": fits} if fits else {})}


def body_of(values: ScheduleValues, zone: ZoneInfo, errors: dict[str, str], present: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The API's body of POST and PATCH; what cannot be read goes into `errors`. `present` is the schedule that is edited."""
    rows = zip(values.budget_key, values.budget_amount, strict=False)
    budget = {key: amount(limit) for key, limit in rows if key and limit}
    hours = amount(values.catchup_hours or "24")
    by_config = values.gives == "by_config"
    return {
        "name": values.name,
        "when": when_of(values, zone, (present or {}).get("when", {})),
        "audience": audience_of(values, errors),
        "reward_config_id": (values.reward_config_id or None) if by_config else None,
        "item_ids": None if by_config else (values.item or None),
        "budget": budget or None,
        "overlap": values.overlap or "skip",
        "catchup_seconds": round(hours * 3600) if isinstance(hours, int | float) else hours,
        "note": values.note or None,
    }


def preview_of(values: ScheduleValues, choices: Choices, now: datetime, zone: ZoneInfo) -> SchedulePreview:
    """What the schedule would be. Writes nothing."""
    errors: dict[str, str] = {}
    body = body_of(values, zone, errors)
    preview = SchedulePreview(errors=errors, audience="", when="")
    try:
        preview.coming = coming_runs(body["when"], now)
        preview.when = when_words(body["when"])
    except DomainError as error:
        for each in error.details or [{"field": "when", "message": error.message}]:
            errors.setdefault(each["field"], each["message"])
    preview.audience = audience_words(body["audience"], choices.boards)
    if body["reward_config_id"] and (config := choices.configs.get(body["reward_config_id"])):
        preview.gives = [tier_words(tier, choices.items) for tier in config["tiers"]]
    elif body["item_ids"]:
        preview.gives = [_("Each of them: %(items)s", items=" + ".join(choices.items.get(each, each) for each in body["item_ids"]))]
    return preview


async def choices_for(visit: Visit) -> Choices:
    """What a schedule or a config may name: the first 200 of each."""
    boards, tiers, configs, items, currencies = await asyncio.gather(
        visit.api.read("/v1/admin/leaderboards", {"limit": LIST}),
        visit.api.read("/v1/admin/tiers", {"limit": LIST}),
        visit.api.read("/v1/admin/reward-configs", {"limit": LIST}),
        visit.api.read("/v1/admin/reward-items", {"limit": LIST}),
        visit.api.read("/v1/admin/currencies", {"limit": LIST}),
    )
    return Choices(
        boards={each["leaderboard_id"]: each["name"] for each in boards["leaderboards"] if each["status"] != "archived"},
        tiers=[each["name"] for each in tiers["tiers"]],
        configs={each["reward_config_id"]: each for each in configs["reward_configs"]},
        items={each["item_id"]: each["name"] for each in items["reward_items"]},
        currencies={each["id"]: each["name"] for each in currencies["currencies"]},
    )


async def _form(visit: Visit, values: ScheduleValues, *, schedule: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    choices = await choices_for(visit)
    return visit.page(
        "schedules/form.html",
        status=400 if error else 200,
        schedule=schedule,
        values=values,
        choices=choices,
        error=error,
        errors=error.fields if error else {},
        preview=preview_of(values, choices, visit.now, visit.zone),
        kinds=KINDS,
        units=UNITS if values.unit in UNITS else {**UNITS, "1": N_("seconds")},
        audiences=AUDIENCES,
        day_names=day_names(),
        budgets=[*zip(values.budget_key, values.budget_amount, strict=False), ("", "")],
        version=visit.form.text("version") or (schedule["version"] if schedule else ""),
    )


@get("/schedules/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new schedule: every Monday at nine."""
    visit.must_change()
    return await _form(visit, ScheduleValues(timezone=visit.user.timezone, days=["MON"]), schedule=None)


@get("/schedules/{schedule_id:str}/edit")
async def show_edit(visit: Visit, schedule_id: str) -> Response[bytes]:
    """The form of a schedule that exists."""
    visit.must_change()
    schedule = await visit.api.read(f"/v1/admin/schedules/{schedule_id}")
    return await _form(visit, values_of(schedule, visit.zone), schedule=schedule)


@post("/schedules/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again with what the schedule would be; `for` names the one that is edited."""
    known = visit.form.text("for")
    schedule = await visit.api.read(f"/v1/admin/schedules/{known}") if known else None
    return await _form(visit, values_sent(visit.form), schedule=schedule)


@post("/schedules")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Make the schedule, or show the form again with what is wrong."""
    return await _save(visit, None)


@post("/schedules/{schedule_id:str}/edit")
async def change(visit: Visit, schedule_id: str) -> Response[bytes] | Redirect:
    """Change the schedule, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"/v1/admin/schedules/{schedule_id}"))


async def _save(visit: Visit, schedule: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values, unreadable = values_sent(visit.form), dict[str, str]()
    body = body_of(values, visit.zone, unreadable, schedule)
    if refusal := refusal_of(unreadable):
        return await _form(visit, values, schedule=schedule, error=refusal)
    reason = visit.form.text("reason")
    if schedule is None:
        answer = await visit.api.post("/v1/admin/schedules", body | {"paused": visit.form.ticked("paused")}, reason=reason)
    else:
        version = whole(visit.form.text("version"))
        path = f"/v1/admin/schedules/{schedule['schedule_id']}"
        answer = await visit.api.patch(path, body, reason=reason, version=version if isinstance(version, int) else None)
    if answer.error is not None:
        return await _form(visit, values, schedule=schedule, error=answer.error)
    return visit.go(f"/schedules/{answer.body['schedule_id']}", good=_("Saved. Past runs aren't affected."))


routes = [show_new, show_edit, preview, create, change]
