"""Redemptions: the list with its filters, and one redemption with all that happened to it and all that may be done."""

import asyncio
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect, Stream

from console.format import day_start
from console.i18n import N_, _
from console.redemption.redemption_timeline import (
    FULFILMENTS,
    SENTENCES,
    acts_for,
    flag_word,
    next_states,
    past_states,
    steps_ahead,
    timeline_of,
)
from console.request import Visit
from console.temporal_link import workflow_link
from console.webhook.labels import attempt_tone, outcome_of
from domain.redemption.redemption import FINAL, RedemptionFlag, RedemptionState
from domain.wire import amount_number
from storage.redemption.points import ledger_effect
from storage.redemption.redemption import find_redemption

ROWS = 50
REWARDS = 200
DELIVERIES = 10
"""So many deliveries are shown with their attempts; the list of deliveries has the rest."""

DONE = {
    "approve": N_("Approved. Fulfilment has started."),
    "reject": N_("Rejected. Points refunded."),
    "cancel": N_("Cancelled. Points refunded."),
    "fulfil": N_("Fulfilled. Points spent."),
    "fail": N_("Marked as failed. Points refunded."),
    "reverse": N_("Reversed. Points refunded."),
    "resend": N_("Webhook queued for resending."),
}


def _wanted(visit: Visit) -> dict[str, str]:
    """The page's filters as the API takes them; the last day counts as a whole."""
    return {
        "status": visit.query("status"),
        "flag": visit.query("flag"),
        "reward_id": visit.query("reward"),
        "user_id": visit.query("user"),
        "from": day_start(visit.query("from"), visit.zone),
        "to": day_start(visit.query("to"), visit.zone, days=1),
    }


@get("/redemptions")
async def list_redemptions(visit: Visit) -> Response[bytes]:
    """Newest first; a filter that the API refuses (an unknown user) finds nothing and says why."""
    wanted = _wanted(visit)
    answer, rewards = await asyncio.gather(
        visit.api.get("/v1/admin/redemptions", {**wanted, "cursor": visit.query("cursor"), "limit": ROWS}),
        visit.api.get("/v1/admin/rewards", {"limit": REWARDS}),
    )
    found = answer.body if answer.ok else {"redemptions": [], "next_cursor": None}
    filters = {name: visit.query(name) for name in ("status", "flag", "reward", "user", "from", "to") if visit.query(name)}
    return visit.page(
        "redemptions/list.html",
        redemptions=found["redemptions"],
        next_cursor=found["next_cursor"],
        refused=answer.error,
        rewards=rewards.body["rewards"] if rewards.ok else [],
        states=[state.value for state in RedemptionState],
        flags=[flag.value for flag in RedemptionFlag],
        flag_word=flag_word,
        csv="/console/redemptions.csv" + (f"?{urlencode(filters)}" if filters else ""),
        finals=FINAL,
        filtered=bool(filters),
    )


@get("/redemptions.csv")
async def export_redemptions(visit: Visit) -> Stream:
    """What the filters find, all of it, as it is read."""
    pieces = await visit.api.stream("/v1/admin/redemptions/export", _wanted(visit))
    headers = {"content-disposition": 'attachment; filename="redemptions.csv"'}
    return Stream(pieces, media_type="text/csv", headers=headers)


async def _deliveries(visit: Visit, redemption_id: str) -> tuple[list[dict[str, Any]], bool]:
    """The redemption's deliveries with their attempts, the oldest first, and whether there are more."""
    listed = await visit.api.read("/v1/admin/deliveries", {"redemption_id": redemption_id, "limit": DELIVERIES})
    rows = list(reversed(listed["deliveries"]))
    pages = await asyncio.gather(*(visit.api.read(f"/v1/admin/deliveries/{each['delivery_id']}") for each in rows))
    return list(pages), bool(listed["next_cursor"])


@get("/redemptions/{redemption_id:str}")
async def show_redemption(visit: Visit, redemption_id: str) -> Response[bytes]:
    """State diagram, timeline, ledger effect, deliveries and facts of one redemption."""
    document = await visit.api.read(f"/v1/redemptions/{redemption_id}")
    identity = UUID(document["redemption_id"])
    (deliveries, more), endpoints = await asyncio.gather(
        _deliveries(visit, document["redemption_id"]), visit.api.get("/v1/admin/webhook-endpoints", {"limit": 200})
    )
    async with visit.pool.connection() as connection:
        redemption = await find_redemption(connection, visit.tenant_id, identity)
        entries = await ledger_effect(connection, visit.tenant_id, identity)
    # Copies to other subscribers are shown, but only the fulfilment's own delivery is part of the story.
    own = {each["delivery_id"] for each in document["deliveries"]}
    final, ahead = document["status"] in FINAL, steps_ahead(redemption)
    return visit.page(
        "redemptions/show.html",
        r=document,
        past=past_states(document),
        ahead=ahead,
        coming=next_states(document, ahead),
        sentence=_(SENTENCES[redemption.status]),
        timeline=timeline_of(document, [each for each in deliveries if each["delivery_id"] in own]),
        acts=acts_for(redemption, document),
        fulfilment=redemption.fulfilment,
        fulfilment_word=_(FULFILMENTS.get(redemption.fulfilment.get("type", ""), "–")),
        entries=entries,
        amount_number=amount_number,
        deliveries=deliveries,
        own=own,
        more_deliveries=more,
        urls={each["endpoint_id"]: each["url"] for each in (endpoints.body or {}).get("webhook_endpoints", [])} if endpoints.ok else {},
        outcome=outcome_of,
        tone=attempt_tone,
        flag_word=flag_word,
        final=final,
        late=not final and redemption.deadline_at is not None and redemption.deadline_at < visit.now,
        workflow_url=workflow_link(visit.settings, document["workflow_id"]),
    )


@post("/redemptions/{redemption_id:str}/{act:str}")
async def act_on_redemption(visit: Visit, redemption_id: str, act: str) -> Redirect:
    """Approve, reject, fulfil, fail, resend, cancel or reverse it; or take on what is fulfilled by hand."""
    path, reason = f"/redemptions/{quote(redemption_id, safe='')}", visit.form.text("reason")
    if act == "take-on":
        answer = await visit.api.patch(f"/v1/admin/rewards{path}", {"status": "processing"}, reason=reason)
        return visit.done(path, answer.error, _("It's yours. Mark it fulfilled once the user has it."))
    if act not in DONE:
        return visit.go(path, bad=_("Unknown action."))
    body: dict[str, Any] = {"reason": reason or None}
    if act == "fulfil" and visit.form.text("value"):
        body["fulfillment_data"] = {visit.form.text("name") or "code": visit.form.text("value")}
    answer = await visit.api.post(f"/v1/admin{path}/{act}", body, reason=reason)
    return visit.done(path, answer.error, _(DONE[act]))


routes = [list_redemptions, export_redemptions, show_redemption, act_on_redemption]
