"""Reward items: what leaderboards, schedules and staff give, and how it reaches the user."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.i18n import N_, _
from console.json_field import amount, decoded, json_text, pretty_text, refusal_of, value_of
from console.request import Form, Visit
from console.reward.code import import_codes

ROOT = "/v1/admin/reward-items"
HOUR = 3_600
TYPES = ("points", "currency", "badge", "item", "voucher", "physical_item", "bonus_credit")
WAYS = {
    "": N_("as its type has it"),
    "wallet": N_("credited to the wallet at once"),
    "recorded": N_("recorded, nothing is sent"),
    "webhook": N_("sent to a partner by webhook"),
    "codes": N_("a code of its pool"),
    "manual": N_("a person sees to it"),
}


class RewardItemValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text. `hours` is the deadline."""

    name: str = ""
    description: str = ""
    reward_type: str = "points"
    reward_value: str = ""
    currency: str = ""
    payload: str = ""
    fulfilment: str = ""
    endpoint_id: str = ""
    hours: str = ""
    answer_is_callback: bool = False


def values_of(item: dict[str, Any]) -> RewardItemValues:
    """The form of an item that exists."""
    way, payload = item["fulfilment"], dict(item["payload"])
    currency = str(payload.pop("currency", "")) if item["reward_type"] == "currency" else ""
    value = item["reward_value"]
    return RewardItemValues(
        name=item["name"],
        description=item["description"] or "",
        reward_type=item["reward_type"],
        reward_value=value if isinstance(value, str) else json_text(value),
        currency=currency,
        payload=pretty_text(payload),
        fulfilment=way["type"],
        endpoint_id=way["endpoint_id"] or "",
        hours=f"{way['deadline_seconds'] / HOUR:g}",
        answer_is_callback=way["answer_is_callback"],
    )


def values_sent(form: Form) -> RewardItemValues:
    """The form as it was sent."""
    names = [name for name in RewardItemValues.__struct_fields__ if name != "answer_is_callback"]
    return RewardItemValues(**{name: form.text(name) for name in names}, answer_is_callback=form.ticked("answer_is_callback"))


def body_of(values: RewardItemValues, errors: dict[str, str]) -> dict[str, Any]:
    """The API's body; what cannot be read goes into `errors`."""
    payload = decoded(values.payload, "payload", errors, empty={})
    if values.reward_type == "currency" and isinstance(payload, dict):
        payload = payload | {"currency": values.currency}
    body: dict[str, Any] = {
        "name": values.name,
        "description": values.description or None,
        "reward_type": values.reward_type,
        "reward_value": value_of(values.reward_value),
        "payload": payload,
    }
    if values.fulfilment:
        way: dict[str, Any] = {"type": values.fulfilment, "answer_is_callback": values.answer_is_callback}
        if values.endpoint_id and values.fulfilment == "webhook":
            way["endpoint_id"] = values.endpoint_id
        if values.hours:
            hours = amount(values.hours)
            way["deadline_seconds"] = hours if isinstance(hours, str) else round(hours * HOUR)
        body["fulfilment"] = way
    return body


@get("/reward-items")
async def list_items(visit: Visit) -> Response[bytes]:
    """The items, newest first."""
    found = await visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50})
    return visit.page("reward_configs/items.html", items=found["reward_items"], next_cursor=found["next_cursor"], ways=WAYS)


async def _form(visit: Visit, values: RewardItemValues, *, item: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    currencies, endpoints = await asyncio.gather(
        visit.api.read("/v1/admin/currencies", {"limit": 200}), visit.api.get("/v1/admin/webhook-endpoints", {"limit": 200})
    )
    codes = None
    if item is not None and item["fulfilment"]["type"] == "codes":
        codes = await visit.api.read(f"{ROOT}/{item['item_id']}/codes")
    return visit.page(
        "reward_configs/item_form.html",
        status=400 if error else 200,
        item=item,
        values=values,
        types=TYPES,
        ways=WAYS,
        currencies={each["id"]: each["name"] for each in currencies["currencies"]},
        endpoints=_endpoint_names(endpoints.body["webhook_endpoints"] if endpoints.ok else []),
        codes=codes,
        error=error,
        errors=error.fields if error else {},
        version=visit.form.text("version") or (item["version"] if item else ""),
    )


def _endpoint_names(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {each["endpoint_id"]: each.get("description") or each["url"] for each in rows}


@get("/reward-items/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new item."""
    visit.must_change()
    return await _form(visit, RewardItemValues(), item=None)


@get("/reward-items/{item_id:uuid}")
async def show_item(visit: Visit, item_id: UUID) -> Response[bytes]:
    """An item: its form, which a viewer cannot send, and its codes."""
    item = await visit.api.read(f"{ROOT}/{item_id}")
    return await _form(visit, values_of(item), item=item)


@post("/reward-items")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Make the item."""
    return await _save(visit, None)


@post("/reward-items/{item_id:uuid}")
async def replace(visit: Visit, item_id: UUID) -> Response[bytes] | Redirect:
    """Replace the item, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"{ROOT}/{item_id}"))


async def _save(visit: Visit, item: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values, unreadable = values_sent(visit.form), dict[str, str]()
    body = body_of(values, unreadable)
    if refusal := refusal_of(unreadable):
        return await _form(visit, values, item=item, error=refusal)
    reason = visit.form.text("reason")
    if item is None:
        answer = await visit.api.post(ROOT, body, reason=reason)
    else:
        text = visit.form.text("version")
        version = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
        answer = await visit.api.put(f"{ROOT}/{item['item_id']}", body, reason=reason, version=version)
    if answer.error is not None:
        return await _form(visit, values, item=item, error=answer.error)
    return visit.go(f"/reward-items/{answer.body['item_id']}", good=_("Saved. What was given stays as it was given."))


@post("/reward-items/{item_id:uuid}/codes")
async def bring_codes(visit: Visit, item_id: UUID) -> Redirect:
    """Put codes into the item's pool, one on a line."""
    refused, done = await import_codes(visit, f"{ROOT}/{item_id}/codes", {})
    return visit.done(f"/reward-items/{item_id}", refused, done)


@post("/reward-items/{item_id:uuid}/archive")
async def archive(visit: Visit, item_id: UUID) -> Redirect:
    """Archive the item."""
    answer = await visit.api.delete(f"{ROOT}/{item_id}", reason=visit.form.text("reason"))
    if answer.error is not None:
        return visit.go(f"/reward-items/{item_id}", bad=answer.error.message)
    return visit.go("/reward-items", good=_("The item is archived."))


routes = [list_items, show_item, show_new, create, replace, bring_codes, archive]
