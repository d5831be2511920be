"""The front of the API process: request ids, CORS headers, and the ingest path before Litestar.

Litestar's routing and injection cost two to three times what accepting one event costs otherwise (docs/performance.md), so a
plain ASGI function takes `/v1/events` and `/v1/events/bulk`; everything else goes to Litestar. Same port, same process.
"""

import itertools
import os
import re
import time
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Litestar
from litestar.types import Message, Receive, Send

from api.access_log import logged
from api.errors import error_body, internal_error, known_error, retry_after
from api.gateway import is_plain, serves
from domain import limits
from domain.errors import CorsNotAllowed, DomainError, NotFound, PayloadTooLarge, ValidationError
from runtime import logging
from runtime.metrics import REQUEST_SECONDS
from runtime.settings import Settings

MAXIMUM_BODY_BYTES = limits.BODY_BYTES.value
QUERY_BYTES, QUERY_PARAMETERS = limits.QUERY_BYTES.value, limits.QUERY_PARAMETERS.value
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
ALLOWED_METHODS = b"GET, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-API-Key, X-Audit-Reason, X-Request-Id, X-Tenant-Id"
)
EXPOSED_HEADERS = b"X-Request-Id, Idempotency-Replayed, Retry-After, ETag"
PREFLIGHT_SECONDS = b"600"
NOT_PLAIN = "Path not found: write it without empty segments, dots or encoded slashes"
PROBES = frozenset({"/health", "/ready"})
"""What load balancers may ask by HEAD."""
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")
"""For every answer that says nothing else of caches: wallets, profiles and refusals are for whoever asked, once."""
HSTS = (b"strict-transport-security", b"max-age=31536000")
"""To whoever came by https: come so next time too, and send no key in the clear. The console says the same."""
NOT_SERVED = "This process does not serve this part of the API"
CONSOLE = "/console"
INTERNAL = "/-/"
PAGE_ROUTE = "/v1/leaderboards/{leaderboard_id}"
SOCKET_ROUTE = PAGE_ROUTE + "/ws"

# A request id only has to be unique: drawing a UUID for each request would cost a tenth of accepting an event.
_PROCESS = os.urandom(8).hex().encode()
_NUMBERS = itertools.count(1)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer of the plain ASGI functions."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ClientGone(Exception):
    """The client closed the connection before its body was whole; nobody waits for an answer."""


async def read_body(headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes:
    """The request's body; raises `PayloadTooLarge` as soon as it is known to be too large, without reading the rest."""
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or int(value) > MAXIMUM_BODY_BYTES):
            raise PayloadTooLarge(f"The body is larger than {MAXIMUM_BODY_BYTES} bytes")
    message = await receive()
    body: bytes = message.get("body", b"")  # type: ignore[assignment]
    if message["type"] == "http.request" and not message["more_body"] and len(body) <= MAXIMUM_BODY_BYTES:
        return body
    parts, size = [body], len(body)
    while message["type"] == "http.request" and message["more_body"] and size <= MAXIMUM_BODY_BYTES:
        message = await receive()
        part: bytes = message.get("body", b"")  # type: ignore[assignment]
        parts.append(part)
        size += len(part)
    if size > MAXIMUM_BODY_BYTES:
        raise PayloadTooLarge(f"The body is larger than {MAXIMUM_BODY_BYTES} bytes")
    if message["type"] == "http.disconnect":
        raise ClientGone
    return b"".join(parts)


def query_problem(query_string: bytes) -> ValidationError | None:
    """What is wrong with a query that takes long to parse. It is told before anybody parses one, who asks being unknown yet."""
    if len(query_string) > QUERY_BYTES:
        return ValidationError(f"The query string has more than {QUERY_BYTES} bytes")
    if query_string.count(b"&") >= QUERY_PARAMETERS:
        return ValidationError(f"The query string has more than {QUERY_PARAMETERS} parameters")
    return None


def request_id_for(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The request's own id when it is a sane token, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value
    return b"%b-%x" % (_PROCESS, next(_NUMBERS))


def header_of(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


async def send_reply(send: Send, reply: Reply, request_id: bytes) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-request-id", request_id),
        NOSNIFF,
        *(reply.headers if any(name == b"cache-control" for name, _ in reply.headers) else (*reply.headers, NO_STORE)),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def cors_headers(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What an allowed browser needs to see on an answer."""
    return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED_HEADERS), (b"vary", b"Origin"))


def error_reply(raised: Exception, request_id: bytes) -> Reply:
    """The answer to an exception of a plain ASGI function."""
    text = request_id.decode()
    error: DomainError = known_error(raised) or internal_error(raised, text)
    headers = tuple((name.encode(), value.encode()) for name, value in retry_after(error).items())
    return Reply(status=error.status, body=error_body(error, text), headers=headers)


class Front:
    """Takes every request first. `ingest` answers the ingest paths, `pages` hot pages of boards, `sockets` WebSockets, `app` the rest."""

    def __init__(
        self,
        app: Litestar,
        ingest: Any,
        pages: Any,
        sockets: Any,
        *,
        authenticator: Any,
        console: Any,
        settings: Settings,
    ) -> None:
        """`ingest` has `paths` and `answer(scope, receive)`, `pages` `prefix` and `answer(scope)`; `authenticator` judges preflights.

        `console` is the application under `/console`. Of the settings the gateways count, and a public URL by which all come with https.
        """
        self._app = app
        self._console = console
        self._gateways = settings.gateways
        self._is_partial = "all" not in settings.gateways
        self._is_secure = settings.public_url.startswith("https://")
        self._ingest = ingest
        self._pages = pages
        self._sockets = sockets
        self._authenticator = authenticator
        self._access_log = settings.access_log == "on"

    @property
    def application(self) -> Litestar:
        """The Litestar application behind the front."""
        return self._app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        about = logging.begin(request_id_for(scope["headers"]))
        if self._access_log:
            await logged(lambda counted: self._answer(scope, receive, counted, about), scope, send, about)
        else:
            await self._answer(scope, receive, send, about)

    async def _answer(self, scope: Any, receive: Receive, send: Send, about: logging.Asked) -> None:
        """One request, or one WebSocket from its upgrade to its end."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        request_id = about.request_id
        if scope["type"] == "websocket":
            about.route = SOCKET_ROUTE
            await self._sockets(scope, receive, send, request_id=request_id, refusal=self._refusal_at_sight(scope))
            return
        if scope["method"] == "HEAD" and scope["path"] in PROBES:
            scope = {**scope, "method": "GET"}  # the server leaves the body out, by its own scope
        if self._is_secure or scope["scheme"] == "https":  # behind a trusted proxy the server takes the scheme from X-Forwarded-Proto
            send = _strict(send)
        if (refusal := self._refusal_at_sight(scope)) is not None:
            await self._refuse(scope, send, refusal, request_id)
        elif scope["method"] == "POST" and scope["path"] in self._ingest.paths:
            await self._take_events(scope, receive, send, about)
        elif scope["method"] == "GET" and scope["path"].startswith(self._pages.prefix):
            await self._show_page(scope, receive, send, about)
        elif scope["path"] == CONSOLE or scope["path"].startswith(CONSOLE + "/"):
            await self._hand_over(scope, receive, send, about, app=self._console)
        elif scope["method"] == "OPTIONS" and (origin := header_of(headers, b"origin")) is not None:
            await send_reply(send, await self._preflight(scope, origin, request_id), request_id)
        else:
            await self._hand_over(scope, receive, send, about)

    def _refusal_at_sight(self, scope: Any) -> DomainError | None:
        """What refuses a request by its target, whoever asks."""
        if not _is_plain(scope):
            return NotFound(NOT_PLAIN)
        if self._is_partial and not serves(self._gateways, scope["path"]):
            return NotFound(NOT_SERVED)
        return query_problem(scope["query_string"]) if scope["query_string"] else None

    async def _take_events(self, scope: Any, receive: Receive, send: Send, about: logging.Asked) -> None:
        started = time.perf_counter()
        request_id, about.route = about.request_id, scope["path"]
        try:
            reply = await self._ingest.answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:  # the edge of the process: whatever it is, it becomes an answer
            reply = await self._refusal(scope, error, request_id)
        await send_reply(send, reply, request_id)
        REQUEST_SECONDS.observe(scope["path"], reply.status, time.perf_counter() - started)

    async def _refuse(self, scope: Any, send: Send, error: DomainError, request_id: bytes) -> None:
        """Refuse before routing. A browser that asks beforehand is answered as for any path, else its page would not see the refusal."""
        origin = header_of(scope["headers"], b"origin") if scope["method"] == "OPTIONS" else None
        if origin is None:
            reply = await self._refusal(scope, error, request_id)
        else:
            reply = await self._preflight(scope, origin, request_id)
        await send_reply(send, reply, request_id)

    async def _refusal(self, scope: Any, error: Exception, request_id: bytes) -> Reply:
        reply = error_reply(error, request_id)
        if allowed := await self._readable_by(scope, reply.status):
            return Reply(status=reply.status, body=reply.body, headers=reply.headers + cors_headers(allowed))
        return reply

    async def _show_page(self, scope: Any, receive: Receive, send: Send, about: logging.Asked) -> None:
        started = time.perf_counter()
        try:
            reply = await self._pages.answer(scope)
        except Exception as error:  # the edge of the process
            reply = await self._refusal(scope, error, about.request_id)
        if reply is None:
            await self._hand_over(scope, receive, send, about)
            return
        about.route = PAGE_ROUTE
        await send_reply(send, reply, about.request_id)
        REQUEST_SECONDS.observe(PAGE_ROUTE, reply.status, time.perf_counter() - started)

    async def _readable_by(self, scope: Any, status: int) -> bytes | None:
        """The browser's origin that may read this answer.

        A refusal from before the tenant was known (no credential, an expired token) is shown to whom a preflight would let pass: without
        that, a page sees a failed fetch and not that it has to sign in again.
        """
        state = scope.get("state", {})
        if (allowed := state.get("cors_origin")) is not None or status < 400 or state.get("tenant_known"):
            return cast(bytes | None, allowed)
        origin = header_of(scope["headers"], b"origin")
        if origin is None:
            return None
        try:
            return origin if await self._is_allowed(scope, origin) else None
        except Exception:  # a database that is away, say: the refusal itself is on its way
            return None

    async def _is_allowed(self, scope: Any, origin: bytes) -> bool:
        if query_problem(scope["query_string"]) is not None:
            return False
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        named = query.get("tenant_id") or query.get("tenant")
        return cast(bool, await self._authenticator.preflight_allowed(origin.decode("latin-1"), named))

    async def _preflight(self, scope: Any, origin: bytes, request_id: bytes) -> Reply:
        try:
            if not await self._is_allowed(scope, origin):
                raise CorsNotAllowed("No tenant allows this origin")
        except Exception as error:  # the edge of the process
            reply = error_reply(error, request_id)
            return Reply(status=reply.status, body=reply.body, headers=((b"vary", b"Origin"),))
        headers = (
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", PREFLIGHT_SECONDS),
        )
        return Reply(status=204, body=b"", headers=headers + cors_headers(origin))

    async def _hand_over(self, scope: Any, receive: Receive, send: Send, about: logging.Asked, *, app: Any = None) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = about.request_id.decode()
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", about.request_id)]
                if app is None:  # the console has headers of its own
                    own.append(NOSNIFF)
                    own.extend([] if any(bytes(name).lower() == b"cache-control" for name, _ in message["headers"]) else [NO_STORE])
                if allowed := await self._readable_by(scope, status):
                    own.extend(cors_headers(allowed))
                message["headers"] = [*message["headers"], *own]
            await send(message)

        try:
            await (app or self._app)(scope, receive, send_with_id)
        finally:
            about.route = _route_of(scope, scope.get("route_handler"))
        REQUEST_SECONDS.observe(about.route, status, time.perf_counter() - started)


def _strict(send: Send) -> Send:
    async def send_strictly(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = [*message["headers"]]
            message["headers"] = present if any(bytes(name).lower() == HSTS[0] for name, _ in present) else [*present, HSTS]
        await send(message)

    return send_strictly


def _is_plain(scope: Any) -> bool:
    path: str = scope["path"]
    return is_plain(path, scope.get("raw_path", b"")) and not path.startswith(INTERNAL)


def _route_of(scope: Any, handler: Any) -> str:
    """The route's template, so that ids in paths do not become labels without number."""
    return scope.get("path_template") or ("unknown" if handler is None else "other")
