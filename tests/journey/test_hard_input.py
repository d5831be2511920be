"""Clients that send too much, too slowly or nonsense get a clear error; the service goes on and its memory stays (contract 1)."""

import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import msgspec
import pytest
import pytest_asyncio
import uvicorn

from runtime.http_server import HEAD_BYTES, PatientProtocol
from runtime.postgres import Pool
from runtime.serving import server_config
from runtime.settings import Settings
from server import create_app
from tests.builders.api import World, event, make_world
from tests.builders.console import Tab, add_person
from tests.conftest import settings_for
from tests.journey.programme import eventually

CROWD = 40
WAIT_SECONDS = 60.0
RESET = (0, "")
"""What a client reads that was still sending when the server closed: the reset may overtake the answer."""


class Impatient(PatientProtocol):
    """Little time for a request. Only for the tests of that: a slow machine takes longer for any request now and then."""

    head_seconds = unread_seconds = 0.6
    message_seconds = 1.2


class Exclusive(PatientProtocol):
    """Few connections, each of which may stay."""

    head_seconds = message_seconds = 600.0
    max_connections = CROWD


@contextmanager
def served_as_in_production(settings: Settings, http: type[PatientProtocol] | None = None) -> Iterator[str]:
    config = server_config(create_app(settings), settings)
    config.http = http or config.http
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + WAIT_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT_SECONDS)
        listener.close()


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with served_as_in_production(settings_for(postgres_url, redis_server, "127.0.0.1:1")) as address:
        yield address


@pytest.fixture(scope="module")
def impatient_url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with served_as_in_production(settings_for(postgres_url, redis_server, "127.0.0.1:1"), Impatient) as address:
        yield address


@pytest.fixture
def exclusive_url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with served_as_in_production(settings_for(postgres_url, redis_server, "127.0.0.1:1"), Exclusive) as address:
        yield address


@pytest_asyncio.fixture
async def impatient(pool: Pool, settings: Settings, impatient_url: str) -> World:
    return await make_world(settings, impatient_url)


@pytest_asyncio.fixture
async def exclusive(pool: Pool, settings: Settings, exclusive_url: str) -> World:
    return await make_world(settings, exclusive_url)


@contextmanager
def raw(world: World) -> Iterator[socket.socket]:
    with connected(world) as connection:
        yield connection


def connected(world: World) -> socket.socket:
    host, port = world.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)


def told(connection: socket.socket) -> tuple[int, str]:
    """Status and code of what the server says before it closes; RESET when it says nothing."""
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    if not received:
        return RESET
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def answer(connection: socket.socket) -> tuple[int, str]:
    """Status and code of the first answer, on a connection that may stay open."""
    with connection.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        length = 0
        while (line := lines.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = json.loads(lines.read(length))
    return status, body["error"]["code"] if "error" in body else ""


def head(world: World, *more: str, path: str = "/v1/events") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: laurel", f"Authorization: Bearer {world.keys['admin']}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def goes_on(world: World, name: str = "e1") -> None:
    with world.client() as client:
        assert client.post("/v1/events", json=event(name)).status_code == 202


def goes_on_sometime(world: World) -> None:
    """For a server with small limits: it may not have seen the end of a connection yet, or have no patience with a slow machine."""

    def answered() -> bool:
        with world.client() as client, suppress(httpx.TransportError):
            return client.post("/v1/events", json=event("e1")).status_code == 202
        return False

    eventually(answered)


def test_a_head_that_does_not_end_is_refused(impatient: World) -> None:
    for start in (b"", b"POST /v1/events HTTP/1.1\r\nHost: laurel\r\nX-Slow: "):
        with raw(impatient) as connection:
            connection.sendall(start)
            assert told(connection) == (408, "REQUEST_TIMEOUT")
    goes_on_sometime(impatient)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/users"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_refused(impatient: World, path: str, framing: str) -> None:
    with raw(impatient) as connection:
        connection.sendall(head(impatient, "Content-Type: application/json", framing, path=path))
        assert told(connection) == (408, "REQUEST_TIMEOUT")
    goes_on_sometime(impatient)


@pytest.mark.parametrize("last", ["", "Connection: close"])
def test_who_reads_nothing_of_its_answers_is_cut_off(impatient: World, last: str) -> None:
    """Whether the server still has answers to write, or has written the last one and closed: what is not read keeps no connection."""
    with raw(impatient) as connection:
        asked = f"GET /docs HTTP/1.1\r\nHost: laurel\r\n{last}\r\n\r\n" if last else "GET /docs HTTP/1.1\r\nHost: laurel\r\n\r\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(asked.encode() * (1 if last else 20))
        deadline = time.monotonic() + WAIT_SECONDS
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                connection.sendall(b"\r\n")
                time.sleep(0.05)
            pytest.fail("the connection is still open")
    goes_on_sometime(impatient)


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_byte_now_and_then_does_not_help(impatient: World, framing: str) -> None:
    with raw(impatient) as connection:
        connection.sendall(head(impatient, "Content-Type: application/json", framing))
        connection.settimeout(0.05)
        ended, deadline = False, time.monotonic() + WAIT_SECONDS
        with suppress(ConnectionError):
            while not ended:
                assert time.monotonic() < deadline, "the server listens as long as a byte comes now and then"
                connection.sendall(b"1" if "Length" in framing else b"1\r\n{\r\n")
                with suppress(TimeoutError):
                    connection.recv(1, socket.MSG_PEEK)
                    ended = True
        connection.settimeout(WAIT_SECONDS)
        assert told(connection) in ((408, "REQUEST_TIMEOUT"), RESET)
    goes_on_sometime(impatient)


@pytest.mark.parametrize("flood", [[f"X-{n}: 1" for n in range(200)], ["X-Long: " + "a" * HEAD_BYTES * 8]])
def test_a_flood_of_headers_is_refused(world: World, flood: list[str]) -> None:
    with raw(world) as connection:
        with suppress(ConnectionError):
            connection.sendall(head(world, *flood))
        assert told(connection) in ((431, "HEADERS_TOO_LARGE"), RESET)
    goes_on(world)


@pytest.mark.parametrize(
    "nonsense", [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"POST / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_request_is_refused(world: World, nonsense: bytes) -> None:
    with raw(world) as connection:
        connection.sendall(nonsense)
        assert told(connection) == (400, "VALIDATION_ERROR")
    goes_on(world)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/admin/api-keys"])
def test_trailers_never_pass_for_headers(world: World, path: str) -> None:
    """A proxy judges and rewrites headers of the head; what comes behind the body was judged by nobody."""
    body = json.dumps(event("trailed") if path == "/v1/events" else {"name": "trailed", "role": "admin"}).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: laurel", "Transfer-Encoding: chunked", "Trailer: Authorization"]
    message = "\r\n".join(lines).encode() + b"\r\n\r\n" + b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    with connected(world) as connection:
        connection.sendall(message + f"Authorization: Bearer {world.keys['admin']}\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n".encode())
        assert answer(connection)[0] == 401
    goes_on(world, "after-trailers")


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 60_000 + b"\r\n", b"a" * 65_536], ids=["many-trailers", "one-endless-trailer"])
def test_endless_trailers_are_refused_and_kept_nowhere(world: World, piece: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connected(world) as connection, suppress(ConnectionError):
        connection.sendall(head(world, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n" + (b"" if piece.endswith(b"\r\n") else b"X-A: "))
        for _ in range(400):
            connection.sendall(piece)
        pytest.fail("it read 24 MB of trailers")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kilobytes"
    goes_on(world, "after-flood")


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /health HTTP/1.1"],
        ["GET /health HTTP/1.1", "Host: a", "Host: b"],
        ["POST /v1/events HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"],
        ["POST /v1/events HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"],
        ["POST /v1/events HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["GET /health HTTP/0.9", "Host: a"],
    ],
    ids=["no-host", "two-hosts", "chunked-in-1.0", "gzip", "chunked-twice", "0.9"],
)
def test_what_two_servers_may_understand_in_two_ways_is_refused(world: World, lines: list[str]) -> None:
    with connected(world) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n0\r\n\r\n")
        assert answer(connection)[0] == 400


def test_a_head_in_one_piece_has_the_same_limit(world: World) -> None:
    with connected(world) as connection, suppress(ConnectionError):
        connection.sendall(head(world, "X-Long: " + "a" * HEAD_BYTES))
        assert told(connection) in ((431, "HEADERS_TOO_LARGE"), RESET)


def test_a_wish_for_http_2_is_not_granted_and_costs_no_body(world: World) -> None:
    """What Java's client sends first on a plain connection."""
    body = json.dumps(event("from-java")).encode()
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"]
    message = head(world, *upgrade, f"Content-Length: {len(body)}") + body
    for cut in (len(message), 40, message.index(b"AAEA")):  # also when the head comes in two pieces
        with connected(world) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(message[:cut])
            time.sleep(0.05 if cut < len(message) else 0)  # the kernel would join the pieces
            connection.sendall(message[cut:])
            assert answer(connection)[0] == 202


def test_what_comes_behind_a_wish_for_http_2_is_answered_too(world: World) -> None:
    one = b"GET /health HTTP/1.1\r\nHost: laurel\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connected(world) as connection:
        connection.sendall(one * 3 + head(world, "Connection: close", "Content-Length: 2") + b"{}")
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert (received.count(b"HTTP/1.1 200"), received.count(b"HTTP/1.1 400")) == (3, 1)


@pytest.mark.parametrize("path", ["/v1/leaderboards/b/ws?x=" + "y" * 9000, "/v1/leaderboards/b/ws"])
def test_an_upgrade_with_a_line_that_is_too_long_is_answered(world: World, path: str) -> None:
    with raw(world) as connection:
        lines = [
            "Host: laurel",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {'A' * 22}==",
        ]
        long = [] if "?" in path else ["Authorization: Bearer " + "a" * 9000]
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, *long, "", ""]).encode())
        assert told(connection) == (400, "VALIDATION_ERROR")
    goes_on(world)


def test_a_request_before_a_malformed_one_is_answered(world: World) -> None:
    with connected(world) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: laurel\r\n\r\nno request at all\r\n\r\n")
        assert answer(connection)[0] == 200


def test_a_large_head_behind_another_request_in_one_piece_is_refused_behind_its_answer(world: World) -> None:
    with connected(world) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: laurel\r\n\r\n" + head(world, "X-Long: " + "a" * (HEAD_BYTES + 1000)))
        assert answer(connection)[0] == 200
        assert connection.recv(65_536) == b"", "the large one was read"


def test_trailers_behind_a_large_body_have_the_same_limit(world: World) -> None:
    body = b" " * 1_000_000
    with connected(world) as connection, suppress(ConnectionError):
        connection.sendall(head(world, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\nX-A: " % (len(body), body))
        for _ in range(200):  # the kernel takes some MB itself
            connection.sendall(b"a" * 65_536)
        pytest.fail("it read 13 MB of trailers")


@pytest.mark.parametrize(
    "path", ["//v1/admin/settings", "/v1//admin/settings", "/v1/admin%2fsettings", "/v1/./admin/settings", "/-/openapi.json"]
)
def test_a_path_has_one_spelling(world: World, path: str) -> None:
    with connected(world) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: laurel\r\nAuthorization: Bearer {world.keys['admin']}\r\n\r\n".encode())
        assert answer(connection) == (404, "NOT_FOUND")


def test_more_connections_than_a_process_takes_are_refused_and_the_next_ones_served(exclusive: World) -> None:
    with ExitStack() as held:
        waiting = [held.enter_context(connected(exclusive)) for _ in range(CROWD)]
        for each in waiting:  # none is refused: each has begun a request
            each.sendall(b"POST /v1/events HTTP/1.1\r\n")
        for _ in range(10):
            with raw(exclusive) as connection:
                assert told(connection) == (503, "UNAVAILABLE")
        waiting[0].sendall(head(exclusive, "Content-Length: 2", "Connection: close").split(b"\r\n", 1)[1] + b"{}")
        assert told(waiting[0]) == (400, "VALIDATION_ERROR")
    goes_on_sometime(exclusive)


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


def test_a_refusal_is_short_whatever_it_repeats(world: World) -> None:
    timeframe = {"type": "weekly", "timezone": "x" * 900_000}
    rules = [{"event_type": "goal", "points_expression": "1"}]
    board = {"leaderboard_id": "long", "name": "Cup", "config": {"timeframe": timeframe, "scoring": {"rules": rules}}}
    with world.client() as client:
        refused = client.post("/v1/admin/leaderboards", json=board)
        assert (refused.status_code, refused.json()["error"]["details"][0]["field"]) == (400, "config.timeframe.timezone")
        assert len(refused.content) < 20_000
        timeframe["timezone"] = "UTC"
        client.post("/v1/admin/leaderboards", json=board).raise_for_status()
        digits = client.put("/v1/admin/leaderboards/long", json=board, headers={"If-Match": "1" * 5000})
        assert (digits.status_code, digits.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


def test_a_form_of_a_stranger_is_short_and_no_form_has_thousands_of_fields(world: World) -> None:
    words = {"Content-Type": "application/x-www-form-urlencoded"}
    with world.client() as client:
        assert client.post("/console/sign-in", content="email=" + "a" * 20_000, headers=words).status_code == 413
    tab = Tab(world.url)
    tab.sign_in(add_person(world))
    assert tab.client.post("/preferences", content="a=1&" * 3000, headers=words).status_code == 413


def test_a_member_that_comes_twice_counts_as_the_last_says(world: World) -> None:
    with world.client() as client:
        body = msgspec.json.encode(event("twice"))[:-1] + b',"type":"second"}'
        assert client.post("/v1/events", content=body).status_code == 202
        (kept,) = client.get("/v1/admin/events", params={"event_id": "twice"}).json()["events"]
    assert kept["type"] == "second"


@pytest.mark.parametrize(("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.7"), (("192.0.2.1",), "127.0.0.1")])
async def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    pool: Pool, settings: Settings, trusted: tuple[str, ...], seen: str
) -> None:
    with served_as_in_production(msgspec.structs.replace(settings, trusted_proxies=trusted)) as url:
        world = await make_world(settings, url)
        email, tab = add_person(world), Tab(url, **{"X-Forwarded-For": "203.0.113.7"})
        assert tab.sign_in(email).status_code == 200
    assert world.rows("SELECT address FROM console_session") == [(seen,)]
    assert world.rows("SELECT after ->> 'address' FROM audit_log WHERE action = 'sign_in'") == [(seen,)]


@pytest.mark.parametrize(
    ("trusted", "public_url", "strict"),
    [(("127.0.0.0/8",), "", True), (("192.0.2.1",), "", False), ((), "https://laurel.example", True)],
)
def test_who_comes_by_https_is_told_to_stay_with_it(settings: Settings, trusted: tuple[str, ...], public_url: str, strict: bool) -> None:
    changed = msgspec.structs.replace(settings, trusted_proxies=trusted, public_url=public_url or settings.public_url)
    paths = ("/v1/leaderboards", "/v1//leaderboards", "/v1/leaderboards/x", "/health", "/console/sign-in", "/v1/nowhere")
    with served_as_in_production(changed) as url, httpx.Client(base_url=url, headers={"X-Forwarded-Proto": "https"}) as client:
        answers = [client.get(path) for path in paths] + [client.post("/v1/events", json={})]
    told = [answer.headers.get_list("strict-transport-security") for answer in answers]
    assert told == [["max-age=31536000"] if strict else []] * len(answers)


@pytest.mark.parametrize("query", ["a=1&" * 100, "x=" + "%41" * 4000])
@pytest.mark.parametrize(
    "path", ["/v1/leaderboards", "/v1/leaderboards/none", "/v1/leaderboards/none/ws", "/v1/events", "/console/sign-in"]
)
def test_a_query_that_takes_long_to_parse_is_parsed_for_nobody(world: World, path: str, query: str) -> None:
    """Neither for whoever has no credential, nor for a browser that asks beforehand."""
    with world.client(None) as stranger:
        method = "POST" if path == "/v1/events" else "GET"
        socket_headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "A" * 22 + "==",
        }
        told = stranger.request(method, f"{path}?{query}", headers=socket_headers if path.endswith("ws") else {})
        assert (told.status_code, told.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
        asked = stranger.request("OPTIONS", f"{path}?{query}", headers={"Origin": "https://shop.example"})
        assert asked.status_code == 403
