"""The API document and a page to browse it, without any foreign file."""

import html
import re
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, OpenAPIType, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from api.document import document_of, query_names_of
from api.rule import PUBLIC
from runtime.version import VERSION

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
CACHED = {"cache-control": "public, max-age=300"}
INTERNAL = "/-/openapi"
"""Where Litestar would serve its own document; `api/middleware.py` lets nobody there."""
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
    license=License(name="Apache-2.0", identifier="Apache-2.0"),
    description="Rewards and fulfilment: events, leaderboards, points, redemptions, signed webhooks.",
    path=INTERNAL,
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


class StructsInBook(OpenAPISchemaPlugin):
    """Keeps Litestar from describing Structs: `api/schema_book.py` does, which tells bodies from answers. Litestar would also stumble over
    defaults that are Structs themselves."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        """Every Struct."""
        return isinstance(value, type) and issubclass(value, msgspec.Struct)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """A place holder."""
        return Schema(type=OpenAPIType.OBJECT)


@get("/openapi.json", operation_id="openapi", rule=PUBLIC, include_in_schema=False)
async def openapi_document(request: Any) -> Response[bytes]:
    """The API document."""
    return Response(written(request.app).document, media_type="application/json", headers=CACHED)


@get("/docs", operation_id="docs", rule=PUBLIC, include_in_schema=False)
async def docs(request: Any) -> Response[bytes]:
    """A page that lists every operation of the API document."""
    return Response(
        written(request.app).page, headers={"content-type": "text/html; charset=utf-8", "content-security-policy": PAGE_POLICY, **CACHED}
    )


class Written(NamedTuple):
    """The document and its page, as they are sent."""

    document: bytes
    page: bytes


def query_names(app: Litestar) -> Callable[[str, str], Collection[str] | None]:
    """For a route's template and a method, the query parameters that it takes; None for a route that is not in the document."""
    known = cache(lambda: query_names_of(app))
    return lambda path, method: known().get((path, method))


def written(app: Litestar) -> Written:
    """Both, made at the first request: making them takes a tenth of a second, and anybody may ask."""
    made: Written | None = getattr(app.state, "written_document", None)
    if made is None:
        document = document_of(app)
        made = app.state.written_document = Written(msgspec.json.encode(document), render(document).encode())
    return made


def render(document: dict[str, Any]) -> str:
    """The API document as one HTML page: operations by their groups, each with who may call it, its parameters, bodies and refusals."""
    groups: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                groups[operations[method]["tags"][0]].append(_operation(method, path, operations[method]))
    anchors = {name: name.lower().replace(" ", "-") for name in groups}
    links = " · ".join(f'<a href="#{anchors[name]}">{html.escape(name)}</a>' for name in groups)
    body = "".join(f'<h2 id="{anchors[name]}">{html.escape(name)}</h2>{"".join(items)}' for name, items in groups.items())
    parts = document["components"]
    shapes = "".join(_part(f"schema-{name}", name, schema) for name, schema in sorted(parts["schemas"].items()))
    refusals = "".join(_part(f"error-{code}", code, example["value"]) for code, example in parts["examples"].items())
    return (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>Laurel API</title><link rel=icon href=data:,><style>{STYLE}</style><h1>Laurel API</h1>"
        f'<p><a href="/openapi.json">openapi.json</a></p><nav>{links} · <a href="#errors">Errors</a> · <a href="#schemas">Schemas</a></nav>'
        f'{body}<h2 id="errors">Errors</h2>{refusals}<h2 id="schemas">Schemas</h2>{shapes}</html>'
    )


def _shown(value: Any) -> str:
    """A value as JSON whose references to other parts of the page are links."""
    text = html.escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    return re.sub(r"#/components/schemas/(\w+)", r'<a href="#schema-\1">\1</a>', text)


def _part(anchor: str, name: str, value: Any) -> str:
    return f'<details id="{anchor}"><summary><code>{html.escape(name)}</code></summary><pre>{_shown(value)}</pre></details>'


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    shown = {name: operation[name] for name in ("parameters", "requestBody") if name in operation}
    answers = {status: answer for status, answer in operation["responses"].items() if "$ref" not in answer}
    codes = [code for answer in operation["responses"].values() if "$ref" in answer for code in answer["$ref"].split("/")[-1].split("-")]
    refused = " ".join(f'<a href="#error-{code}"><code>{code}</code></a>' for code in codes)
    summary = f"<b>{method.upper()}</b> <code>{html.escape(path)}</code> <small>{html.escape(operation['summary'])}</small>"
    parts = _shown(shown | {"responses": answers})
    return (
        f'<details id="{operation["operationId"]}"><summary>{summary}</summary><p>{html.escape(operation["description"])}</p>'
        f"<p>For: {', '.join(operation['x-roles'])}</p><pre>{parts}</pre><p>Refusals: {refused}</p></details>"
    )


routes = [openapi_document, docs]
