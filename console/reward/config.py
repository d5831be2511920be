"""Reward configs: who gets which items when a window closes or a schedule runs, in rows and in plain words."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.format import listed, number
from console.i18n import N_, _
from console.json_field import amount, whole
from console.request import Form, Visit
from console.reward.config_labels import KINDS, costs, kind_of, lines, plain, warnings

ROOT = "/v1/admin/reward-configs"
KIND_NAMES = {
    "rank": N_("by rank"),
    "top_percent": N_("the best, in percent"),
    "min_score": N_("from a score"),
    "everyone": N_("everybody"),
}


class TierRow(msgspec.Struct, kw_only=True):
    """A line of the editor as it stands in the form. `low` is the first rank, the percentage or the score."""

    name: str = ""
    kind: str = "rank"
    low: str = ""
    high: str = ""
    item_ids: list[str] = []


class RewardConfigValues(msgspec.Struct, kw_only=True):
    """What stands in the form."""

    name: str = ""
    rows: list[TierRow] = []
    budget: list[tuple[str, str]] = []


class Goods(msgspec.Struct, kw_only=True):
    """The items and currencies that a list may name: items by id, names by id."""

    items: dict[str, dict[str, Any]]
    currencies: dict[str, str]

    @property
    def names(self) -> dict[str, str]:
        """All names by id."""
        return self.currencies | {item_id: str(item["name"]) for item_id, item in self.items.items()}


async def goods_of(visit: Visit) -> Goods:
    """The newest 200 items and all currencies."""
    items, currencies = await asyncio.gather(
        visit.api.read("/v1/admin/reward-items", {"limit": 200}), visit.api.read("/v1/admin/currencies", {"limit": 200})
    )
    return Goods(
        items={each["item_id"]: each for each in items["reward_items"]},
        currencies={each["id"]: each["name"] for each in currencies["currencies"]},
    )


def values_of(config: dict[str, Any]) -> RewardConfigValues:
    """The form of a list that exists."""
    rows = []
    for tier in config["tiers"]:
        kind = kind_of(tier)
        low = tier.get("min_rank") if kind == "rank" else tier.get(kind)
        texts = ["" if value is None else str(value) for value in (low, tier.get("max_rank"))]
        rows.append(TierRow(name=tier["name"] or "", kind=kind, low=texts[0], high=texts[1], item_ids=tier["item_ids"]))
    return RewardConfigValues(name=config["name"], rows=rows, budget=[(key, str(limit)) for key, limit in config["budget"].items()])


def values_sent(form: Form) -> RewardConfigValues:
    """The form as it was sent; lines that give nothing and say nothing are gone."""
    rows = []
    for place, kind in enumerate(form.all("kind")):
        given = form.all(f"items-{place}")
        texts = {name: (form.all(name)[place : place + 1] or [""])[0] for name in ("name-of", "low", "high")}
        if given or texts["name-of"] or texts["low"] or texts["high"]:
            rows.append(TierRow(name=texts["name-of"], kind=kind, low=texts["low"], high=texts["high"], item_ids=given))
    budget = zip(form.all("budget_of"), form.all("budget_limit"), strict=False)
    return RewardConfigValues(name=form.text("name"), rows=rows, budget=[(key, limit) for key, limit in budget if key and limit])


def body_of(values: RewardConfigValues) -> dict[str, Any]:
    """The API's body; what is no number goes on as it is, for it to refuse."""
    return {
        "name": values.name,
        "tiers": [_tier(row) for row in values.rows],
        "budget": {key: amount(limit) for key, limit in values.budget},
    }


def _tier(row: TierRow) -> dict[str, Any]:
    tier: dict[str, Any] = {"name": row.name or None, "item_ids": row.item_ids}
    if row.kind == "rank":
        low = whole(row.low) if row.low else 1
        tier |= {"min_rank": low} | ({"max_rank": whole(row.high)} if row.high else {})
    elif row.kind in ("top_percent", "min_score"):
        tier[row.kind] = amount(row.low)
    return tier


def _readable(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The tiers when all their bounds are numbers; None as long as somebody types."""
    bounds = ("min_rank", "max_rank", "top_percent", "min_score")
    broken = any(isinstance(tier.get(name), str) for tier in body["tiers"] for name in bounds)
    return None if broken else body["tiers"]


def _counted(key: str, value: float, goods: Goods) -> str:
    """“24 500 Points”, “10 × Coffee voucher”."""
    sign = " " if key in goods.currencies else " × "
    return f"{number(value)}{sign}{goods.names.get(key, key[:13])}"


def summary_of(body: dict[str, Any], goods: Goods) -> dict[str, Any]:
    """What a page says of a list: its lines in words, what it may cost, and what may not be meant."""
    tiers = _readable(body)
    if tiers is None:
        return {"lines": [], "cost": None, "warnings": [], "unreadable": True}
    cost = costs(tiers, goods.items)
    return {
        "lines": lines(tiers, goods.items, goods.currencies),
        "cost": None if cost is None else [_counted(key, plain(value), goods) for key, value in cost.items()],
        "warnings": warnings(tiers, body["budget"], goods.items, goods.names),
        "unreadable": False,
    }


@get("/reward-configs")
async def list_configs(visit: Visit) -> Response[bytes]:
    """The lists, newest first, each in words."""
    found, goods = await asyncio.gather(visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50}), goods_of(visit))
    for config in found["reward_configs"]:
        config["lines"] = lines(config["tiers"], goods.items, goods.currencies)
        config["at_most"] = listed(_counted(key, limit, goods) for key, limit in config["budget"].items())
    return visit.page(
        "reward_configs/list.html",
        configs=found["reward_configs"],
        next_cursor=found["next_cursor"],
        names=goods.names,
        has_items=bool(goods.items),
    )


@get("/reward-configs/{config_id:uuid}")
async def show_config(visit: Visit, config_id: UUID) -> Response[bytes]:
    """A list: what it gives, who pays by it, and the newest payouts."""
    config, goods, boards, schedules = await asyncio.gather(
        visit.api.read(f"{ROOT}/{config_id}"),
        goods_of(visit),
        visit.api.get("/v1/admin/leaderboards", {"limit": 200}),
        visit.api.get("/v1/admin/schedules", {"limit": 200}),
    )
    return visit.page(
        "reward_configs/show.html",
        config=config,
        said=summary_of(config, goods),
        names=goods.names,
        boards=_payers(boards.body["leaderboards"] if boards.ok else [], config_id),
        schedules=_payers(schedules.body["schedules"] if schedules.ok else [], config_id),
    )


def _payers(found: list[dict[str, Any]], config_id: UUID) -> list[dict[str, Any]]:
    return [each for each in found if each.get("reward_config_id") == str(config_id)]


async def _form(
    visit: Visit, values: RewardConfigValues, *, config: dict[str, Any] | None, error: Refusal | None = None
) -> Response[bytes]:
    goods = await goods_of(visit)
    return visit.page(
        "reward_configs/form.html",
        status=400 if error else 200,
        config=config,
        values=values,
        rows=[*values.rows, TierRow()],
        budget=[*values.budget, ("", "")],
        goods=goods,
        said=summary_of(body_of(values), goods),
        kinds={kind: KIND_NAMES[kind] for kind in KINDS},
        error=error,
        errors=error.fields if error else {},
        version=visit.form.text("version") or (config["version"] if config else ""),
    )


@get("/reward-configs/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new list, with two lines to fill."""
    visit.must_change()
    rows = [TierRow(low="1", high="1"), TierRow(low="2", high="10")]
    return await _form(visit, RewardConfigValues(rows=rows), config=None)


@get("/reward-configs/{config_id:uuid}/edit")
async def show_edit(visit: Visit, config_id: UUID) -> Response[bytes]:
    """The form of a list that exists."""
    visit.must_change()
    config = await visit.api.read(f"{ROOT}/{config_id}")
    return await _form(visit, values_of(config), config=config)


@post("/reward-configs/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again with what it says in words; `for` names the list that is edited."""
    known = visit.form.text("for")
    config = await visit.api.read(f"{ROOT}/{known}") if known else None
    return await _form(visit, values_sent(visit.form), config=config)


@post("/reward-configs")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Make the list."""
    return await _save(visit, None)


@post("/reward-configs/{config_id:uuid}/edit")
async def replace(visit: Visit, config_id: UUID) -> Response[bytes] | Redirect:
    """Replace the list, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"{ROOT}/{config_id}"))


async def _save(visit: Visit, config: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values = values_sent(visit.form)
    reason = visit.form.text("reason")
    if config is None:
        answer = await visit.api.post(ROOT, body_of(values), reason=reason)
    else:
        version = whole(visit.form.text("version"))
        path = f"{ROOT}/{config['reward_config_id']}"
        answer = await visit.api.put(path, body_of(values), reason=reason, version=version if isinstance(version, int) else None)
    if answer.error is not None:
        return await _form(visit, values, config=config, error=answer.error)
    return visit.go(f"/reward-configs/{answer.body['reward_config_id']}", good=_("Saved. Windows that close from now on pay by it."))


@post("/reward-configs/{config_id:uuid}/archive")
async def archive(visit: Visit, config_id: UUID) -> Redirect:
    """Archive the list."""
    answer = await visit.api.delete(f"{ROOT}/{config_id}", reason=visit.form.text("reason"))
    if answer.error is not None:
        return visit.go(f"/reward-configs/{config_id}", bad=answer.error.message)
    return visit.go("/reward-configs", good=_("The reward config is archived."))


routes = [list_configs, show_config, show_new, show_edit, preview, create, replace, archive]
