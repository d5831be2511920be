"""The API document: what Litestar reads off the routes, with what it cannot know: refusals, queries, groups, strict bodies."""

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler

from api.credential_text import in_token_family
from api.declared import As, PartOf
from api.document_messages import JSON, describe_websocket, webhooks
from api.errors import known_codes
from api.operation_group import GROUPS, TAGS
from api.query import query_names, query_shapes, struct_fields
from api.rule import PUBLIC, rule_of
from api.schema_book import SchemaBook, example_of_schema
from domain.errors import DomainError, ErrorBody

TEXT: dict[str, Any] = {"type": "string"}
HEADERS: dict[str, dict[str, Any]] = {
    "IDEMPOTENCY_CONFLICT": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A repetition with the same key and body has no second effect and gets the first answer",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    },
    "VERSION_CONFLICT": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The version that you have seen; another present version is a 409",
        "schema": TEXT,
    },
}
"""The header that a route takes because of a refusal that it declares."""
SUCCESS = {
    "200": "Done",
    "201": "Made",
    "202": "Accepted; the effect follows",
    "204": "Done; there is nothing to show",
    "304": "What you have is current",
    "503": "Not now; the body says why",
}
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


def document_of(app: Litestar) -> dict[str, Any]:
    """The API document, made from the routes."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document["paths"] = dict(sorted(document["paths"].items()))  # a handler of several paths has them in no order of its own
    book = SchemaBook()
    refusals: dict[str, Any] = {}
    for path, method, handler in _routes(app):
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            _complete(operation, handler, path, book)
            refusals |= _describe_refusals(operation, handler, path)
    document["webhooks"] = webhooks(book)
    book.answer(ErrorBody)
    components = document["components"]
    components["examples"] = {code: {"value": example_of(error)} for code, error in sorted(known_codes().items())}
    components["headers"] = {
        "X-Request-Id": {"schema": TEXT, "description": "The request's own when it was sane, else made"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait"},
    }
    components["responses"] = refusals
    components["schemas"] = {}
    components["schemas"] = book.finish(document)
    components["schemas"]["ErrorFacts"]["additionalProperties"] = True
    _add_examples(document)
    document["tags"] = [{"name": name, "description": text} for name, text in GROUPS.items()]
    return document


def _routes(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Every route by its template and its method."""
    for route in app.routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            yield getattr(route, "path_format", ""), method, handler


def query_names_of(app: Litestar) -> dict[tuple[str, str], frozenset[str]]:
    """The query parameters that each documented route takes, by its template and its method."""
    return {(path, method): query_names(handler) for path, method, handler in _routes(app) if handler.include_in_schema is not False}


def _add_examples(document: dict[str, Any]) -> None:
    """Beside every body and every answer in JSON, an example put together from its fields."""
    schemas = document["components"]["schemas"]
    for operations in (*document["paths"].values(), *document["webhooks"].values()):
        for operation in operations.values():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (each["content"][JSON] for each in contents if JSON in each.get("content", {})):
                if "examples" not in content:
                    content["example"] = example_of_schema(content["schema"], schemas)


def example_of(error: type[DomainError]) -> dict[str, Any]:
    """An error body of that code."""
    message = (error.__doc__ or "").split("\n")[0]
    facts = FACTS.get(error.code, {})
    return {"error": {"code": error.code, "message": message, "status": error.status, **facts, "request_id": "5f0c1f6e9d3b7a24-1f"}}


def name_of(handler: HTTPRouteHandler) -> str:
    """The operation's id: what its route says, else the handler's name."""
    return handler.operation_id if isinstance(handler.operation_id, str) else str(handler.fn.__name__)


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler, path: str, book: SchemaBook) -> None:
    name, rule = name_of(handler), rule_of(handler)
    operation["operationId"] = name
    text = " ".join(operation.get("description", "").split())
    operation["summary"] = re.split(r"(?<=[^.])[.:;](?: |$)", text)[0]
    operation["tags"] = [next(tag for start, tag in TAGS if path.startswith(start))]
    operation["x-roles"] = sorted(rule.roles)
    operation["security"] = rule.security
    _describe_body(operation, handler, book)
    _describe_parameters(operation, handler, book)
    _describe_answers(operation, handler, book)
    if name == "watch_leaderboard":
        describe_websocket(operation, book)


def _describe_body(operation: dict[str, Any], handler: HTTPRouteHandler, book: SchemaBook) -> None:
    """What `data` says: a Struct, an object `As` a Struct or a `PartOf` one."""
    data = handler.parsed_fn_signature.parameters.get("data")
    own = handler.opt.get("body")
    if data is None and own is None:
        return
    note = None if data is None else next((each for each in data.metadata if isinstance(each, As | PartOf)), None)
    if isinstance(note, PartOf):
        sent = book.part(note.shape)
    elif isinstance(note, As):
        sent = book.body(note.shape)
    else:
        sent = book.body(data.annotation if own is None and data is not None else own)
    is_required = own is None or any(field.required for field in struct_fields(own))
    operation["requestBody"] = {"required": is_required, "content": {JSON: {"schema": sent}}}


def _describe_parameters(operation: dict[str, Any], handler: HTTPRouteHandler, book: SchemaBook) -> None:
    parameters = [{key: value for key, value in each.items() if key != "deprecated"} for each in operation.get("parameters", [])]
    for shape in query_shapes(handler):
        parameters += _parameters_of(shape, book)
    codes = {refusal.code for refusal in declared_refusals(handler)}
    parameters += [header for code, header in HEADERS.items() if code in codes]
    if parameters:
        operation["parameters"] = parameters
    operation.pop("deprecated", None)


def _parameters_of(shape: type[msgspec.Struct], book: SchemaBook) -> Iterator[dict[str, Any]]:
    """The query parameters that a Struct describes. null is what a parameter that is left out stands for; nobody can send it."""
    for name, schema in book.members(shape).items():
        choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
        kind = (choices[0] if len(choices) == 1 else {"anyOf": choices}) if choices else {}
        bare = {key: value for key, value in (schema | kind).items() if key != "anyOf" or len(choices) > 1}
        if bare.get("default", "") is None:
            del bare["default"]
        about = {"description": bare.pop("description")} if "description" in bare else {}
        yield {"name": name, "in": "query", "required": False, **about, "schema": bare}


def declared_refusals(handler: HTTPRouteHandler) -> tuple[type[DomainError], ...]:
    """What the route names as its refusals, besides those that follow from its path, its body and its credential."""
    return tuple(handler.opt.get("refusals", ()))


def _describe_answers(operation: dict[str, Any], handler: HTTPRouteHandler, book: SchemaBook) -> None:
    """What the handler returns, under its status; further answers are in the route's `answers`."""
    own = str(handler.status_code)
    shapes: dict[str, Any] = {own: _answered(handler)} | {str(status): shape for status, shape in handler.opt.get("answers", {}).items()}
    answers: dict[str, dict[str, Any]] = {}
    for status, shape in shapes.items():
        answers[status] = {"description": SUCCESS.get(status, "")}
        if shape is str:
            answers[status]["content"] = {str(handler.media_type): {"schema": TEXT}}
        elif shape is not None:
            answers[status]["content"] = {JSON: {"schema": book.answer(shape)}}
    operation["responses"] = answers


def _answered(handler: HTTPRouteHandler) -> Any:
    """The shape of what a handler returns, out of the `Response` that may be around it."""
    shape = handler.parsed_fn_signature.return_type.annotation
    origin = get_origin(shape)
    if isinstance(origin, type) and issubclass(origin, Response):
        (shape,) = get_args(shape)
    return None if shape is type(None) else shape


def refusals_of(operation: dict[str, Any], handler: HTTPRouteHandler, path: str) -> set[str]:
    """The codes that an operation can answer."""
    rule = rule_of(handler)
    if rule == PUBLIC:
        return {"INTERNAL_ERROR"}
    codes = {"FORBIDDEN", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL_ERROR"}
    codes |= {refusal.code for refusal in declared_refusals(handler)}
    codes |= {"UNAUTHORIZED", "AUTH_INVALID_KEY"} | (set() if in_token_family(path) else {"AUTH_MISSING_KEY"})
    codes |= {"TENANT_QUERY_MISMATCH", "CORS_NOT_ALLOWED_FOR_TENANT"}
    if "parameters" in operation or "requestBody" in operation:
        codes.add("VALIDATION_ERROR")
    if "requestBody" in operation:
        codes.add("PAYLOAD_TOO_LARGE")
    named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
    if named:
        codes |= {"NOT_FOUND"} | {NOT_FOUND.get(each, "NOT_FOUND") for each in named}
    return codes


def _describe_refusals(operation: dict[str, Any], handler: HTTPRouteHandler, path: str) -> dict[str, Any]:
    """Let the operation refer to its refusals; they are given back by their names, each a status with its codes."""
    known, name = known_codes(), operation["operationId"]
    by_status: dict[int, list[str]] = {}
    for code in sorted(refusals_of(operation, handler, path)):
        by_status.setdefault(known[code].status, []).append(code)
    own = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    for response in operation["responses"].values():
        response["headers"] = response.get("headers", {}) | own
    refusals = {}
    for status, codes in sorted(by_status.items()):
        examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        content = {JSON: {"schema": {"$ref": "#/components/schemas/ErrorBody"}, "examples": examples}}
        headers = own | ({"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if status in (429, 503) else {})
        place = "-".join(codes)
        refusals[place] = {"description": " or ".join(codes), "headers": headers, "content": content}
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{place}"}
    if name == "watch_leaderboard":
        upgrade = {JSON: {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        operation["responses"]["426"] = {"description": "This is a WebSocket", "content": upgrade}
    return refusals
