"""Watches every answer of an API under test: a refusal that the API document does not name for its route, or an answer that is not what the
document says of it, fails the suite. An answer may have no member that the document does not know."""

import functools
import re
from collections import Counter
from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator, ValidationError

from cli.openapi import api_document as made_document

MOST_JUDGED = 40
"""So many answers of a route and status are held against the document: validators take their time."""
LARGEST_JUDGED = 200_000

ANYWHERE = {(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED"), (500, "INTERNAL_ERROR"), (503, "UNAVAILABLE"), (426, "UPGRADE_REQUIRED")}
"""What is said before a route is known, or when a test breaks something."""


@functools.cache
def api_document() -> dict[str, Any]:
    """The API document, made once."""
    return made_document()


@functools.cache
def documented() -> list[tuple[str, re.Pattern[str], str, frozenset[tuple[int, str]]]]:
    """Method, path, route and refusals of every operation; routes with fixed segments go before those with parameters."""
    document, found = api_document(), []
    for path, operations in sorted(document["paths"].items(), key=lambda item: item[0].replace("{", "~")):
        pattern = re.compile(re.sub(r"\{event_id\}", ".+", path) if "event_id" in path else re.sub(r"\{\w+\}", "[^/]+", path))
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                said = frozenset(
                    (int(status), code)
                    for status, answer in operation["responses"].items()
                    for code in answer.get("$ref", "").split("/")[-1].split("-")
                )
                found.append((method.upper(), pattern, f"{method.upper()} {path}", said))
    return found


@functools.cache
def validator(route: str, status: int) -> Draft202012Validator | None:
    """What tells whether a body is what the document says of the route's answer; None where the document knows no JSON there."""
    method, path = route.split(" ", 1)
    answer = api_document()["paths"][path][method.lower()]["responses"].get(str(status))
    if answer is None or "application/json" not in answer.get("content", {}):
        return None
    return Draft202012Validator({**answer["content"]["application/json"]["schema"], "components": {"schemas": closed_schemas()}})


@functools.cache
def closed_schemas() -> dict[str, Any]:
    """The document's schemas, which allow no member that they do not name."""
    return {name: closed(schema) for name, schema in api_document()["components"]["schemas"].items()}


def closed(schema: Any) -> Any:
    """The schema and all schemas in it, closed."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(each) for name, each in schema.items() if name != "examples"}
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


class AnswerCheck:
    """An ASGI application in front of another, which remembers what should not have been answered."""

    def __init__(self, app: Any) -> None:
        """`undocumented` holds each faulty answer once: route, status, and the code or what does not fit."""
        self._app = app
        documented()  # before anything is asked: making the document takes a while
        closed_schemas()
        self._judged: Counter[tuple[str, int]] = Counter()
        self.undocumented: set[tuple[str, int, str]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        status, body = 0, bytearray()

        async def watch(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and len(body) <= LARGEST_JUDGED:
                body.extend(message.get("body", b""))
                if body and not message.get("more_body", False):
                    (self._judge if status >= 400 else self._compare)(scope["method"], scope["path"], status, bytes(body))
            await send(message)

        await self._app(scope, receive, watch)

    def _compare(self, method: str, path: str, status: int, body: bytes) -> None:
        """Hold an answer against what the document says of it."""
        route = next((route for verb, pattern, route, _ in documented() if verb == method and pattern.fullmatch(path)), "")
        self._judged[route, status] += 1
        if not route or self._judged[route, status] > MOST_JUDGED or (known := validator(route, status)) is None:
            return
        try:
            known.validate(msgspec.json.decode(body))
        except msgspec.DecodeError:
            return  # CSV, say
        except ValidationError as wrong:
            place = "/".join(str(step) for step in wrong.instance_path)
            self.undocumented.add((route, status, f"{place}: {wrong.message[:200]}"))

    def _judge(self, method: str, path: str, status: int, body: bytes) -> None:
        try:
            code = msgspec.json.decode(body)["error"]["code"]
        except (msgspec.DecodeError, KeyError, TypeError):
            code = "?"
        route, said = next(
            ((route, said) for verb, pattern, route, said in documented() if verb == method and pattern.fullmatch(path)), ("", None)
        )
        if said is not None and (status, code) not in said | ANYWHERE:
            self.undocumented.add((route, status, code))
