"""The API document: what Litestar reads off the routes, with what it cannot know: refusals, queries, groups, strict bodies."""

import re
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from api.auth import OPERATOR, PUBLIC, Rule, in_token_family, rule_of
from api.errors import known_codes
from api.operation import BODIES, CALLBACK, MONEY_WRITES, PATH, QUERY, REFUSALS, TAGS, TEXT, VERSIONED, whole
from api.pagination import DEFAULT_LIMIT, MAXIMUM_LIMIT
from domain.errors import DomainError

JSON = "application/json"
SCHEMA_PLACE = "#/components/schemas/{name}"
OBJECT = {"type": "object"}
EVENT = {"$ref": "#/components/schemas/IngestionEventV1"}
SUCCESS = {"200": "Done", "201": "Made", "202": "Accepted; the effect follows", "204": "Done; there is nothing to show"}
LISTS = {"show_catalog": "rewards", "list_orders": "orders", "read_tier": "history", "give_tier": "history", "list_snapshots": "snapshots"}
"""Lists whose noun is not the last fixed segment of their path."""
NOT_FOUND = {
    "external_id": "USER_NOT_FOUND",
    "user_id": "USER_NOT_FOUND",
    "leaderboard_id": "LEADERBOARD_NOT_FOUND",
    "reward_id": "REWARD_NOT_FOUND",
    "slug": "REWARD_NOT_FOUND",
    "redemption_id": "REDEMPTION_NOT_FOUND",
    "order_id": "REDEMPTION_NOT_FOUND",
}
"""What is said of an id in a path that nothing has; any other id is NOT_FOUND."""
FACTS: dict[str, dict[str, Any]] = {
    "VALIDATION_ERROR": {"details": [{"field": "limit", "message": "must be a whole number from 1 to 500"}]},
    "INSUFFICIENT_POINTS": {"available": 40, "required": 100},
    "REDEMPTION_ALREADY_FINAL": {"present": "fulfilled"},
    "INVALID_STATE": {"present": "archived"},
}
"""The extra members that the example of a code shows."""
EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event_id", "type", "actor", "occurred_at"],
    "properties": {
        "tenant_id": {"type": "string", "description": "Optional; always overwritten with the credential's tenant"},
        "event_id": {"type": "string", "minLength": 1, "maxLength": 255},
        "type": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,100}$"},
        "actor": {
            "type": "object",
            "required": ["user_id"],
            "properties": {"user_id": {"type": "string", "minLength": 1, "maxLength": 255}, "metadata": {"type": "object"}},
        },
        "subject": {"type": "object", "properties": {"type": {"type": "string"}, "id": {"type": "string"}}},
        "occurred_at": {"type": "string", "format": "date-time", "description": "At most 1 h ahead of the server's clock"},
        "attrs": {"type": "object", "description": "Nested up to 8 levels"},
    },
}
"""Events are decoded from their bytes, in front of the routes, so their shape is described by hand."""
EVENTS = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "items": EVENT, "minItems": 1, "maxItems": 100}},
}
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "status"],
            "properties": {
                "code": TEXT,
                "message": TEXT,
                "status": {"type": "integer"},
                "details": {"type": "array", "items": {"type": "object", "properties": {"field": TEXT, "message": TEXT}}},
                "request_id": TEXT,
            },
        }
    },
}


def document_of(app: Litestar) -> dict[str, Any]:
    """The API document, made from the routes."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document["paths"] = dict(sorted(document["paths"].items()))  # a handler of several paths has them in no order of its own
    shapes: dict[str, Any] = {}
    refusals: dict[str, Any] = {}
    for route in app.routes:
        path = getattr(route, "path_format", "")
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            operation = document["paths"].get(path, {}).get(method.lower())
            if operation is not None:
                _complete(operation, handler, path, shapes)
                refusals |= _describe_refusals(operation, path, rule_of(handler) or PUBLIC)
    components = document["components"]
    components["schemas"] = components.get("schemas", {}) | shapes | {"IngestionEventV1": EVENT_SCHEMA, "Error": ERROR_SCHEMA}
    components["examples"] = {code: {"value": example_of(fault)} for code, fault in sorted(known_codes().items())}
    components["headers"] = {
        "X-Request-Id": {"schema": TEXT, "description": "The request's own when it was sane, else made"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait"},
    }
    components["responses"] = refusals
    document["tags"] = [{"name": name} for name in dict.fromkeys(name for _, name in TAGS)]
    return document


def example_of(fault: type[DomainError]) -> dict[str, Any]:
    """An error body of that code."""
    message = (fault.__doc__ or "").split("\n")[0]
    facts = FACTS.get(fault.code, {})
    return {"error": {"code": fault.code, "message": message, "status": fault.status, **facts, "request_id": "5f0c1f6e9d3b7a24-1f"}}


def name_of(handler: HTTPRouteHandler, path: str) -> str:
    """The operation's id: what its route says, else the handler's name."""
    own = handler.operation_id
    if isinstance(own, str):
        return own
    return "show_score" if "/score/" in path else str(handler.fn.__name__)


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler, path: str, shapes: dict[str, Any]) -> None:
    name, rule = name_of(handler, path), rule_of(handler) or PUBLIC
    operation["operationId"] = name
    text = " ".join(operation.get("description", "").split())
    operation["summary"] = re.split(r"(?<=[^.])[.:;](?: |$)", text)[0]
    operation["tags"] = [next(tag for start, tag in TAGS if path.startswith(start))]
    operation["x-roles"] = sorted(rule.roles)
    operation["security"] = [] if rule == PUBLIC else [{"bearer": []}] if rule == OPERATOR else [{"bearer": []}, {"api_key": []}]
    _describe_body(operation, handler, name, shapes)
    _describe_parameters(operation, handler, name)
    _describe_success(operation, name, path, is_list="page" in handler.parsed_fn_signature.parameters)


def _describe_body(operation: dict[str, Any], handler: HTTPRouteHandler, name: str, shapes: dict[str, Any]) -> None:
    sent = {"append_event": EVENT, "append_events": EVENTS, "explain_event": EVENT, "call_redemption_back": CALLBACK}.get(name)
    data = handler.parsed_fn_signature.parameters.get("data")
    shape, is_partial = BODIES.get(name, (None if data is None else data.annotation, False))
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        (sent,), known = msgspec.json.schema_components((shape,), ref_template=SCHEMA_PLACE)
        shapes |= known
        if is_partial:
            own = f"{shape.__name__}Change"
            shapes[own] = {key: value for key, value in known[shape.__name__].items() if key != "required"} | {"title": own}
            sent = {"$ref": SCHEMA_PLACE.format(name=own)}
    if sent is not None:
        required = data is not None or not is_partial
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": sent}}}


def _describe_parameters(operation: dict[str, Any], handler: HTTPRouteHandler, name: str) -> None:
    query = dict(QUERY.get(name, {}))
    if "page" in handler.parsed_fn_signature.parameters:
        query |= {"limit": whole(1, MAXIMUM_LIMIT, DEFAULT_LIMIT), "cursor": TEXT}
    parameters = [{key: value for key, value in each.items() if key != "deprecated"} for each in operation.get("parameters", [])]
    for each in parameters:
        each["schema"] = PATH.get(each["name"], each["schema"])
    parameters += [{"name": each, "in": "query", "required": False, "schema": schema} for each, schema in query.items()]
    if name in MONEY_WRITES:
        key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"}
        parameters.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": key})
    if name in VERSIONED:
        parameters.append({"name": "If-Match", "in": "header", "required": False, "schema": TEXT})
    if parameters:
        operation["parameters"] = parameters
    operation.pop("deprecated", None)


def _describe_success(operation: dict[str, Any], name: str, path: str, *, is_list: bool) -> None:
    kept = {}
    for status, response in operation["responses"].items():
        if status >= "300":
            continue
        response["description"] = SUCCESS.get(status, response["description"])
        schema = response.get("content", {}).get(JSON, {}).get("schema")
        if is_list:
            noun = LISTS.get(name) or [part for part in path.split("/") if part[:1] != "{"][-1].replace("-", "_")
            items, cursor = {"type": "array", "items": OBJECT}, {"type": ["string", "null"]}
            schema = {"type": "object", "required": [noun, "next_cursor"], "properties": {noun: items, "next_cursor": cursor}}
        elif schema is not None and "$ref" not in schema and "properties" not in schema:
            schema = OBJECT
        if schema is not None:
            response["content"] = {JSON: {"schema": schema}}
        kept[status] = response
    if name == "metrics":
        kept["200"]["content"] = {"text/plain": {"schema": TEXT}}
    if name == "list_redemptions":
        kept["200"]["content"]["text/csv"] = {"schema": TEXT}
    if name == "identify_user":
        kept["200"] = kept["201"] | {"description": "Known; what was given is merged into it"}
    operation["responses"] = kept


def refusals_of(operation: dict[str, Any], name: str, path: str, rule: Rule) -> set[str]:
    """The codes that an operation can answer."""
    if rule == PUBLIC:
        return {"INTERNAL_ERROR"}
    codes = {"FORBIDDEN", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL_ERROR", *REFUSALS.get(name, ())}
    codes |= {"UNAUTHORIZED", "AUTH_INVALID_KEY"} | (set() if in_token_family(path) else {"AUTH_MISSING_KEY"})
    if rule != OPERATOR:
        codes |= {"TENANT_QUERY_MISMATCH", "CORS_NOT_ALLOWED_FOR_TENANT"}
    if "parameters" in operation or "requestBody" in operation:
        codes.add("VALIDATION_ERROR")
    if "requestBody" in operation:
        codes.add("PAYLOAD_TOO_LARGE")
    named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
    if named:
        codes |= {"NOT_FOUND"} | {NOT_FOUND.get(each, "NOT_FOUND") for each in named}
    return codes


def _describe_refusals(operation: dict[str, Any], path: str, rule: Rule) -> dict[str, Any]:
    """Let the operation refer to its refusals; they are given back by their names, each a status with its codes."""
    known, name = known_codes(), operation["operationId"]
    by_status: dict[int, list[str]] = {}
    for code in sorted(refusals_of(operation, name, path, rule)):
        by_status.setdefault(known[code].status, []).append(code)
    own = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    for response in operation["responses"].values():
        response["headers"] = response.get("headers", {}) | own
    refusals = {}
    for status, codes in sorted(by_status.items()):
        examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        content = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}, "examples": examples}}
        headers = own | ({"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if status in (429, 503) else {})
        place = "-".join(codes)
        refusals[place] = {"description": " or ".join(codes), "headers": headers, "content": content}
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{place}"}
    if name == "ready":
        operation["responses"]["503"] = {"description": "Nothing could be persisted now", "content": {JSON: {"schema": OBJECT}}}
    if name == "watch_leaderboard":
        upgrade = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
        operation["responses"]["426"] = {"description": "This is a WebSocket", "content": upgrade}
    return refusals
