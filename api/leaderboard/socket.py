"""The WebSocket of a board (contract 3): admission before the upgrade, then one reader and one sender for each connection.

It is plain ASGI in front of Litestar, as the ingest path is: a refusal has to be an HTTP answer, and the server's own `send` tells when
a client does not read.
"""

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from litestar import get
from litestar.exceptions import HTTPException
from litestar.types import Receive, Send
from psycopg_pool import PoolTimeout

from api.admission import AdmissionControl
from api.credential_text import SUBPROTOCOL, RequestFacts, request_facts
from api.errors import internal_error, known_error
from api.known_query import check_query
from api.leaderboard.board import BoardReader
from api.leaderboard.room import Room
from api.leaderboard.socket_session import Client, encode, error_message
from api.middleware import error_reply
from api.principal import Admission, Principal
from api.rule import BOARD_READERS, rule_of
from domain import limits
from domain.errors import DomainError, NotFound, RateLimited
from domain.leaderboard.view import CURRENT, Wanted
from runtime.metrics import SOCKETS_CLOSED, SOCKETS_OPEN
from runtime.redis import Redis
from runtime.settings import Settings
from storage.leaderboard.feed import BoardFeed

log = logging.getLogger(__name__)

PATH = re.compile(r"/v1/leaderboards/([^/]+)/ws")
MESSAGE_BYTES = 65_536
KEEP_SECONDS = 0.25
CREDENTIAL_SECONDS = 0.15
"""Between two looks at all credentials. Together with the time for which one is believed it makes up the second of contract 1."""
CHECKED_AT_ONCE = 200
"""So many connections are looked at between two turns of others."""
CLOSE_SECONDS = 30.0
SEND_BUFFER_BYTES = 131_072
TOO_LARGE, SLOW, EXPIRED, FORBIDDEN = 1009, 1013, 4401, 4403
CHATTER = ('%s - "WebSocket', "connection ", "ASGI callable returned without completing handshake")
"""How the server's lines about single connections begin."""
CLOSING = {401: EXPIRED, 403: FORBIDDEN}
"""How a connection is closed that would be refused now; any other refusal says nothing about it."""


class SocketConnection(msgspec.Struct, eq=False):
    """A client with the request by which it was let in, and its admission as it was when last looked at."""

    client: Client
    facts: RequestFacts
    admission: Admission


class Upgrade(msgspec.Struct, frozen=True):
    """A request for a WebSocket, as ASGI gives it."""

    scope: Any
    receive: Receive
    send: Send
    request_id: bytes


class Sockets:
    """All WebSockets of a process."""

    def __init__(self, settings: Settings, reader: BoardReader, redis: Redis, control: AdmissionControl) -> None:
        """`start` has to be called before the first connection comes."""
        self._heartbeat_seconds = settings.socket_heartbeat_seconds
        self._stuck_seconds = settings.socket_stuck_seconds
        self._reader, self._control, self._rule = reader, control, rule_of(explain_upgrade)
        self._feed = BoardFeed(redis)
        self._rooms: dict[tuple[UUID, str], Room] = {}
        self._connections: set[SocketConnection] = set()
        self._taken: Counter[tuple[UUID, str]] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen for changes, and look after the connections."""
        logging.getLogger("uvicorn.error").addFilter(_is_of_interest)
        loops = (self._feed.run(), self._keep(), self._check_credentials())
        self._tasks = [asyncio.create_task(loop, name="sockets") for loop in loops]

    async def stop(self) -> None:
        """End what `start` began; the server closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for room in list(self._rooms.values()):
            await room.stop()
        await self._feed.close()

    async def __call__(self, scope: Any, receive: Receive, send: Send, *, request_id: bytes, refusal: DomainError | None) -> None:
        """One connection, from the upgrade to its end. `refusal` is what refuses it at sight."""
        await receive()
        try:
            if refusal is not None:
                raise refusal
            leaderboard_id = _board_of(scope)
            admission = await self._control.admit(scope, self._rule)
            check_query(scope["query_string"], ())
        except Exception as error:  # the edge of the process: whatever it is, it becomes an answer
            await _refuse(scope, send, error, request_id)
            return
        try:
            with self._place(admission.principal):
                room = self._room(admission.principal.tenant_id, leaderboard_id)
                await self._serve(room, Upgrade(scope, receive, send, request_id), admission)
        except RateLimited as error:
            await _refuse(scope, send, error, request_id)

    @contextlib.contextmanager
    def _place(self, principal: Principal) -> Iterator[None]:
        """A connection's place among those of its tenant and of its person; raises `RateLimited` when one of them has no more."""
        places = [((principal.tenant_id, ""), limits.SOCKETS_OF_TENANT.value)]
        if principal.kind != "api_key":  # whose holders serve many people
            places.append(((principal.tenant_id, principal.actor), limits.SOCKETS_OF_PERSON.value))
        for place, most in places:
            if self._taken[place] >= most:
                raise RateLimited(f"At most {most} open WebSockets", retry_after=1)
        self._taken.update(place for place, _ in places)
        try:
            yield
        finally:
            for place, _ in places:
                self._taken[place] -= 1
                if not self._taken[place]:
                    del self._taken[place]

    async def _serve(self, room: Room, upgrade: Upgrade, admission: Admission) -> None:
        """The admitted connection, to its end."""
        scope, receive, send, request_id = upgrade.scope, upgrade.receive, upgrade.send, upgrade.request_id
        client = Client(lambda text: send({"type": "websocket.send", "text": text, "bytes": None}))
        room.clients.add(client)
        try:
            await room.look(client, Wanted(window_key=CURRENT))
        except Exception as error:  # the same edge
            await self._leave(room, client)
            await _refuse(scope, send, error, request_id)
            return
        connection = SocketConnection(client, request_facts(scope), admission)
        self._connections.add(connection)
        SOCKETS_OPEN.inc()
        try:
            await _accept(scope, send, request_id)
            await _converse(room, client, admission, receive)
        except OSError:
            pass  # the client has gone
        finally:
            self._connections.discard(connection)
            SOCKETS_OPEN.dec()
            await self._leave(room, client)
        if client.closing is not None:
            SOCKETS_CLOSED.labels(str(client.closing[0])).inc()
            await _close(send, *client.closing)

    def _room(self, tenant_id: UUID, leaderboard_id: str) -> Room:
        room = self._rooms.get((tenant_id, leaderboard_id))
        if room is None:
            room = self._rooms[tenant_id, leaderboard_id] = Room(self._reader, self._feed, tenant_id, leaderboard_id)
            room.start()
        return room

    async def _leave(self, room: Room, client: Client) -> None:
        room.leave(client)
        if room.clients:
            return
        for key, kept in list(self._rooms.items()):
            if kept is room:
                del self._rooms[key]
        await room.stop()

    async def _keep(self) -> None:
        """Heartbeats after quiet, and the end of connections that do not read."""
        heartbeat = encode({"type": "heartbeat"})
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            now = time.monotonic()
            for client in [connection.client for connection in self._connections]:
                if client.sending_since is not None:
                    if now - client.sending_since >= self._stuck_seconds:
                        client.close(SLOW, "the client does not read")
                elif now - client.sent_at >= self._heartbeat_seconds:
                    client.sent_at = now
                    client.tell(heartbeat)

    async def _check_credentials(self) -> None:
        """Ask for each connection whether it would be let in now. PostgreSQL away is no reason to close."""
        while True:
            await asyncio.sleep(CREDENTIAL_SECONDS)
            for number, connection in enumerate(list(self._connections), 1):
                try:
                    connection.admission = await self._control.admit_again(connection.facts, self._rule, connection.admission)
                except DomainError as error:
                    if error.status in CLOSING:
                        connection.client.close(CLOSING[error.status], error.message)
                except (psycopg.Error, PoolTimeout, OSError) as error:
                    log.warning("the credentials of open connections cannot be checked now: %s", error)
                    break
                if number % CHECKED_AT_ONCE == 0:
                    await asyncio.sleep(0)


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a line of the server tells something. It has two for every upgrade of anybody, which is the access log's matter, and counts
    each that is refused as an error of ours."""
    return not str(record.msg).startswith(CHATTER)


def _board_of(scope: Any) -> str:
    """The board that an upgrade names; NotFound for any path but the one of WebSockets."""
    found = PATH.fullmatch(scope["path"])
    if found is None:
        raise NotFound("Route not found")
    return found[1]


async def _refuse(scope: Any, send: Send, error: Exception, request_id: bytes) -> None:
    """An HTTP answer in the place of the upgrade, where the server can give one."""
    reply = error_reply(error, request_id)
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": FORBIDDEN, "reason": ""})
        return
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-request-id", request_id),
        *reply.headers,
    ]
    await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": reply.body, "more_body": False})


async def _accept(scope: Any, send: Send, request_id: bytes) -> None:
    offered = [name for name in scope.get("subprotocols") or [] if name.lower() == SUBPROTOCOL]
    subprotocol = offered[0] if offered else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x-request-id", request_id)]})
    if (transport := _transport(send)) is not None and (raw := transport.get_extra_info("socket")) is not None:
        # What the kernel keeps for a client that does not read is old news: keep it small.
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


async def _converse(room: Room, client: Client, admission: Admission, receive: Receive) -> None:
    """Until the client goes, or is to be closed."""
    sender = client.start()
    reader = asyncio.create_task(_read(room, client, admission, receive), name="socket-reader")
    await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
    for task in (sender, reader):
        task.cancel()
    for error in await asyncio.gather(sender, reader, return_exceptions=True):
        if isinstance(error, Exception) and not isinstance(error, OSError):
            log.error("a connection has failed", exc_info=error)


async def _read(room: Room, client: Client, admission: Admission, receive: Receive) -> None:
    while True:
        message: Any = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        body = message.get("bytes") or b"" if text is None else text.encode()
        if len(body) > MESSAGE_BYTES:
            client.close(TOO_LARGE, "the message is larger than 65536 bytes")
            return
        try:
            await admission.charge()
            await room.hear(client, body)
        except Exception as error:  # the edge of the conversation: the client is told, the connection stays
            client.tell(error_message(known_error(error) or internal_error(error, "of a WebSocket")))
        await client.drained()


def _transport(send: Send) -> Any:
    """The connection's transport, when the server is uvicorn; ASGI has no way to reach it."""
    return getattr(getattr(send, "__self__", None), "transport", None)


async def _close(send: Send, code: int, reason: str) -> None:
    """Close; a client that does not even take that is cut off."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await send({"type": "websocket.close", "code": code, "reason": reason[:100]})
    except TimeoutError:
        if (transport := _transport(send)) is not None:
            transport.abort()
    except (OSError, RuntimeError):
        pass  # it is closed already


@get("/v1/leaderboards/{leaderboard_id:str}/ws", rule=BOARD_READERS, status_code=101, operation_id="watch_leaderboard")
async def explain_upgrade(leaderboard_id: str) -> None:
    """The WebSocket of a board: connect with `Authorization: Bearer`, or with the subprotocols `bearer, <token>` from a browser."""
    raise HTTPException("This route is a WebSocket", status_code=426, headers={"Upgrade": "websocket"})


routes = [explain_upgrade]
