"""The API document and a page to browse it, without any foreign file."""

import html
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from api.auth import PUBLIC, rule_of

VERSION = "1.0.0"
METHODS = ("get", "post", "put", "patch", "delete")

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h2{border-bottom:1px solid #d5dae2;margin-top:2rem}summary{cursor:pointer;padding:.3rem 0}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f6f9;padding:1rem;overflow:auto}
b{display:inline-block;width:4.5rem}small{color:#5b6675;margin-left:.6rem}@media(prefers-color-scheme:dark){body{background:#12161d;color:#dde3ec}pre{background:#1b212b}}
"""

CONFIG = OpenAPIConfig(
    title="Laurel",
    version=VERSION,
    description="Rewards and fulfilment: events, leaderboards, points, redemptions, signed webhooks.",
    path="/-/openapi",
    render_plugins=(JsonRenderPlugin(),),  # without any, Litestar adds pages that load files from elsewhere
    use_handler_docstrings=True,
    components=Components(
        security_schemes={
            "bearer": SecurityScheme(type="http", scheme="bearer", description="An API key (`lk_…`), a token, or the operator key"),
            "api_key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        }
    ),
    security=[{"bearer": []}, {"api_key": []}],
)


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


def mark_roles(document: dict[str, Any], app: Litestar) -> None:
    """Write into each operation who may call it: `x-roles`, and the `security` that follows from it."""
    for route in app.routes:
        operations = document["paths"].get(getattr(route, "path_format", ""), {})
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            rule = rule_of(handler)
            if rule is not None and method.lower() in operations:
                operation = operations[method.lower()]
                operation["x-roles"] = sorted(rule.roles)
                operation["security"] = [] if rule == PUBLIC else [{"bearer": []}, {"api_key": []}]


def document_of(app: Litestar) -> dict[str, Any]:
    """The API document, made from the routes."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    event = {"$ref": "#/components/schemas/IngestionEventV1"}
    bulk = {
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": event, "minItems": 1, "maxItems": 100}},
    }
    document["paths"] = dict(sorted(document["paths"].items()))  # a handler of several paths has them in no order of its own
    document["components"].setdefault("schemas", {})["IngestionEventV1"] = EVENT_SCHEMA
    for path, schema in (("/v1/events", event), ("/v1/events/bulk", bulk)):
        if path in document["paths"]:
            document["paths"][path]["post"]["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    mark_roles(document, app)
    return document


@get("/openapi.json", operation_id="openapi", include_in_schema=False)
async def openapi_document(request: Any) -> Response[bytes]:
    """The API document."""
    return Response(msgspec.json.encode(document_of(request.app)), media_type="application/json")


@get("/docs", operation_id="docs", include_in_schema=False)
async def docs(request: Any) -> Response[str]:
    """A page that lists every operation of the API document."""
    return Response(render(document_of(request.app)), headers={"content-type": "text/html; charset=utf-8"})


def render(document: dict[str, Any]) -> str:
    """The API document as one HTML page: operations by their first path segments, each with its parameters and bodies."""
    groups: dict[str, list[str]] = {}
    for path, operations in sorted(document.get("paths", {}).items()):
        group = "/".join(path.split("/")[:3])
        for method in METHODS:
            if method in operations:
                groups.setdefault(group, []).append(_operation(method, path, operations[method]))
    body = "".join(f"<h2>{html.escape(group)}</h2>{''.join(items)}" for group, items in groups.items())
    schemas = html.escape(msgspec.json.format(msgspec.json.encode(document.get("components", {}).get("schemas", {})), indent=2).decode())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Laurel API</title><style>{STYLE}</style><h1>Laurel API</h1>"
        f'<p><a href="/openapi.json">openapi.json</a></p>{body}<h2>Schemas</h2><pre>{schemas}</pre></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    shown = {name: operation[name] for name in ("parameters", "requestBody", "responses") if name in operation}
    text = html.escape(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
    note = html.escape(operation.get("description") or operation.get("summary") or "")
    first = note.split(". ")[0].splitlines()[0].rstrip(".") if note else ""
    summary = f"<b>{method.upper()}</b><code>{html.escape(path)}</code> <small>{first}</small>"
    return f"<details><summary>{summary}</summary><p>{note}</p><pre>{text}</pre></details>"


routes = [openapi_document, docs]
