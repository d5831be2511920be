"""Watches every answer of an API under test: a refusal that the API document does not name for its route fails the suite."""

import functools
import re
from typing import Any

import msgspec

from cli.openapi import api_document

ANYWHERE = {(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED"), (500, "INTERNAL_ERROR"), (503, "UNAVAILABLE"), (426, "UPGRADE_REQUIRED")}
"""What is said before a route is known, or when a test breaks something."""


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


class Witness:
    """An ASGI application in front of another, which remembers what should not have been answered."""

    def __init__(self, app: Any) -> None:
        """`undocumented` holds each faulty answer once: route, status and code."""
        self._app = app
        self.undocumented: set[tuple[str, int, str]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        status = 0

        async def watch(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400 and message.get("body"):
                self._judge(scope["method"], scope["path"], status, message["body"])
            await send(message)

        await self._app(scope, receive, watch)

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
