"""The API document and a page to browse it, without any foreign file."""

import html
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

VERSION = "1.0.0"
METHODS = ("get", "post", "put", "patch", "delete")

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h2{border-bottom:1px solid #d5dae2;margin-top:2rem}summary{cursor:pointer;padding:.3rem 0}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f6f9;padding:1rem;overflow:auto}
b{display:inline-block;width:4.5rem}@media(prefers-color-scheme:dark){body{background:#12161d;color:#dde3ec}pre{background:#1b212b}}
"""

CONFIG = OpenAPIConfig(
    title="Laurel",
    version=VERSION,
    description="Rewards and fulfilment: events, leaderboards, points, redemptions, signed webhooks.",
    path="/-/openapi",
    render_plugins=(),
    use_handler_docstrings=True,
    components=Components(
        security_schemes={
            "bearer": SecurityScheme(type="http", scheme="bearer", description="An API key (`lk_…`), a token, or the operator key"),
            "api_key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        }
    ),
    security=[{"bearer": []}, {"api_key": []}],
)


def document_of(app: Litestar) -> dict[str, Any]:
    """The API document, made once from the routes."""
    return app.openapi_schema.to_schema()


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
    return f"<details><summary><b>{method.upper()}</b><code>{html.escape(path)}</code></summary><p>{note}</p><pre>{text}</pre></details>"


routes = [openapi_document, docs]
