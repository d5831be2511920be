"""Payout schedules: the list, and a schedule with its next runs, what it would pay, its runs and what may be done to it."""

import asyncio
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Answer
from console.i18n import _, ngettext
from console.json_field import instant_text
from console.payout.schedule_form import choices_for
from console.payout.schedule_labels import audience_words, coming_runs, tier_words, when_words
from console.request import Visit
from console.temporal_link import schedule_link
from storage.payout.run_list import latest_runs

SHOWN_RUNS = 20
ROOT = "/v1/admin/schedules"


@get("/schedules")
async def list_schedules(visit: Visit) -> Response[bytes]:
    """The schedules with their next run and the last result."""
    found, boards = await asyncio.gather(
        visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50}), visit.api.read("/v1/admin/leaderboards", {"limit": 200})
    )
    names = {board["leaderboard_id"]: board["name"] for board in boards["leaderboards"]}
    async with visit.pool.connection() as connection:
        runs = await latest_runs(connection, visit.tenant_id, [UUID(each["schedule_id"]) for each in found["schedules"]])
    return visit.page(
        "schedules/list.html",
        schedules=found["schedules"],
        next_cursor=found["next_cursor"],
        last={str(schedule_id): run for schedule_id, run in runs.items()},
        when_words=when_words,
        audience_words=lambda audience: audience_words(audience, names),
    )


@get("/schedules/{schedule_id:str}")
async def show_schedule(visit: Visit, schedule_id: str) -> Response[bytes]:
    """A schedule; with `who` also whom it would pay now."""
    path = f"{ROOT}/{schedule_id}"
    schedule, runs, choices = await asyncio.gather(
        visit.api.read(path),
        visit.api.read(f"{path}/runs", {"cursor": visit.query("cursor"), "limit": SHOWN_RUNS}),
        choices_for(visit),
    )
    asked: Answer | None = None
    if visit.query("who"):
        asked = await visit.api.post(f"{path}/preview", {})
    config = choices.configs.get(schedule["reward_config_id"] or "")
    each = " + ".join(choices.items.get(item_id, item_id) for item_id in schedule["item_ids"] or [])
    return visit.page(
        "schedules/show.html",
        schedule=schedule,
        runs=runs["runs"],
        next_cursor=runs["next_cursor"],
        coming=coming_runs(schedule["when"], visit.now),
        when=when_words(schedule["when"]),
        when_words=when_words,
        audience=audience_words(schedule["audience"], choices.boards),
        config=config,
        gives=[tier_words(tier, choices.items) for tier in config["tiers"]] if config else [_("Each of them: %(items)s", items=each)],
        names=choices.items | choices.currencies,
        asked=asked,
        temporal=schedule_link(visit.settings, schedule["temporal_schedule_id"]),
    )


@post("/schedules/{schedule_id:str}/run")
async def run_now(visit: Visit, schedule_id: str) -> Redirect:
    """Run it now; sent twice it runs once."""
    answer = await visit.api.post(
        f"{ROOT}/{schedule_id}/trigger", {}, reason=visit.form.text("reason"), idempotency_key=visit.form.text("once")
    )
    if answer.error is not None:
        return visit.go(f"/schedules/{schedule_id}", bad=answer.error.message)
    return visit.go(f"/payout-runs/{answer.body['run_id']}", good=_("Run started. This page updates live."))


@post("/schedules/{schedule_id:str}/pause")
async def pause(visit: Visit, schedule_id: str) -> Redirect:
    """Let instants pass unpaid."""
    reason = visit.form.text("reason")
    answer = await visit.api.post(f"{ROOT}/{schedule_id}/pause", {"note": reason or None}, reason=reason)
    return visit.done(f"/schedules/{schedule_id}", answer.error, _("Paused: scheduled runs are skipped until you resume."))


@post("/schedules/{schedule_id:str}/resume")
async def resume(visit: Visit, schedule_id: str) -> Redirect:
    """Pay again from now on."""
    reason = visit.form.text("reason")
    answer = await visit.api.post(f"{ROOT}/{schedule_id}/resume", {"note": reason or None}, reason=reason)
    return visit.done(f"/schedules/{schedule_id}", answer.error, _("Resumed."))


@post("/schedules/{schedule_id:str}/backfill")
async def backfill(visit: Visit, schedule_id: str) -> Redirect:
    """Pay what passed unpaid."""
    body = {"from": instant_text(visit.form.text("from"), visit.zone), "to": instant_text(visit.form.text("to"), visit.zone)}
    answer = await visit.api.post(
        f"{ROOT}/{schedule_id}/backfill", body, reason=visit.form.text("reason"), idempotency_key=visit.form.text("once")
    )
    good = ""
    if answer.ok:
        made, had = len(answer.body["instants"]), len(answer.body["skipped"])
        good = ngettext("%(num)s run started.", "%(num)s runs started.", made)
        good += " " + _("%(n)s already existed.", n=had) if had else ""
    return visit.done(f"/schedules/{schedule_id}", answer.error, good)


@post("/schedules/{schedule_id:str}/delete")
async def delete(visit: Visit, schedule_id: str) -> Redirect:
    """End the schedule."""
    answer = await visit.api.delete(f"{ROOT}/{schedule_id}", reason=visit.form.text("reason"))
    return visit.done("/schedules", answer.error, _("Schedule deleted. Payments already made stay."))


routes = [list_schedules, show_schedule, run_now, pause, resume, backfill, delete]
