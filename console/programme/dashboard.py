"""The dashboard: what happens in the tenant now and what happened in the last 30 days; for a new tenant the first steps."""

import asyncio
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec
from litestar import Response, get

from console.format import day_name, number, share, short_number
from console.i18n import _
from console.request import Visit
from domain.wire import amount_number
from storage.programme.dashboard import (
    FINAL_STATES,
    MOST,
    OPEN_STATES,
    Day,
    Totals,
    days_since,
    first_steps,
    redemptions_by_state,
    totals,
)

DAYS = 30
BOARDS = 6
PAYOUTS = 4
BEST = 5
SAMPLE = """curl {url}/v1/events \\
  -H "Authorization: Bearer lk_…" -H "Content-Type: application/json" \\
  -d '{{"event_id":"first-1","type":"level_completed","actor":{{"user_id":"u-1"}},"occurred_at":"{now}","attrs":{{"points":10}}}}'"""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers at the top, with their courses over 30 days. Points are net here, and in the courses what each day moved."""

    users: int
    new_users: int
    events_today: int
    events: int
    issued: float
    spent: float
    open: int
    days: list[Day]


def every_day(known: list[Day], first: date) -> list[Day]:
    """Thirty days from `first`; those of which nothing is known are empty."""
    by_day = {each.day: each for each in known}
    nothing = {"events": 0, "users": 0, "issued": 0, "spent": 0, "redemptions": 0}
    days = [first + timedelta(days=number) for number in range(DAYS)]
    return [by_day.get(day) or Day(day=day, **nothing) for day in days]


def _figures(days: list[Day], now: Totals, open_now: int) -> Figures:
    today = msgspec.structs.replace(
        days[-1],
        users=days[-1].users + now.new_users,
        issued=days[-1].issued + now.issued,
        spent=days[-1].spent + now.spent,
        redemptions=days[-1].redemptions + now.redemptions,
        taken_back=days[-1].taken_back + now.taken_back,
        refunded=days[-1].refunded + now.refunded,
    )
    days = [*days[:-1], today]
    return Figures(
        users=now.users + now.new_users,
        new_users=sum(day.users for day in days),
        events_today=today.events,
        events=sum(day.events for day in days),
        issued=amount_number(sum(day.issued - day.taken_back for day in days), now.places),
        spent=amount_number(sum(day.spent - day.refunded for day in days), now.places),
        open=open_now,
        days=days,
    )


async def _standings(visit: Visit) -> list[dict[str, Any]]:
    """The first boards with their best; one that the API cannot show now is left out."""
    listed = await visit.api.get("/v1/leaderboards", {"limit": BOARDS})
    boards = (listed.body or {}).get("leaderboards", []) if listed.ok else []
    pages = await asyncio.gather(*(visit.api.get(f"/v1/leaderboards/{board['leaderboard_id']}", {"limit": BEST}) for board in boards))
    shown = [{"board": board, "page": page.body} for board, page in zip(boards, pages, strict=True) if page.ok]
    shown.sort(key=lambda each: not each["page"].get("entries"))
    return shown[:3]


async def _payouts(visit: Visit) -> dict[str, Any]:
    """The schedules that pay next, and the payouts under way."""
    listed, paying = await asyncio.gather(
        visit.api.get("/v1/admin/schedules", {"limit": 50}), visit.api.get("/v1/admin/payout-runs", {"status": "paying", "limit": 3})
    )
    schedules = (listed.body or {}).get("schedules", []) if listed.ok else []
    names = {each["schedule_id"]: each["name"] for each in schedules}
    coming = sorted((each for each in schedules if each["next_instants"] and not each["paused"]), key=lambda each: each["next_instants"][0])
    runs = (paying.body or {}).get("payout_runs", []) if paying.ok else []
    return {"coming": coming[:PAYOUTS], "runs": [{**run, "name": names.get(run["schedule_id"], "")} for run in runs]}


async def _failing(visit: Visit) -> list[dict[str, Any]]:
    """Webhook endpoints that were switched off because they failed."""
    listed = await visit.api.get("/v1/admin/webhook-endpoints", {"limit": 100})
    endpoints = (listed.body or {}).get("webhook_endpoints", []) if listed.ok else []
    return [each for each in endpoints if not each["enabled"] and each["disabled_reason"]]


def _spent_share(figures: Figures) -> str:
    return _("%(share)s of issued", share=share(round(figures.spent / figures.issued, 2))) if figures.issued > 0 else _("in 30 days")


@get("/dashboard")
async def show_dashboard(visit: Visit) -> Response[bytes]:
    """The figures, charts and lists."""
    today = visit.now.astimezone(visit.zone).date()
    first = today - timedelta(days=DAYS - 1)
    since = datetime.combine(first, time(), visit.zone)
    async with visit.pool.connection() as connection:
        known = await days_since(connection, visit.tenant_id, since, visit.user.timezone)
        now = await totals(connection, visit.tenant_id)
        states = await redemptions_by_state(connection, visit.tenant_id, since)
        steps = await first_steps(connection, visit.tenant_id)
    boards, payouts, failing = await asyncio.gather(_standings(visit), _payouts(visit), _failing(visit))
    open_now = sum(states[name] for name in OPEN_STATES)
    figures = _figures(every_day(known, first), now, open_now)
    places = now.places
    chart = [(day_name(day.day), (amount_number(day.issued, places), amount_number(day.spent, places))) for day in figures.days]
    return visit.page(
        "dashboard/show.html",
        figures=figures,
        chart=chart,
        events_chart=[(day_name(day.day), (day.events,)) for day in figures.days],
        states=[(name, f"{number(MOST)}+" if states[name] > MOST else number(states[name])) for name in (*OPEN_STATES, *FINAL_STATES)],
        needs_person=visit.stuck,
        steps=steps,
        sample=SAMPLE.format(url=visit.settings.public_url, now=visit.now.strftime("%Y-%m-%dT%H:%M:%SZ")),
        boards=boards,
        payouts=payouts,
        failing=failing,
        spent_share=_spent_share(figures),
        short=short_number,
    )


routes = [show_dashboard]
