"""The editor of leaderboards: what a sample event would make on the board, and the next windows, before anything is saved."""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.event.sample_event import sample_event
from console.format import day_names
from console.i18n import N_, _
from console.json_field import whole
from console.request import Form, Visit
from domain.errors import DomainError
from domain.event.event import decode_stored, validate_event
from domain.leaderboard.definition import (
    Aggregation,
    BoardStatus,
    BoardVersion,
    LeaderboardDefinition,
    Method,
    TimeframeType,
    parse_definition,
)
from domain.leaderboard.window import WindowSpan, next_window, window_at
from domain.scoring.rules import ScorableEvent, explain
from domain.wire import score_number

NEXT_WINDOWS = 5
AT_POSITION = re.compile(r" \((?:at position|tại vị trí) (\d+)\)$")
FAULTY_RULE = re.compile(r"^config\.scoring\.rules\[(\d+)\]\.(\w+)")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NAMES = {
    "sum": N_("sum of all points"),
    "max": N_("best event"),
    "min": N_("lowest event"),
    "count": N_("number of events"),
    "avg": N_("average"),
    "score_desc": N_("highest first"),
    "score_asc": N_("lowest first"),
}


class LeaderboardValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text; made from a definition, or from what a person sent."""

    leaderboard_id: str = ""
    name: str = ""
    description: str = ""
    status: str = "active"
    type: str = "weekly"
    timezone: str = "UTC"
    reset_weekday: str = "monday"
    reset_month_day: str = "1"
    reset_time: str = "00:00"
    grace_seconds: str = "60"
    starts_at: str = ""
    ends_at: str = ""
    rules: list[dict[str, str]] = []
    aggregation: str = "sum"
    method: str = "score_desc"
    size: str = "1000"
    min_score: str = ""
    filters: str = ""
    reward_config_id: str = ""
    sample: str = ""


class LeaderboardPreview(msgspec.Struct, kw_only=True):
    """What the board would be: its next windows and what it makes of the sample; or why it can be neither."""

    errors: dict[str, str] = {}
    windows: list[WindowSpan] = []
    sample_error: str = ""
    said: Any = None
    points: Any = None


def weekday_names() -> dict[str, str]:
    """The names of the weekdays as a board's timeframe has them."""
    return dict(zip(WEEKDAYS, day_names().values(), strict=True))


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode() if value else ""


def _local(text: str | None, zone: str) -> str:
    """An instant of the API as an input of type `datetime-local` wants it."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M") if text else ""


def values_of(board: dict[str, Any], now: datetime) -> LeaderboardValues:
    """The form of a board that exists."""
    config = board["config"]
    time, ranking = config["timeframe"], config["ranking"]
    rules = [
        {"event_type": each["event_type"], "points_expression": each["points_expression"], "conditions": _json_text(each["conditions"])}
        for each in config["scoring"]["rules"]
    ]
    return LeaderboardValues(
        leaderboard_id=board["leaderboard_id"],
        name=board["name"],
        description=board["description"] or "",
        status=board["status"],
        type=time["type"],
        timezone=time["timezone"],
        reset_weekday=str(time["reset_day"]) if time["type"] == "weekly" else "monday",
        reset_month_day=str(time["reset_day"]) if time["type"] == "monthly" else "1",
        reset_time=time["reset_time"],
        grace_seconds=str(time["grace_seconds"]),
        starts_at=_local(time.get("starts_at"), time["timezone"]),
        ends_at=_local(time.get("ends_at"), time["timezone"]),
        rules=rules,
        aggregation=config["scoring"]["aggregation"],
        method=ranking["method"],
        size=str(ranking["size"]),
        min_score="" if ranking["min_score"] is None else str(ranking["min_score"]),
        filters=_json_text(config["scope"]["filters"]),
        reward_config_id=board["reward_config_id"] or "",
        sample=sample_event(now, rules[0]["event_type"] if rules[0]["event_type"] != "*" else ""),
    )


def values_sent(form: Form) -> LeaderboardValues:
    """The form as it was sent; rules that were left empty are gone."""
    names = [name for name in LeaderboardValues.__struct_fields__ if name != "rules"]
    types, expressions, conditions = form.all("event_type"), form.all("points_expression"), form.all("conditions")
    rows = zip(types, expressions, conditions, strict=False)
    rules = [{"event_type": a, "points_expression": b, "conditions": c} for a, b, c in rows if a or b or c]
    return LeaderboardValues(**{name: form.text(name) for name in names}, rules=rules)


def _decoded(text: str, field: str, errors: dict[str, str]) -> Any:
    """The JSON object in a field, or an empty one; what is no JSON is noted under the field's name."""
    if not text:
        return {}
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        errors[field] = _("Invalid JSON: %(error)s", error=str(error))
        return {}


def _instant(text: str, zone: str) -> str:
    """An input of type `datetime-local`, in the board's zone, as the API wants it; what is none goes on as it is."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).isoformat()
    except (ValueError, KeyError, OSError):
        return text


def definition_of(values: LeaderboardValues, errors: dict[str, str]) -> dict[str, Any]:
    """The API's body of POST and PUT; what cannot be read goes into `errors` under the API's name of the field."""
    rules = []
    for number, rule in enumerate(values.rules):
        conditions = _decoded(rule["conditions"], f"config.scoring.rules[{number}].conditions", errors)
        rules.append({**rule, "conditions": conditions})
    time: dict[str, Any] = {
        "type": values.type,
        "timezone": values.timezone or "UTC",
        "reset_time": values.reset_time or "00:00",
        "grace_seconds": whole(values.grace_seconds or "60"),
    }
    if values.type == "weekly" and values.reset_weekday:
        time["reset_day"] = values.reset_weekday
    if values.type == "monthly" and values.reset_month_day:
        time["reset_day"] = whole(values.reset_month_day)
    if values.type == "custom":
        time |= {name: _instant(getattr(values, name), time["timezone"]) for name in ("starts_at", "ends_at") if getattr(values, name)}
    try:
        lowest = float(values.min_score) if values.min_score else None
    except ValueError:
        lowest = values.min_score  # type: ignore[assignment]  # for the API to refuse
    return {
        "leaderboard_id": values.leaderboard_id,
        "name": values.name,
        "description": values.description or None,
        "status": values.status,
        "reward_config_id": values.reward_config_id or None,
        "config": {
            "timeframe": time,
            "scope": {"filters": _decoded(values.filters, "config.scope.filters", errors)},
            "scoring": {"rules": rules, "aggregation": values.aggregation},
            "ranking": {"method": values.method, "size": whole(values.size or "1000"), "min_score": lowest},
        },
    }


def preview_of(values: LeaderboardValues, now: datetime) -> LeaderboardPreview:
    """What the board would be. Writes nothing and asks nobody: the rules are those of the domain."""
    errors: dict[str, str] = {}
    body = definition_of(values, errors)
    try:
        definition = parse_definition(body | {"leaderboard_id": values.leaderboard_id or "new", "name": values.name or "new"})
    except DomainError as error:
        for each in error.details or [{"field": "", "message": error.message}]:
            errors.setdefault(each["field"], each["message"])
    if errors:
        return LeaderboardPreview(errors=errors)
    preview = LeaderboardPreview(windows=_windows(definition, now))
    try:
        event = validate_event(values.sample.encode(), now)
    except DomainError as error:
        preview.sample_error = error.message
        return preview
    version = BoardVersion(board_id=UUID(int=0), version=1, status=BoardStatus.ACTIVE, config=definition.config, valid_from=now)
    document = {**decode_stored(event.body), "tenant_id": ""}
    preview.said = explain(version, event.type, ScorableEvent(0, now, event.occurred_at, UUID(int=0), document))
    preview.points = None if preview.said.points is None else score_number(preview.said.points)
    return preview


def _windows(definition: LeaderboardDefinition, now: datetime) -> list[WindowSpan]:
    time = definition.config.timeframe
    span = window_at(time, now)
    if span is None and time.type is TimeframeType.CUSTOM and isinstance(time.starts_at, datetime):
        span = window_at(time, time.starts_at + timedelta(microseconds=1))
    found: list[WindowSpan] = []
    while span is not None and len(found) < NEXT_WINDOWS:
        found.append(span)
        span = next_window(time, span)
    return found


def pointer(expression: str, message: str) -> str:
    """The expression with a mark below the character that the message names; empty when it names none."""
    found = AT_POSITION.search(message)
    if found is None:
        return ""
    return f"{expression}\n{' ' * (int(found.group(1)) - 1)}▲"


PARTS = {
    "timeframe": N_("Windows"),
    "scope": N_("Filters"),
    "ranking": N_("Ranking and rewards"),
    "scoring": N_("Rules"),
    "name": N_("Name"),
    "leaderboard_id": N_("Id"),
}
COLUMNS = {"event_type": N_("Event type"), "points_expression": N_("Points"), "conditions": N_("Conditions")}


def place_words(field: str) -> str:
    """Where an error is, by the labels of the form: “Rule 2 · Points” for `config.scoring.rules[1].points_expression`."""
    if found := FAULTY_RULE.match(field):
        column = found.group(2).split(".")[0]
        return f"{_('Rule %(n)s', n=int(found.group(1)) + 1)} · {_(COLUMNS.get(column, column))}"
    part = field.removeprefix("config.").split(".")[0]
    return _(PARTS.get(part, part))


def rule_errors(errors: dict[str, str]) -> dict[int, dict[str, str]]:
    """What is wrong with each rule, by the rule's number and the field."""
    by_rule: dict[int, dict[str, str]] = {}
    for field, message in errors.items():
        if found := FAULTY_RULE.match(field):
            by_rule.setdefault(int(found.group(1)), {})[found.group(2)] = message
    return by_rule


async def _form(visit: Visit, values: LeaderboardValues, *, board: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    preview = preview_of(values, visit.now)
    errors = error.fields if error else {}
    configs = await visit.api.get("/v1/admin/reward-configs", {"limit": 200})
    blank = {"event_type": "", "points_expression": "", "conditions": ""}
    return visit.page(
        "leaderboards/form.html",
        status=400 if error else 200,
        board=board,
        values=values,
        error=error,
        errors=errors,
        by_rule=rule_errors(preview.errors | errors if error else preview.errors),
        rules=[*values.rules, blank] if values.rules else [blank],
        preview=preview,
        pointer=pointer,
        place_words=place_words,
        names=NAMES,
        timeframes=[each.value for each in TimeframeType],
        aggregations=[each.value for each in Aggregation],
        weekdays=weekday_names(),
        methods=[each.value for each in Method],
        configs=(configs.body or {}).get("reward_configs", []) if configs.ok else [],
        version=visit.form.text("version") or (board["version"] if board else ""),
    )


@get("/leaderboards/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new board, with an example that works."""
    visit.must_change()
    rule = {"event_type": "match.completed", "points_expression": "attrs.score", "conditions": ""}
    sample = sample_event(visit.now, "match.completed")
    return await _form(visit, LeaderboardValues(timezone=visit.user.timezone, rules=[rule], sample=sample), board=None)


@get("/leaderboards/{leaderboard_id:str}/edit")
async def show_edit(visit: Visit, leaderboard_id: str) -> Response[bytes]:
    """The form of a board that exists."""
    visit.must_change()
    board = await visit.api.read(f"/v1/admin/leaderboards/{leaderboard_id}")
    return await _form(visit, values_of(board, visit.now), board=board)


@post("/leaderboards/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again with what the board would be; `for` names the board that is edited."""
    known = visit.form.text("for")
    board = await visit.api.read(f"/v1/admin/leaderboards/{known}") if known else None
    return await _form(visit, values_sent(visit.form), board=board)


@post("/leaderboards")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Make the board, or show the form again with what is wrong."""
    return await _save(visit, None)


@post("/leaderboards/{leaderboard_id:str}/edit")
async def replace(visit: Visit, leaderboard_id: str) -> Response[bytes] | Redirect:
    """Replace the board's definition, unless somebody else did so since the form was opened."""
    return await _save(visit, await visit.api.read(f"/v1/admin/leaderboards/{leaderboard_id}"))


async def _save(visit: Visit, board: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values, unreadable = values_sent(visit.form), dict[str, str]()
    body = definition_of(values, unreadable)
    if unreadable:
        details = [{"field": field, "message": message} for field, message in unreadable.items()]
        refusal = Refusal(code="VALIDATION_ERROR", message="", status=400, details=details)
        return await _form(visit, values, board=board, error=refusal)
    reason = visit.form.text("reason")
    if board is None:
        answer = await visit.api.post("/v1/admin/leaderboards", body, reason=reason)
    else:
        body["leaderboard_id"] = board["leaderboard_id"]
        version = whole(visit.form.text("version"))
        path = f"/v1/admin/leaderboards/{board['leaderboard_id']}"
        answer = await visit.api.put(path, body, reason=reason, version=version if isinstance(version, int) else None)
    if answer.error is not None:
        return await _form(visit, values, board=board, error=answer.error)
    return visit.go(f"/leaderboards/{answer.body['leaderboard_id']}", good=_("Saved. Applies to events accepted from now on."))


routes = [show_new, show_edit, preview, create, replace]
