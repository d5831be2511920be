"""The editor of rewards in the store: the webhook's body that a redemption would send, before anything is saved."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.i18n import N_, _
from console.json_field import (
    amount,
    decoded,
    instant_text,
    json_text,
    local_text,
    pretty_text,
    refusal_of,
    value_of,
    value_text,
    whole,
)
from console.request import Form, Visit
from domain.errors import DomainError
from domain.redemption.redemption import Redemption, RedemptionState
from domain.redemption.webhook_body import reward_redeemed
from domain.reward.reward import DEFAULT_DEADLINE_SECONDS, RewardBody, parse_reward

ROOT = "/v1/admin/rewards"
KINDS = {
    "webhook": N_("partner webhook"),
    "wallet": N_("credited to the wallet"),
    "codes": N_("a code from the imported pool"),
    "manual": N_("manual"),
}
UNITS = {"60": N_("minutes"), "3600": N_("hours"), "86400": N_("days")}
PERIODS = {"ever": N_("ever"), "day": N_("a day"), "week": N_("a week"), "month": N_("a month")}
FIELD_TYPES = ("text", "textarea", "email", "tel", "url", "date", "number", "integer", "boolean")
INSTANTS = ("visible_from", "visible_until", "available_from", "available_until")
ROWS = {
    "price": ("currency", "amount"),
    "variant": ("id", "name", "prices", "stock", "stock_was", "value"),
    "field": ("name", "label", "type", "required", "pattern"),
}
SAMPLE_ID = UUID("01980000-0000-7000-8000-000000000001")
SAMPLES: dict[str, Any] = {
    "email": "lan@example.com",
    "tel": "+84 90 000 0000",
    "phone": "+84 90 000 0000",
    "url": "https://example.com",
    "date": "2026-01-31",
    "number": 1.5,
    "integer": 1,
    "boolean": True,
}

Row = dict[str, str]


class RewardValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text; made from a reward, or from what a person sent."""

    name: str = ""
    slug: str = ""
    description: str = ""
    image_url: str = ""
    active: bool = True
    type: str = "voucher"
    value: str = ""
    price: list[Row] = []
    variant: list[Row] = []
    field: list[Row] = []
    stock: str = ""
    stock_was: str = ""
    low_stock: str = ""
    max_per_user: str = ""
    per_user_period: str = "ever"
    visible_from: str = ""
    visible_until: str = ""
    available_from: str = ""
    available_until: str = ""
    eligibility: str = ""
    requires_claim: bool = False
    requires_approval: bool = False
    fulfilment: str = "webhook"
    endpoint_id: str = ""
    deadline: str = "3"
    unit: str = "86400"
    answer_is_callback: bool = False
    config: str = ""


class RewardPreview(msgspec.Struct, kw_only=True):
    """The webhook's body, or why the reward cannot be like this."""

    errors: dict[str, str] = {}
    body: str = ""
    reward: RewardBody | None = None


def prices_text(prices: list[dict[str, Any]] | None) -> str:
    """The prices of a variant as a person writes them: `900 points, 5 coins`."""
    return ", ".join(f"{each['amount']} {each['currency']}" for each in prices or [])


def prices_of_text(text: str) -> list[dict[str, Any]] | None:
    """The same, read; None for nothing. What is no price goes on as it is, for the API to refuse."""
    prices = []
    for part in text.replace(";", ",").split(","):
        number, _space, currency = part.strip().partition(" ")
        if number:
            prices.append({"currency": currency.strip() or "points", "amount": amount(number)})
    return prices or None


def values_of(reward: dict[str, Any], zone: ZoneInfo) -> RewardValues:
    """The form of a reward that exists."""
    fulfilment, config = reward["fulfilment"], dict(reward["config"])
    seconds = fulfilment["deadline_seconds"]
    unit = next((size for size in (86_400, 3600, 60) if seconds % size == 0), 1)
    low_stock = config.pop("low_stock", None)
    stock = "" if reward["stock"] is None or fulfilment["type"] == "codes" else str(reward["stock"])
    names = ("name", "slug", "active", "type", "per_user_period", "requires_claim", "requires_approval")
    same: dict[str, Any] = {name: reward[name] for name in names}
    same |= {name: local_text(reward[name], zone) for name in INSTANTS}
    return RewardValues(
        **same,
        description=reward["description"] or "",
        image_url=reward["image_url"] or "",
        value=value_text(reward["value"]),
        price=[{"currency": each["currency"], "amount": str(each["amount"])} for each in reward["prices"]],
        variant=[_variant_row(each, fulfilment["type"]) for each in reward["variants"]],
        field=[_field_row(each) for each in reward["fields"]],
        stock=stock,
        stock_was=stock,
        low_stock="" if low_stock is None else str(low_stock),
        max_per_user=str(reward["max_per_user"] or ""),
        eligibility=json_text(reward["eligibility"]),
        fulfilment=fulfilment["type"],
        endpoint_id=fulfilment["endpoint_id"] or "",
        deadline=str(seconds // unit),
        unit=str(unit),
        answer_is_callback=fulfilment["answer_is_callback"],
        config=pretty_text(config),
    )


def _variant_row(variant: dict[str, Any], kind: str) -> Row:
    stock = "" if variant["stock"] is None or kind == "codes" else str(variant["stock"])
    return {
        "id": variant["id"],
        "name": variant["name"],
        "prices": prices_text(variant["prices"]),
        "stock": stock,
        "stock_was": stock,
        "value": value_text(variant["value"]),
    }


def _field_row(field: dict[str, Any]) -> Row:
    return {
        "name": field["name"],
        "label": field.get("label") or "",
        "type": field.get("type", "text"),
        "required": "yes" if field.get("required") else "no",
        "pattern": field.get("pattern") or "",
    }


def values_sent(form: Form) -> RewardValues:
    """The form as it was sent; rows that were left empty are gone."""
    given: dict[str, Any] = {}
    for name in RewardValues.__struct_fields__:
        if name in ROWS:
            columns = [form.all(f"{name}_{part}") for part in ROWS[name]]
            rows = [dict(zip(ROWS[name], row, strict=True)) for row in zip(*columns, strict=False)]
            key = {"price": "amount", "variant": "id", "field": "name"}[name]
            given[name] = [row for row in rows if row[key]]
        elif isinstance(getattr(RewardValues(), name), bool):
            given[name] = form.ticked(name)
        else:
            given[name] = form.text(name)
    return RewardValues(**given)


def body_of(values: RewardValues, zone: ZoneInfo, errors: dict[str, str], present: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The API's body of POST and PUT; what cannot be read goes into `errors`. `present` is the reward that is edited.

    Stock that nobody touched in the form is what sales have made of it since.
    """
    known = present or {}
    stock_now = {each["id"]: each["stock"] for each in known.get("variants", [])}
    config = decoded(values.config, "config", errors, empty={})
    if values.low_stock and isinstance(config, dict):
        config = config | {"low_stock": whole(values.low_stock)}
    same = ("name", "slug", "active", "requires_claim", "requires_approval")
    return {
        **{name: getattr(values, name) for name in same},
        **{name: instant_text(getattr(values, name), zone, known.get(name)) for name in INSTANTS},
        "description": values.description or None,
        "image_url": values.image_url or None,
        "type": values.type or "item",
        "value": value_of(values.value),
        "prices": [{"currency": each["currency"], "amount": amount(each["amount"])} for each in values.price],
        "variants": [
            {
                "id": each["id"],
                "name": each["name"],
                "prices": prices_of_text(each["prices"]),
                "stock": _stock(each["stock"], each["stock_was"], stock_now.get(each["id"]), values.fulfilment),
                "value": value_of(each["value"]),
            }
            for each in values.variant
        ],
        "stock": _stock(values.stock, values.stock_was, known.get("stock"), values.fulfilment),
        "max_per_user": whole(values.max_per_user) if values.max_per_user else None,
        "per_user_period": values.per_user_period or "ever",
        "eligibility": decoded(values.eligibility, "eligibility", errors),
        "fields": [_field_of(each) for each in values.field],
        "fulfilment": _fulfilment_of(values),
        "config": config,
    }


def _stock(text: str, was: str, now: int | None, kind: str) -> Any:
    if kind == "codes" or not text:
        return None
    wanted, shown = whole(text), whole(was)
    if now is not None and isinstance(wanted, int) and isinstance(shown, int):
        return max(0, now + wanted - shown)
    return wanted


def _field_of(row: Row) -> dict[str, Any]:
    return {
        "name": row["name"],
        "label": row["label"] or None,
        "type": row["type"] or "text",
        "required": row["required"] == "yes",
        "pattern": row["pattern"] or None,
    }


def _fulfilment_of(values: RewardValues) -> dict[str, Any]:
    fulfilment: dict[str, Any] = {"type": values.fulfilment or "webhook"}
    deadline = amount(values.deadline) if values.deadline else None
    unit = whole(values.unit)
    if isinstance(deadline, int | float) and isinstance(unit, int):
        fulfilment["deadline_seconds"] = round(deadline * unit)
    elif deadline is not None:
        fulfilment["deadline_seconds"] = deadline
    if fulfilment["type"] == "webhook":
        fulfilment |= {"endpoint_id": values.endpoint_id or None, "answer_is_callback": values.answer_is_callback}
    return fulfilment


def example_body(reward: RewardBody, reward_id: UUID, now: datetime) -> str:
    """The webhook's body that a redemption of the reward would send, what users fill in is made up."""
    variant = reward.variants[0] if reward.variants else None
    prices = (variant.prices if variant and variant.prices else None) or reward.prices
    filled = {field.name: SAMPLES.get(field.type, field.label or field.name) for field in reward.fields}
    value = variant.value if variant and variant.value is not None else reward.value
    amount_spent = prices[0].amount if prices else 0
    redemption = Redemption(
        tenant_id=SAMPLE_ID,
        redemption_id=SAMPLE_ID,
        user_id=SAMPLE_ID,
        external_user_id="player-1",
        reward_id=reward_id,
        reward={"id": str(reward_id), "slug": reward.slug, "name": reward.name, "type": reward.type, "value": value},
        variant_id=variant.id if variant else None,
        source_type="purchase",
        source_id=None,
        status=RedemptionState.PENDING,
        flags=[],
        points_spent=round(amount_spent * 10_000),
        currency=prices[0].currency if prices else None,
        decimal_places=4,
        takes_stock=False,
        stock_variant_id=None,
        fields=filled,
        fulfillment_data={},
        failure_reason=None,
        fulfilment={},
        created_at=now,
        updated_at=now,
        fulfilled_at=None,
        deadline_at=None,
    )
    return msgspec.json.format(reward_redeemed(redemption), indent=2).decode()


def preview_of(values: RewardValues, reward: Mapping[str, Any] | None, now: datetime, zone: ZoneInfo) -> RewardPreview:
    """What the reward would send and how it would look. Writes nothing."""
    errors: dict[str, str] = {}
    body = body_of(values, zone, errors, reward)
    try:
        parsed = parse_reward(body | {"name": values.name or _("New reward"), "slug": values.slug or "new"})
        reward_id = UUID(reward["reward_id"]) if reward else SAMPLE_ID
        return RewardPreview(errors=errors, body=example_body(parsed, reward_id, now), reward=parsed)
    except DomainError as error:
        for each in error.details or [{"field": "", "message": error.message}]:
            errors.setdefault(each["field"], each["message"])
    return RewardPreview(errors=errors)


async def _form(visit: Visit, values: RewardValues, *, reward: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    endpoints, currencies = await asyncio.gather(
        visit.api.get("/v1/admin/webhook-endpoints", {"limit": 200}), visit.api.read("/v1/admin/currencies", {"limit": 200})
    )
    listed = (endpoints.body or {}).get("webhook_endpoints", []) if endpoints.ok else []
    blank = {name: dict.fromkeys(parts, "") for name, parts in ROWS.items()}
    return visit.page(
        "rewards/form.html",
        status=400 if error else 200,
        reward=reward,
        values=values,
        error=error,
        errors=error.fields if error else {},
        preview=preview_of(values, reward, visit.now, visit.zone),
        rows={name: [*getattr(values, name), blank[name]] for name in ROWS},
        kinds=KINDS,
        units=UNITS if values.unit in UNITS else {**UNITS, "1": N_("seconds")},
        periods=PERIODS,
        field_types=FIELD_TYPES,
        currencies=[each["id"] for each in currencies["currencies"] if each["is_spendable"]],
        endpoints={each["endpoint_id"]: each["url"] for each in listed},
        version=visit.form.text("version") or (reward["version"] if reward else ""),
    )


@get("/rewards/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new reward: a voucher for 1000 points."""
    visit.must_change()
    unit = "86400"
    price = [{"currency": "points", "amount": "1000"}]
    return await _form(visit, RewardValues(price=price, deadline=str(DEFAULT_DEADLINE_SECONDS // int(unit)), unit=unit), reward=None)


@get("/rewards/{reward_id:str}/edit")
async def show_edit(visit: Visit, reward_id: str) -> Response[bytes]:
    """The form of a reward that exists."""
    visit.must_change()
    reward = await visit.api.read(f"{ROOT}/{reward_id}")
    return await _form(visit, values_of(reward, visit.zone), reward=reward)


@post("/rewards/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again with what the reward would send; `for` names the one that is edited."""
    known = visit.form.text("for")
    reward = await visit.api.read(f"{ROOT}/{known}") if known else None
    return await _form(visit, values_sent(visit.form), reward=reward)


@post("/rewards")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Put the reward into the store, or show the form again with what is wrong."""
    return await _save(visit, None)


@post("/rewards/{reward_id:str}/edit")
async def replace(visit: Visit, reward_id: str) -> Response[bytes] | Redirect:
    """Replace the reward, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"{ROOT}/{reward_id}"))


async def _save(visit: Visit, reward: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values, unreadable = values_sent(visit.form), dict[str, str]()
    body = body_of(values, visit.zone, unreadable, reward)
    if refusal := refusal_of(unreadable):
        return await _form(visit, values, reward=reward, error=refusal)
    reason = visit.form.text("reason")
    if reward is None:
        answer = await visit.api.post(ROOT, body, reason=reason)
    else:
        # PATCH leaves alone what is not sent: stock that nobody touched stays what sales make of it while we write.
        if values.stock == values.stock_was:
            body.pop("stock")
        version = whole(visit.form.text("version"))
        path = f"{ROOT}/{reward['reward_id']}"
        answer = await visit.api.patch(path, body, reason=reason, version=version if isinstance(version, int) else None)
    if answer.error is not None:
        return await _form(visit, values, reward=reward, error=answer.error)
    done = _("Reward created.") if reward is None else _("Saved. Existing redemptions aren't affected.")
    return visit.go(f"/rewards/{answer.body['reward_id']}", good=done)


routes = [show_new, show_edit, preview, create, replace]
