"""Rewards of the store: the list, and a reward with its stock, its codes, what it sends, and what may be done to it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Answer
from console.format import number
from console.i18n import N_, _
from console.json_field import whole
from console.request import Visit
from console.reward.code import import_codes
from console.reward.reward_form import KINDS, PERIODS, example_body
from domain.reward.reward import parse_reward
from storage.reward.sale import MOST, redeemed_since

ROOT = "/v1/admin/rewards"
SOLD_DAYS = 30
STATES = {
    "on_sale": N_("on sale"),
    "sold_out": N_("sold out"),
    "no_codes": N_("no codes left"),
    "coming": N_("not yet"),
    "over": N_("ended"),
    "off": N_("inactive"),
    "granted": N_("grant only"),
}
COLOURS = {
    "on_sale": "active",
    "sold_out": "failed",
    "no_codes": "pending",
    "coming": "open",
    "over": "",
    "off": "",
    "granted": "processing",
}


def state_of(reward: dict[str, Any], now: datetime) -> str:
    """Whether users can have the reward now, and if not, why."""
    if not reward["active"]:
        return "off"
    begins = [datetime.fromisoformat(reward[name]) for name in ("visible_from", "available_from") if reward[name]]
    ends = [datetime.fromisoformat(reward[name]) for name in ("visible_until", "available_until") if reward[name]]
    if any(end <= now for end in ends):
        return "over"
    if any(begin > now for begin in begins):
        return "coming"
    stocks = [each["stock"] if each["stock"] is not None else reward["stock"] for each in reward["variants"]] or [reward["stock"]]
    if all(stock == 0 for stock in stocks):
        return "no_codes" if reward["fulfilment"]["type"] == "codes" else "sold_out"
    return "on_sale" if reward["prices"] or any(each["prices"] for each in reward["variants"]) else "granted"


def is_low(stock: int | None, reward: dict[str, Any]) -> bool:
    """Whether so few are left that the reward's `low_stock` says so."""
    level = reward["config"].get("low_stock")
    return stock is not None and (stock == 0 or (isinstance(level, int) and stock <= level))


def _sold(found: dict[UUID, int], reward_id: str) -> str:
    count = found.get(UUID(reward_id), 0)
    return f"{number(MOST)}+" if count > MOST else number(count)


@get("/rewards")
async def list_rewards(visit: Visit) -> Response[bytes]:
    """The rewards, newest first."""
    found = await visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50})
    async with visit.pool.connection() as connection:
        wanted = [UUID(each["reward_id"]) for each in found["rewards"]]
        sold = await redeemed_since(connection, visit.tenant_id, wanted, visit.now - timedelta(days=SOLD_DAYS))
    return visit.page(
        "rewards/list.html",
        rewards=found["rewards"],
        next_cursor=found["next_cursor"],
        sold=lambda reward: _sold(sold, reward["reward_id"]),
        state_of=lambda reward: state_of(reward, visit.now),
        is_low=is_low,
        states=STATES,
        colours=COLOURS,
        kinds=KINDS,
    )


@get("/rewards/{reward_id:str}")
async def show_reward(visit: Visit, reward_id: str) -> Response[bytes]:
    """A reward."""
    reward = await visit.api.read(f"{ROOT}/{reward_id}")
    path = f"{ROOT}/{reward['reward_id']}"
    is_codes = reward["fulfilment"]["type"] == "codes"
    recent, codes = await asyncio.gather(
        visit.api.get("/v1/admin/redemptions", {"reward_id": reward["reward_id"], "limit": 10}),
        visit.api.get(f"{path}/codes") if is_codes else _nothing(),
    )
    async with visit.pool.connection() as connection:
        since = visit.now - timedelta(days=SOLD_DAYS)
        sold = await redeemed_since(connection, visit.tenant_id, [UUID(reward["reward_id"])], since)
    written = {name: value for name, value in reward.items() if name not in ("reward_id", "version", "created_at", "updated_at")}
    if is_codes:
        written |= {"stock": None, "variants": [{**each, "stock": None} for each in reward["variants"]]}
    return visit.page(
        "rewards/show.html",
        reward=reward,
        state=state_of(reward, visit.now),
        states=STATES,
        colours=COLOURS,
        kinds=KINDS,
        periods=PERIODS,
        is_low=is_low,
        sold=_sold(sold, reward["reward_id"]),
        recent=(recent.body or {}).get("redemptions", []) if recent.ok else [],
        codes=codes.body if is_codes and codes.ok else None,
        body=example_body(parse_reward(written), UUID(reward["reward_id"]), visit.now),
    )


async def _nothing() -> Answer:
    return Answer(status=204)


@post("/rewards/{reward_id:str}/stock")
async def adjust_stock(visit: Visit, reward_id: str) -> Redirect:
    """Set the stock; what was sold since the page was shown is taken off."""
    reward = await visit.api.read(f"{ROOT}/{reward_id}")
    wanted, was = visit.form.text("stock"), visit.form.text("stock_was")
    stock: Any = whole(wanted) if wanted else None
    shown = whole(was)
    if isinstance(stock, int) and isinstance(shown, int) and isinstance(reward["stock"], int):
        stock = max(0, reward["stock"] + stock - shown)
    answer = await visit.api.patch(f"{ROOT}/{reward['reward_id']}", {"stock": stock}, reason=visit.form.text("reason"))
    return visit.done(f"/rewards/{reward['reward_id']}", answer.error, _("Stock updated."))


@post("/rewards/{reward_id:str}/switch")
async def switch(visit: Visit, reward_id: str) -> Redirect:
    """Take the reward off sale, or put it on sale again."""
    on = visit.form.text("active") == "yes"
    answer = await visit.api.patch(f"{ROOT}/{reward_id}", {"active": on}, reason=visit.form.text("reason"))
    return visit.done(f"/rewards/{reward_id}", answer.error, _("Reward activated.") if on else _("Reward deactivated."))


@post("/rewards/{reward_id:str}/archive")
async def archive(visit: Visit, reward_id: str) -> Redirect:
    """Take the reward out of the store."""
    answer = await visit.api.delete(f"{ROOT}/{reward_id}", reason=visit.form.text("reason"))
    return visit.done("/rewards", answer.error, _("Reward archived. Its redemptions continue."))


@post("/rewards/{reward_id:str}/codes")
async def bring_codes(visit: Visit, reward_id: str) -> Redirect:
    """Import codes into the reward's pool, or into that of a variant."""
    variant = visit.form.text("variant_id")
    refused, done = await import_codes(visit, f"{ROOT}/{reward_id}/codes", {"variant_id": variant} if variant else {})
    return visit.done(f"/rewards/{reward_id}", refused, done)


routes = [list_rewards, show_reward, adjust_stock, switch, archive, bring_codes]
