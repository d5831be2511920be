"""Clients that send too much, too slowly or nonsense get a clear error; the service goes on and its memory stays (contract 1)."""

import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import msgspec
import pytest
import pytest_asyncio
import uvicorn

from api.app import create_app
from cli.processes import server_config
from runtime.http_server import HEAD_BYTES, PatientProtocol
from runtime.postgres import Pool
from runtime.settings import Settings
from tests.api_world import World, event, make_world
from tests.conftest import settings_for

CROWD = 40


class Impatient(PatientProtocol):
    """The limits of the service, small enough for a test."""

    head_seconds = 0.6
    message_seconds = 1.2
    max_connections = CROWD


@contextmanager
def served_as_in_production(settings: Settings) -> Iterator[str]:
    config = server_config(create_app(settings), settings)
    config.http = Impatient
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with served_as_in_production(settings_for(postgres_url, redis_server, "127.0.0.1:1")) as address:
        yield address


@pytest_asyncio.fixture
async def world(pool: Pool, settings: Settings, url: str) -> World:
    return await make_world(settings, url)


@contextmanager
def raw(world: World) -> Iterator[socket.socket]:
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def told(connection: socket.socket) -> tuple[int, str]:
    """Status and code of what the server says before it closes; (0, "") when it says nothing."""
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    if not received:
        return 0, ""
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def head(world: World, *more: str, path: str = "/v1/events") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: laurel", f"Authorization: Bearer {world.keys['admin']}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def goes_on(world: World, name: str = "e1") -> None:
    with world.client() as client:
        assert client.post("/v1/events", json=event(name)).status_code == 202


def test_a_head_that_does_not_end_is_refused(world: World) -> None:
    for start in (b"", b"POST /v1/events HTTP/1.1\r\nHost: laurel\r\nX-Slow: "):
        with raw(world) as connection:
            connection.sendall(start)
            assert told(connection) == (408, "REQUEST_TIMEOUT")
    goes_on(world)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/users"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_refused(world: World, path: str, framing: str) -> None:
    with raw(world) as connection:
        connection.sendall(head(world, "Content-Type: application/json", framing, path=path))
        started = time.monotonic()
        with suppress(ConnectionError, TimeoutError):
            for _ in range(100):  # a byte now and then does not help
                connection.sendall(b'{"a' if "Length" in framing else b"1\r\n{\r\n")
                connection.settimeout(0.05)
                with suppress(TimeoutError):
                    if connection.recv(1, socket.MSG_PEEK):
                        break
        connection.settimeout(10)
        assert told(connection) == (408, "REQUEST_TIMEOUT")
        assert time.monotonic() - started < 8
    goes_on(world)


@pytest.mark.parametrize("flood", [[f"X-{n}: 1" for n in range(200)], ["X-Long: " + "a" * HEAD_BYTES * 8]])
def test_a_flood_of_headers_is_refused(world: World, flood: list[str]) -> None:
    with raw(world) as connection:
        with suppress(ConnectionError):
            connection.sendall(head(world, *flood))
        assert told(connection) in ((431, "HEADERS_TOO_LARGE"), (0, ""))  # a reset may overtake the answer
    goes_on(world)


@pytest.mark.parametrize(
    "nonsense", [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"POST / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_request_is_refused(world: World, nonsense: bytes) -> None:
    with raw(world) as connection:
        connection.sendall(nonsense)
        assert told(connection) == (400, "VALIDATION_ERROR")
    goes_on(world)


def test_more_connections_than_a_process_takes_are_refused_and_the_next_ones_served(world: World) -> None:
    waiting = [socket.create_connection(tuple(world.url.removeprefix("http://").split(":")), timeout=10) for _ in range(CROWD + 10)]
    answers = [told(each) for each in waiting]
    for each in waiting:
        each.close()
    assert answers.count((503, "UNAVAILABLE")) >= 10
    assert set(answers) == {(503, "UNAVAILABLE"), (408, "REQUEST_TIMEOUT")}
    goes_on(world)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/users", "/v1/admin/leaderboards", "/v1/admin/rewards"])
def test_hard_bodies_are_refused_and_kept_nowhere(world: World, path: str) -> None:
    nested, wide = b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    bodies = [
        nested,
        wide,
        b"[" * 1_000_000,
        b'"\xff"',
        b'{"a":"\\ud800"}',
        b"1e999",
        b"-",
        b"[1,]",
        b"{" + b'"a":1,' * 100_000 + b'"a":1}',
    ]
    with world.client() as client:
        for body in bodies:
            client.post(path, content=body)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(5):
            for body in bodies:
                answer = client.post(path, content=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR"), body[:20]
        endless = (b" " * 65_536 for _ in range(4_000))  # 260 MB, were it read
        with suppress(httpx.TransportError):
            assert client.post(path, content=endless).status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB; a body is at most 1 MB
    goes_on(world)


def test_a_member_that_comes_twice_counts_as_the_last_says(world: World) -> None:
    with world.client() as client:
        body = msgspec.json.encode(event("twice"))[:-1] + b',"type":"second"}'
        assert client.post("/v1/events", content=body).status_code == 202
        (kept,) = client.get("/v1/admin/events", params={"event_id": "twice"}).json()["events"]
    assert kept["type"] == "second"
