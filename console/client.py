"""The console as a client of the REST API in the same process (docs/decisions/0009).

Every page reads and changes things by the API's own routes, so validation, idempotency, the audit log and the texts of refusals
are the API's. No socket is opened; who asks stands in the ASGI scope under a key that no request from outside can set.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from console.api_labels import said
from console.refusal_labels import refusal_text

CHUNKS_AHEAD = 4
"""How much of a stream the API may make before the browser has taken it."""
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Admit = Callable[[UUID, str, str], Awaitable[Mapping[str, Any]]]
"""Turns (tenant, email, role) into what the API takes for an admission when it stands in a request's ASGI scope."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The API's error body; `message` is in the language of the person."""

    code: str
    message: str
    status: int
    details: list[dict[str, Any]] = []
    request_id: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """What is wrong with each field, by the field's name in the API (`config.scoring.rules[0].points_expression`)."""
        return {str(each.get("field", "")): str(each.get("message", "")) for each in self.details}


class ApiRefused(Exception):
    """A read that a page cannot do without was refused; shown as an error page of that status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


JSON_HEADERS = ((b"accept", b"application/json"), (b"content-type", b"application/json"))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the API answered: `body` is the decoded JSON of a success, `error` that of a refusal."""

    status: int
    body: Any = None
    error: Refusal | None = None
    headers: dict[str, str] = {}

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.error is None

    def must(self) -> Any:
        """The body; raises `ApiRefused`, which becomes an error page."""
        if self.error is not None:
            raise ApiRefused(self.error)
        return self.body


class Api:
    """The API for one signed-in person."""

    def __init__(self, app: AsgiApp, admission: Mapping[str, Any], request_id: str) -> None:
        """`admission` is what `Admit` gave."""
        self._app, self._admission, self._request_id = app, admission, request_id

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Read; parameters that are None or empty are left out."""
        return await self._call("GET", path, params=params)

    async def read(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Read what the page is about: the body, or an error page of the refusal's status."""
        return (await self.get(path, params)).must()

    async def post(self, path: str, json: Any = None, *, reason: str = "", idempotency_key: str = "") -> Answer:
        """Create or do something. `reason` goes into the audit log, `idempotency_key` makes a form that was sent twice count once."""
        return await self._call("POST", path, json=json, reason=reason, idempotency_key=idempotency_key)

    async def put(self, path: str, json: Any, *, reason: str = "", version: int | None = None) -> Answer:
        """Replace; with `version` only if nobody else did so since (If-Match)."""
        return await self._call("PUT", path, json=json, reason=reason, version=version)

    async def patch(self, path: str, json: Any, *, reason: str = "", version: int | None = None) -> Answer:
        """Change the given fields."""
        return await self._call("PATCH", path, json=json, reason=reason, version=version)

    async def delete(self, path: str, *, reason: str = "", version: int | None = None) -> Answer:
        """Remove or archive."""
        return await self._call("DELETE", path, reason=reason, version=version)

    async def stream(self, path: str, params: Mapping[str, Any] | None = None) -> AsyncIterator[bytes]:
        """A read whose answer is long (CSV), piece by piece as it is made; raises `ApiRefused` before the first piece."""
        given = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        scope = self._scope("GET", path, urlencode(given, doseq=True).encode(), list(JSON_HEADERS))
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(CHUNKS_AHEAD)
        gone = asyncio.Event()
        task = asyncio.create_task(_run(self._app, scope, messages, gone))
        started = await messages.get()
        pieces = _pieces(messages, gone, task)
        weakref.finalize(pieces, task.cancel)  # also when nobody has begun to read
        if started.get("status") != 200:
            _answer_of(started, b"".join([piece async for piece in pieces])).must()
        return pieces

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        reason: str = "",
        idempotency_key: str = "",
        version: int | None = None,
    ) -> Answer:
        headers = list(JSON_HEADERS)
        if reason:
            headers.append((b"x-audit-reason", reason.encode()))
        if idempotency_key:
            headers.append((b"idempotency-key", idempotency_key.encode()))
        if version is not None:
            headers.append((b"if-match", f'"{version}"'.encode()))
        body = b"" if json is None else msgspec.json.encode(json)
        headers.append((b"content-length", str(len(body)).encode()))
        given = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        scope = self._scope(method, path, urlencode(given, doseq=True).encode(), headers)
        # A task of its own has a context of its own: who acts is noted there, and nowhere else.
        return await asyncio.create_task(_exchange(self._app, scope, body))

    def _scope(self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path, safe="/").encode(),
            "root_path": "",
            "query_string": query,
            "headers": headers,
            "client": None,
            "server": None,
            "extensions": {},
            "state": {"request_id": self._request_id},
            **self._admission,
        }


async def _run(app: AsgiApp, scope: dict[str, Any], messages: asyncio.Queue[dict[str, Any]], gone: asyncio.Event) -> None:
    """One request whose answer goes into a queue, an empty message behind it."""
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (message := next(asked, None)) is not None:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    try:
        await app(scope, receive, messages.put)
    finally:
        await messages.put({})


async def _pieces(messages: asyncio.Queue[dict[str, Any]], gone: asyncio.Event, task: asyncio.Task[None]) -> AsyncIterator[bytes]:
    try:
        while message := await messages.get():
            if piece := bytes(message.get("body", b"")):
                yield piece
            if not message.get("more_body", False):
                break
        gone.set()  # a server says so, too, once the answer is complete
        await task  # an error of the API breaks the download off, so that nobody takes a part for the whole
    finally:
        # The browser has all of it, or has gone away: nothing goes on being read for nobody.
        gone.set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _exchange(app: AsgiApp, scope: dict[str, Any], body: bytes) -> Answer:
    """One request through the application, and its whole answer."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    started: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif message["type"] == "http.response.body":
            parts.append(bytes(message.get("body", b"")))

    await app(scope, receive, send)
    return _answer_of(started, b"".join(parts))


def _answer_of(started: dict[str, Any], content: bytes) -> Answer:
    status = int(started["status"])
    headers = {bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1") for name, value in started["headers"]}
    is_json = headers.get("content-type", "").startswith("application/json")
    body = msgspec.json.decode(content) if content and is_json else content.decode("utf-8", "replace") or None
    if status < 400:
        return Answer(status=status, body=body, headers=headers)
    told = cast(dict[str, Any], body).get("error", {}) if isinstance(body, dict) else {}
    refusal = msgspec.convert({"code": "INTERNAL_ERROR", "message": "", **told, "status": status}, Refusal, strict=False)
    told_to_people = msgspec.structs.replace(
        refusal,
        message=refusal_text(refusal.code, refusal.message, refusal.details),
        details=[each | {"message": said(str(each.get("message", "")))} for each in refusal.details],
    )
    return Answer(status=status, error=told_to_people, headers=headers)
