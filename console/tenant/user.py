"""Users: looking for one, and a user with balances, ledger, tier, grants, redemptions and boards, and what may be done about them."""

import asyncio
from typing import Any
from urllib.parse import quote
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect, Stream

from console.i18n import N_, _
from console.request import Visit
from domain.wire import external_id_problem
from storage.tenant.user_search import newest_users, users_beginning_with

USERS = 50
LINES = 15
KINDS = {
    "earn": N_("earned"),
    "grant": N_("granted"),
    "redeem": N_("redeemed"),
    "refund": N_("refunded"),
    "adjust": N_("adjusted"),
    "expire": N_("expired"),
    "reverse": N_("reversed"),
}


def _root(external_id: str) -> str:
    if external_id_problem(external_id) is not None and not external_id.startswith("erased:"):
        return "/v1/users/-"
    return f"/v1/users/{external_id}"


def _path(external_id: str) -> str:
    return f"/users/{quote(external_id, safe='')}"


@get("/users")
async def list_users(visit: Visit) -> Response[bytes]:
    """Users whose id begins with `q`; without it the newest."""
    beginning, cursor = visit.query("q").strip().replace("\0", ""), visit.query("cursor").replace("\0", "")
    async with visit.pool.connection() as connection:
        if beginning:
            found = await users_beginning_with(connection, visit.tenant_id, beginning, after=cursor, limit=USERS)
        else:
            before = _uuid(cursor)
            found = await newest_users(connection, visit.tenant_id, before=before, limit=USERS)
    more = "" if len(found) < USERS else str(found[-1]["external_id" if beginning else "user_id"])
    return visit.page("users/list.html", users=found, next_cursor=more, q=beginning)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@get("/users/{external_id:str}")
async def show_user(visit: Visit, external_id: str) -> Response[bytes]:
    """A user."""
    root = _root(external_id)
    user = await visit.api.read(root)
    tier, lines, boards, grants, redemptions, tiers, currencies, items = await asyncio.gather(
        visit.api.read(f"{root}/tier", {"limit": 10}),
        visit.api.read(f"{root}/transactions", {"cursor": visit.query("cursor"), "limit": LINES}),
        visit.api.get(f"{root}/leaderboards"),
        visit.api.get(f"{root}/grants", {"limit": 10}),
        visit.api.get(f"{root}/redemptions", {"limit": 10}),
        visit.api.read("/v1/admin/tiers", {"limit": 200}),
        visit.api.read("/v1/admin/currencies", {"limit": 200}),
        visit.api.read("/v1/admin/reward-items", {"limit": 200}),
    )
    return visit.page(
        "users/show.html",
        user=user,
        path=_path(external_id),
        tier=tier,
        lines=lines["transactions"],
        next_cursor=lines["next_cursor"],
        boards=(boards.body or {}).get("leaderboards", []) if boards.ok else [],
        grants=(grants.body or {}).get("grants", []) if grants.ok else [],
        redemptions=(redemptions.body or {}).get("redemptions", []) if redemptions.ok else [],
        tiers=[each["name"] for each in tiers["tiers"]],
        names={each["id"]: each["name"] for each in currencies["currencies"]},
        items={each["item_id"]: each["name"] for each in items["reward_items"]},
        kinds=KINDS,
        is_erased=external_id.startswith("erased:"),
    )


@post("/users/{external_id:str}/adjust")
async def adjust(visit: Visit, external_id: str) -> Redirect:
    """Give or take points; sent twice it counts once."""
    reason = visit.form.text("reason")
    body = {"amount": visit.form.number("amount"), "currency": visit.form.text("currency") or "points", "reason": reason}
    path = f"/v1/admin/users/{external_id}/adjustments"
    answer = await visit.api.post(path, body, reason=reason, idempotency_key=visit.form.text("once"))
    return visit.done(_path(external_id), answer.error, _("Balance adjusted."))


@post("/users/{external_id:str}/reverse/{transfer_id:str}")
async def reverse(visit: Visit, external_id: str, transfer_id: str) -> Redirect:
    """Undo a transfer by another one."""
    reason = visit.form.text("reason")
    answer = await visit.api.post(f"/v1/admin/transfers/{transfer_id}/reverse", {"reason": reason}, reason=reason)
    return visit.done(_path(external_id), answer.error, _("Transfer reversed; both entries stay in the ledger."))


@post("/users/{external_id:str}/tier")
async def give_tier(visit: Visit, external_id: str) -> Redirect:
    """Give a tier by hand, or take it away."""
    reason = visit.form.text("reason")
    body = {"tier": visit.form.text("tier") or None, "reason": reason}
    answer = await visit.api.put(f"/v1/admin/users/{external_id}/tier", body, reason=reason)
    return visit.done(_path(external_id), answer.error, _("Tier set."))


@post("/users/{external_id:str}/give")
async def give_item(visit: Visit, external_id: str) -> Redirect:
    """Give an item by hand; sent twice it counts once."""
    reason = visit.form.text("reason")
    body = {"item_id": visit.form.text("item_id"), "external_ids": [external_id], "reason": reason}
    answer = await visit.api.post("/v1/admin/grants", body, reason=reason, idempotency_key=visit.form.text("once"))
    return visit.done(_path(external_id), answer.error, _("Item granted."))


@get("/users/{external_id:str}/export")
async def export(visit: Visit, external_id: str) -> Stream:
    """Everything held about the user, as a file, however long it is."""
    visit.must_change()
    pieces = await visit.api.stream(f"{_root(external_id)}/export")
    name = quote(external_id, safe="")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''user-{name}.json"}
    return Stream(pieces, media_type="application/json", headers=headers)


@post("/users/{external_id:str}/erase")
async def erase(visit: Visit, external_id: str) -> Redirect:
    """Erase the user, when its id was typed."""
    if visit.form.text("typed") != external_id:
        return visit.go(_path(external_id), bad=_("Type the user's ID to confirm. Nothing was changed."))
    answer = await visit.api.delete(f"/v1/users/{external_id}", reason=visit.form.text("reason"))
    if answer.error is not None:
        return visit.go(_path(external_id), bad=answer.error.message)
    return visit.go("/users", good=_("User erased. Remaining data is being removed."))


routes: list[Any] = [list_users, show_user, adjust, reverse, give_tier, give_item, export, erase]
