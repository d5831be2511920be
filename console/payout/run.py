"""Payout runs, of schedules and of windows: how far they are, whom they pay, stopping one and taking it up again."""

import asyncio
from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import N_, _
from console.request import Visit
from console.temporal_link import workflow_link

ROOT = "/v1/admin/payout-runs"
RECIPIENTS = 50
STATES = ("planning", "paying", "completed", "cancelled", "failed")
SOURCES = {"leaderboard": N_("closed window"), "schedule": N_("schedule")}
TRIGGERS = {
    "schedule": N_("scheduled"),
    "manual": N_("manual"),
    "backfill": N_("backfill"),
    "window": N_("the window closed"),
}


async def item_names(visit: Visit) -> dict[str, str]:
    """The names of the first 200 items, and of all currencies, by id."""
    items, currencies = await names_of_totals(visit)
    return items | currencies


async def names_of_totals(visit: Visit) -> tuple[dict[str, str], dict[str, str]]:
    """The names of the first 200 items and of all currencies, apart: so many times an item is something else than so much of a currency."""
    items, currencies = await asyncio.gather(
        visit.api.read("/v1/admin/reward-items", {"limit": 200}), visit.api.read("/v1/admin/currencies", {"limit": 200})
    )
    return (
        {each["item_id"]: each["name"] for each in items["reward_items"]},
        {each["id"]: each["name"] for each in currencies["currencies"]},
    )


@get("/payout-runs")
async def list_runs(visit: Visit) -> Response[bytes]:
    """The runs, newest first."""
    wanted = {name: visit.query(name) for name in ("status", "source_type", "cursor")}
    found, (items, currencies), listed, ranked = await asyncio.gather(
        visit.api.read(ROOT, {**wanted, "limit": 50}),
        names_of_totals(visit),
        visit.api.read("/v1/admin/schedules", {"limit": 200}),
        visit.api.read("/v1/admin/leaderboards", {"limit": 200}),
    )
    return visit.page(
        "payout_runs/list.html",
        runs=found["payout_runs"],
        next_cursor=found["next_cursor"],
        names=items | currencies,
        items=items,
        schedules={each["schedule_id"]: each["name"] for each in listed["schedules"]},
        boards={each["leaderboard_id"]: each["name"] for each in ranked["leaderboards"]},
        states=STATES,
        sources=SOURCES,
        triggers=TRIGGERS,
    )


@get("/payout-runs/{run_id:str}")
async def show_run(visit: Visit, run_id: str) -> Response[bytes]:
    """A run with its progress and its recipients."""
    wanted = {"state": visit.query("state"), "cursor": visit.query("cursor"), "limit": RECIPIENTS}
    # The run first: a page that says that it is over is not asked for again, so its recipients must be the last word.
    run, (items, currencies) = await asyncio.gather(visit.api.read(f"{ROOT}/{run_id}"), names_of_totals(visit))
    recipients = await visit.api.read(f"{ROOT}/{run_id}/recipients", wanted)
    schedule: dict[str, Any] | None = None
    if run["schedule_id"]:
        answer = await visit.api.get(f"/v1/admin/schedules/{run['schedule_id']}")
        schedule = answer.body if answer.ok else None
    board: dict[str, Any] | None = None
    if run["leaderboard_id"]:
        answer = await visit.api.get(f"/v1/admin/leaderboards/{run['leaderboard_id']}")
        board = answer.body if answer.ok else None
    return visit.page(
        "payout_runs/show.html",
        run=run,
        board=board,
        items=items,
        recipients=recipients["recipients"],
        next_cursor=recipients["next_cursor"],
        schedule=schedule,
        names=items | currencies,
        sources=SOURCES,
        triggers=TRIGGERS,
        under_way=run["status"] in ("planning", "paying"),
        temporal=workflow_link(visit.settings, run["workflow_id"]),
    )


@post("/payout-runs/{run_id:str}/cancel")
async def cancel(visit: Visit, run_id: str) -> Redirect:
    """Stop before the next page."""
    answer = await visit.api.post(f"{ROOT}/{run_id}/cancel", reason=visit.form.text("reason"))
    return visit.done(f"/payout-runs/{run_id}", answer.error, _("It stops before its next page. Payments already made stay."))


@post("/payout-runs/{run_id:str}/retry")
async def retry(visit: Visit, run_id: str) -> Redirect:
    """Take up a run that stopped."""
    answer = await visit.api.post(f"{ROOT}/{run_id}/retry", reason=visit.form.text("reason"))
    return visit.done(f"/payout-runs/{run_id}", answer.error, _("The payout resumes where it stopped. Nobody is paid twice."))


routes = [list_runs, show_run, cancel, retry]
