"""Earning rules: the list, and the editor that shows what a sample event would give."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.event.sample_event import sample_event
from console.i18n import _
from console.json_field import amount, decoded, instant_text, json_text, local_text, refusal_of, whole
from console.leaderboard.leaderboard import conditions_text
from console.leaderboard.leaderboard_form import pointer
from console.request import Form, Visit
from domain.errors import DomainError
from domain.event.event import decode_stored, validate_event
from domain.points.earning_rule import capped, parse_earning_rule
from domain.rule.condition import parse_conditions, why_not
from domain.rule.expression import evaluate, parse_expression
from domain.wire import score_number

ROOT = "/v1/admin/earning-rules"
CAPS = ("max_per_event", "max_per_day", "max_per_week", "max_per_month", "budget")


class EarningRuleValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text."""

    name: str = ""
    event_type: str = ""
    points_expression: str = ""
    conditions: str = ""
    currency: str = "points"
    max_per_event: str = ""
    max_per_day: str = ""
    max_per_week: str = ""
    max_per_month: str = ""
    budget: str = ""
    segment: str = ""
    starts_at: str = ""
    ends_at: str = ""
    priority: str = "0"
    active: bool = True
    sample: str = ""


class EarningRulePreview(msgspec.Struct, kw_only=True):
    """What the sample event would give, or why nothing."""

    errors: dict[str, str] = {}
    points: Any = None
    reason: str = ""


def values_of(rule: dict[str, Any], now: datetime, zone: ZoneInfo) -> EarningRuleValues:
    """The form of a rule that exists."""
    same: dict[str, Any] = {name: rule[name] for name in ("name", "event_type", "points_expression", "currency")}
    same |= {name: "" if rule.get(name) is None else str(rule[name]) for name in CAPS}
    return EarningRuleValues(
        **same,
        conditions=json_text(rule.get("conditions")),
        segment=json_text(rule.get("segment")),
        starts_at=local_text(rule.get("starts_at"), zone),
        ends_at=local_text(rule.get("ends_at"), zone),
        priority=str(rule.get("priority", 0)),
        active=rule["active"],
        sample=sample_event(now, rule["event_type"].replace("*", "")),
    )


def values_sent(form: Form) -> EarningRuleValues:
    """The form as it was sent."""
    sent: dict[str, Any] = {name: form.text(name) for name in EarningRuleValues.__struct_fields__ if name != "active"}
    return EarningRuleValues(**sent, active=form.ticked("active"))


def body_of(values: EarningRuleValues, zone: ZoneInfo, errors: dict[str, str], present: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The API's body of POST and PUT; what cannot be read goes into `errors`. `present` is the rule that is edited."""
    known = present or {}
    return {
        "name": values.name,
        "event_type": values.event_type,
        "points_expression": values.points_expression,
        "conditions": decoded(values.conditions, "conditions", errors, empty={}),
        "currency": values.currency or "points",
        **{name: amount(getattr(values, name)) if getattr(values, name) else None for name in CAPS},
        "segment": decoded(values.segment, "segment", errors),
        "starts_at": instant_text(values.starts_at, zone, known.get("starts_at")),
        "ends_at": instant_text(values.ends_at, zone, known.get("ends_at")),
        "priority": whole(values.priority or "0"),
        "active": values.active,
    }


def preview_of(values: EarningRuleValues, now: datetime, zone: ZoneInfo) -> EarningRulePreview:
    """What the sample event would give by the rule, before the caps of days and the budget. Writes nothing."""
    preview = EarningRulePreview(errors={})
    body = body_of(values, zone, preview.errors)
    try:
        rule = parse_earning_rule(body | {"name": values.name or "new"})
        event = validate_event(values.sample.encode(), now)
    except DomainError as error:
        for each in error.details or [{"field": "", "message": error.message}]:
            preview.errors.setdefault(each["field"], each["message"])
        return preview
    document = decode_stored(event.body)
    if rule.event_type not in ("*", event.type):
        preview.reason = _("The event has another type.")
    elif reason := why_not(parse_conditions(rule.conditions, "conditions"), document):
        preview.reason = reason
    else:
        points, error_text = evaluate(parse_expression(rule.points_expression), document)
        preview.points, preview.reason = score_number(capped(rule, points)), error_text or ""
    return preview


async def _form(visit: Visit, values: EarningRuleValues, *, rule: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    currencies = await visit.api.read("/v1/admin/currencies", {"limit": 200})
    return visit.page(
        "earning_rules/form.html",
        status=400 if error else 200,
        rule=rule,
        values=values,
        error=error,
        errors=error.fields if error else {},
        preview=preview_of(values, visit.now, visit.zone),
        pointer=pointer,
        currencies={each["id"]: each["name"] for each in currencies["currencies"]},
        version=visit.form.text("version") or (rule["version"] if rule else ""),
    )


@get("/earning-rules")
async def list_rules(visit: Visit) -> Response[bytes]:
    """The rules, newest first."""
    found = await visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50})
    return visit.page(
        "earning_rules/list.html", rules=found["earning_rules"], next_cursor=found["next_cursor"], conditions_text=conditions_text
    )


@get("/earning-rules/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new rule, with an example that works."""
    visit.must_change()
    sample = sample_event(visit.now, "match.completed")
    values = EarningRuleValues(event_type="match.completed", points_expression="attrs.score * 0.5", sample=sample)
    return await _form(visit, values, rule=None)


@get("/earning-rules/{rule_id:str}/edit")
async def show_edit(visit: Visit, rule_id: str) -> Response[bytes]:
    """The form of a rule that exists."""
    visit.must_change()
    rule = await visit.api.read(f"{ROOT}/{rule_id}")
    return await _form(visit, values_of(rule, visit.now, visit.zone), rule=rule)


@post("/earning-rules/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again with what the sample would give."""
    known = visit.form.text("for")
    rule = await visit.api.read(f"{ROOT}/{known}") if known else None
    return await _form(visit, values_sent(visit.form), rule=rule)


@post("/earning-rules")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Make the rule, or show the form again with what is wrong."""
    return await _save(visit, None)


@post("/earning-rules/{rule_id:str}/edit")
async def replace(visit: Visit, rule_id: str) -> Response[bytes] | Redirect:
    """Replace the rule, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"{ROOT}/{rule_id}"))


async def _save(visit: Visit, rule: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values, unreadable = values_sent(visit.form), dict[str, str]()
    body = body_of(values, visit.zone, unreadable, rule)
    if refusal := refusal_of(unreadable):
        return await _form(visit, values, rule=rule, error=refusal)
    reason = visit.form.text("reason")
    if rule is None:
        answer = await visit.api.post(ROOT, body, reason=reason)
    else:
        version = whole(visit.form.text("version"))
        path = f"{ROOT}/{rule['rule_id']}"
        answer = await visit.api.put(path, body, reason=reason, version=version if isinstance(version, int) else None)
    if answer.error is not None:
        return await _form(visit, values, rule=rule, error=answer.error)
    return visit.go("/earning-rules", good=_("Saved. Applies to events accepted from now on."))


@post("/earning-rules/{rule_id:str}/archive")
async def archive(visit: Visit, rule_id: str) -> Redirect:
    """Archive the rule."""
    answer = await visit.api.delete(f"{ROOT}/{rule_id}", reason=visit.form.text("reason"))
    return visit.done("/earning-rules", answer.error, _("Rule archived. Points already earned stay."))


routes = [list_rules, show_new, show_edit, preview, create, replace, archive]
