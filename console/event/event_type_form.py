"""The editor of event types: a schema with its errors at their place, and a sample event that is tried against it while one types."""

import json
from datetime import UTC
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.api_labels import said
from console.client import Refusal
from console.event.sample_event import sample_event
from console.i18n import _
from console.request import Form, Visit
from domain.errors import DomainError
from domain.event.event import validate_event
from domain.event.event_type import check_schema_shape, count_nodes, is_too_large
from domain.rule.pattern import ENGINE
from runtime.json_schema import problems_of, schema_problem

ROOT = "/v1/admin/event-types"
MOST_PROBLEMS = 12
EXAMPLE = {
    "type": "object",
    "required": ["score"],
    "properties": {
        "score": {"type": "integer", "minimum": 0},
        "map": {"type": "string", "maxLength": 60},
        "ranked": {"type": "boolean"},
    },
}
"""The schema that a new type begins with; it fits the sample of `sample_event`."""


class EventTypeValues(msgspec.Struct, kw_only=True):
    """What stands in the form, as text."""

    name: str = ""
    description: str = ""
    schema: str = ""
    server_only: bool = False
    sample: str = ""


class SchemaField(msgspec.Struct, kw_only=True):
    """One attribute as a schema describes it, in words for a table."""

    path: str
    kind: str
    required: bool
    rules: str


class EventTypePreview(msgspec.Struct, kw_only=True):
    """What the schema asks for, and whether the sample fits. `pointer` shows where the JSON breaks off."""

    schema_error: str = ""
    pointer: str = ""
    fields: list[SchemaField] = []
    has_schema: bool = False
    sample_error: str = ""
    sample_pointer: str = ""
    problems: list[tuple[str, str]] = []
    other_type: str = ""


def fields_of(schema: dict[str, Any] | None, above: str = "") -> list[SchemaField]:
    """The attributes that a schema names, those within objects too (`team.id`)."""
    found: list[SchemaField] = []
    properties = schema.get("properties") if schema else None
    required = schema.get("required") if schema else None
    if not isinstance(properties, dict) or above.count(".") > 4:
        return found
    for name, each in properties.items():
        part = each if isinstance(each, dict) else {}
        kind = part.get("type", "")
        needed = isinstance(required, list) and name in required
        text = " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
        found.append(SchemaField(path=above + name, kind=text, required=needed, rules=_rules(part)))
        found += fields_of(part, f"{above}{name}.")
    return found


def _rules(part: dict[str, Any]) -> str:
    """The other keywords of an attribute, briefly: `≥ 0, ≤ 100`."""
    signs = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "const": "="}
    said = []
    for keyword, value in part.items():
        if keyword in signs:
            said.append(f"{signs[keyword]} {json.dumps(value)}")
        elif keyword == "enum" and isinstance(value, list):
            said.append(" | ".join(json.dumps(each, ensure_ascii=False) for each in value))
        elif keyword not in ("type", "title", "description", "properties", "required", "examples"):
            said.append(f"{keyword} {json.dumps(value, ensure_ascii=False)}")
    return ", ".join(said)


def pointer_of(text: str, error: json.JSONDecodeError) -> str:
    """The line at which the JSON breaks off, with a mark below the character."""
    lines = text.split("\n")
    line = lines[error.lineno - 1] if error.lineno <= len(lines) else ""
    return f"{line}\n{' ' * (error.colno - 1)}▲"


def _object(text: str) -> tuple[dict[str, Any] | None, str, str]:
    """(the object in a field or None, what is wrong, where)."""
    if not text:
        return None, "", ""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return (
            None,
            _("Line %(line)s, column %(column)s: %(error)s", line=error.lineno, column=error.colno, error=error.msg),
            pointer_of(text, error),
        )
    except RecursionError:
        return None, _("Too deeply nested."), ""
    except ValueError:  # a number of more digits than Python reads
        return None, _("A number is too long."), ""
    return (value, "", "") if isinstance(value, dict) else (None, _("Must be an object: { … }"), "")


def preview_of(values: EventTypeValues, visit: Visit) -> EventTypePreview:
    """Try the schema and the sample. Writes nothing; the rules are those of ingestion."""
    schema, error, pointer = _object(values.schema)
    made = EventTypePreview(schema_error=error, pointer=pointer)
    if schema is not None:
        try:
            check_schema_shape(schema)
            made.schema_error = schema_problem(schema) or ""
        except DomainError as refused:
            made.schema_error = said(next((str(each["message"]) for each in refused.details or []), refused.message))
    if not made.schema_error and schema is not None:
        made.has_schema, made.fields = True, fields_of(schema)
    _try_sample(made, values, schema, visit)
    return made


def _try_sample(made: EventTypePreview, values: EventTypeValues, schema: dict[str, Any] | None, visit: Visit) -> None:
    _sample, made.sample_error, made.sample_pointer = _object(values.sample)
    if made.sample_error or not values.sample:
        return
    try:
        event = validate_event(values.sample.encode(), visit.now)
    except DomainError as refused:
        made.sample_error = said(refused.message)
        return
    made.other_type = event.type if values.name and event.type != values.name else ""
    if made.has_schema and schema is not None:
        if is_too_large(count_nodes(schema), values.sample.encode()):
            made.sample_error = _("This is too large to be checked against the schema.")
            return
        made.problems = problems_of(schema, event.attrs, ENGINE, most=MOST_PROBLEMS)


def schema_like(attrs: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """A first schema that the attrs of an event fit: the kinds of its values, nothing more."""
    return {"type": "object", "properties": {name: _kind(value, depth) for name, value in list(attrs.items())[:40]}}


def _kind(value: Any, depth: int) -> dict[str, Any]:
    if isinstance(value, dict):
        return schema_like(value, depth + 1) if depth < 3 else {"type": "object"}
    names = ((bool, "boolean"), (int, "number"), (float, "number"), (str, "string"), (list, "array"))
    return next(({"type": name} for kind, name in names if isinstance(value, kind)), {})


def attrs_like(schema: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Attributes to try a schema with: one plain value for each that it names. A pattern may still refuse its text."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth > 4:
        return {}
    return {name: _value_like(part if isinstance(part, dict) else {}, depth) for name, part in properties.items()}


def _value_like(part: dict[str, Any], depth: int) -> Any:
    for given in (part.get("enum"), part.get("examples")):
        if isinstance(given, list) and given:
            return given[0]
    if "const" in part or "default" in part:
        return part.get("const", part.get("default"))
    kind = part.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in part:
        return attrs_like(part, depth + 1)
    plain = {"boolean": True, "array": [], "null": None, "integer": part.get("minimum", 1), "number": part.get("minimum", 1)}
    return plain.get(str(kind), "text")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value is not None else ""


def _sent(form: Form) -> EventTypeValues:
    texts = {name: form.text(name) for name in ("name", "description", "schema", "sample")}
    return EventTypeValues(**texts, server_only=form.ticked("server_only"))


def _form(visit: Visit, values: EventTypeValues, *, declared: dict[str, Any] | None, error: Refusal | None = None) -> Response[bytes]:
    return visit.page(
        "event_types/form.html",
        status=400 if error else 200,
        values=values,
        declared=declared,
        error=error,
        errors=error.fields if error else {},
        preview=preview_of(values, visit),
    )


async def _latest(visit: Visit, name: str) -> dict[str, Any] | None:
    """The newest event of a type as it came, or None."""
    found = await visit.api.get("/v1/admin/events", {"type": name, "limit": 1})
    if not name or not found.ok or not found.body["events"]:
        return None
    head = found.body["events"][0]
    event = await visit.api.get(f"/v1/admin/events/{head['event_id']}", {"user_id": head["user_id"]})
    if not event.ok or not event.body["event"]:
        return None
    return {name: value for name, value in event.body["event"].items() if name != "tenant_id"}


@get("/event-types/new")
async def show_new(visit: Visit) -> Response[bytes]:
    """The form of a new type; `name` is one that came already: its newest event is the sample, and drafts the schema."""
    visit.must_change()
    name = visit.query("name")
    event = await _latest(visit, name)
    if event is not None:
        schema = schema_like(event.get("attrs") or {})
        return _form(visit, EventTypeValues(name=name, schema=_pretty(schema), sample=_pretty(event)), declared=None)
    sample = _pretty(_sample_of(visit, name or "match.completed"))
    return _form(visit, EventTypeValues(name=name, schema=_pretty(EXAMPLE), sample=sample), declared=None)


def _sample_of(visit: Visit, name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(sample_event(visit.now.astimezone(UTC), name))
    return event | {"attrs": {"score": 120, "map": "harbour", "ranked": True}}


@get("/event-types/{name:str}/edit")
async def show_edit(visit: Visit, name: str) -> Response[bytes]:
    """The form of a declared type, with its newest event as the sample."""
    visit.must_change()
    declared = await visit.api.read(f"{ROOT}/{name}")
    event = await _latest(visit, name)
    if event is None:
        event = _sample_of(visit, name)
        event["attrs"] = attrs_like(declared["schema"]) if declared["schema"] else event["attrs"]
    values = EventTypeValues(
        name=name,
        description=declared["description"] or "",
        schema=_pretty(declared["schema"]),
        server_only=declared["server_only"],
        sample=_pretty(event),
    )
    return _form(visit, values, declared=declared)


@post("/event-types/preview", status_code=200)
async def preview(visit: Visit) -> Response[bytes]:
    """The form again, with the sample tried; `for` names the type that is edited."""
    known = visit.form.text("for")
    declared = await visit.api.read(f"{ROOT}/{known}") if known else None
    return _form(visit, _sent(visit.form), declared=declared)


@post("/event-types")
async def create(visit: Visit) -> Response[bytes] | Redirect:
    """Declare the type."""
    return await _save(visit, None)


@post("/event-types/{name:str}/edit")
async def change(visit: Visit, name: str) -> Response[bytes] | Redirect:
    """Change the declaration."""
    return await _save(visit, await visit.api.read(f"{ROOT}/{name}"))


async def _save(visit: Visit, declared: dict[str, Any] | None) -> Response[bytes] | Redirect:
    values = _sent(visit.form)
    schema, error, _pointer = _object(values.schema)
    if error:
        refusal = Refusal(code="VALIDATION_ERROR", message="", status=400, details=[{"field": "schema", "message": error}])
        return _form(visit, values, declared=declared, error=refusal)
    body = {"description": values.description or None, "schema": schema, "server_only": values.server_only}
    reason = visit.form.text("reason")
    if declared is None:
        answer = await visit.api.post(ROOT, {"name": values.name, **body}, reason=reason)
    else:
        answer = await visit.api.patch(f"{ROOT}/{declared['name']}", body, reason=reason)
    if answer.error is not None:
        return _form(visit, values, declared=declared, error=answer.error)
    return visit.go(f"/event-types/{answer.body['name']}", good=_("Saved. Takes effect within a second."))


routes = [show_new, show_edit, preview, create, change]
