"""Boards over WebSocket, as apps use them: what a client holds is what REST answers."""

import json
import random
import socket as sockets
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.board_socket import WAIT_SECONDS, BoardSocket, api_process, watching
from tests.conftest import Stack
from tests.journey.test_leaderboards import until

FILTERS: list[dict[str, Any]] = [
    {"filter": {"type": "all"}, "page": 1, "page_size": 5},
    {"filter": {"type": "all"}, "page": 2, "page_size": 4},
    {"filter": {"type": "top_n", "n": 6}, "page": 1, "page_size": 100},
    {"filter": {"type": "top_n", "n": 6}, "page": 2, "page_size": 4},
    {"filter": {"type": "around_user", "user_id": "u3", "range": 2}},
    {"filter": {"type": "users", "user_ids": ["u9", "u2", "nobody", "u2", "ünï"]}},
]
USERS = [*(f"u{n}" for n in range(11)), "ünï"]


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def make_board(client: httpx.Client, name: str, **config: Any) -> None:
    rules = [{"event_type": f"ws.{name}", "points_expression": "attrs.score"}]
    body = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules, "aggregation": "sum"}, **config}
    made = client.post("/v1/admin/leaderboards", json={"leaderboard_id": name, "name": name, "config": body})
    assert made.status_code == 201, made.text


def play(client: httpx.Client, board: str, *scores: tuple[str, float]) -> None:
    now = datetime.now(UTC).isoformat()
    events = [
        {"event_id": f"{board}-{time.monotonic_ns()}-{n}", "type": f"ws.{board}", "actor": {"user_id": user}, "occurred_at": now}
        | {"attrs": {"score": score}}
        for n, (user, score) in enumerate(scores)
    ]
    answer = client.post("/v1/events/bulk", json={"events": events})
    assert answer.status_code == 202, answer.text
    assert answer.json()["failed"] == 0, answer.text


def by_rest(client: httpx.Client, board: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a view, asked over REST."""
    asked, page, size = wanted["filter"], wanted.get("page", 1), wanted.get("page_size", 100)
    if asked["type"] == "around_user":
        answer = client.get(f"/v1/leaderboards/{board}/user/{asked['user_id']}", params={"limit": 2 * asked["range"] + 1})
        return list(answer.json()["entries"]) if answer.status_code == 200 else []
    entries = list(client.get(f"/v1/leaderboards/{board}", params={"limit": 1000}).json()["entries"])
    if asked["type"] == "users":
        return [entry for entry in entries if entry["user_id"] in asked["user_ids"]]
    if asked["type"] == "top_n":
        entries = entries[: asked["n"]]
    return entries[(page - 1) * size : page * size]


def assert_same_as_rest(client: httpx.Client, board: str, wanted: dict[str, Any], socket: BoardSocket) -> None:
    """Soon the client holds what REST answers; the board does not change meanwhile."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        total = client.get(f"/v1/leaderboards/{board}").json()["total"]
        if (socket.held(), socket.total) == (expected := by_rest(client, board, wanted), total):
            return
        assert time.monotonic() < deadline, f"{wanted}: {socket.held()} is not {expected}"
        with suppress(TimeoutError):
            socket.receive(0.1)
            while True:  # all that is here already: asking REST takes longer than reading
                socket.receive(0.0)


def test_a_client_holds_what_rest_answers_whatever_it_looks_at(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wsall", ranking={"min_score": -50})
    chance = random.Random(7)
    url, key = stack.described["api_url"], stack.described["api_key"]
    opened = [watching(url, "wsall", key) for _ in FILTERS]
    sockets = [each.__enter__() for each in opened]
    try:
        for socket, wanted in zip(sockets, FILTERS, strict=True):
            assert (socket.held(), socket.total, socket.page, socket.page_size) == ([], 0, 1, 100)
            snapshot = socket.configure(**wanted)
            assert (snapshot["page"], snapshot["page_size"]) == (wanted.get("page", 1), wanted.get("page_size", 100))
        for _ in range(12):
            for _ in range(chance.randint(1, 4)):
                play(client, "wsall", *((chance.choice(USERS), chance.randint(-40, 60)) for _ in range(chance.randint(1, 12))))
            if chance.random() < 0.4:
                named = {"external_id": chance.choice(USERS), "display_name": f"N{chance.random()}"}
                assert client.post("/v1/users", json=named).status_code < 300
            time.sleep(0.15)
            for socket, wanted in zip(sockets, FILTERS, strict=True):
                assert_same_as_rest(client, "wsall", wanted, socket)
        assert all("update" in socket.kinds for socket in sockets)
    finally:
        for each in opened:
            each.__exit__(None, None, None)


def test_the_conversation(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wstalk")
    play(client, "wstalk", *((f"p{n}", 100 - n) for n in range(7)))
    with watching(stack.described["api_url"], "wstalk", stack.described["api_key"]) as socket:
        while socket.total != 7:
            socket.receive()
        socket.ask(type="ping")
        assert socket.answer("pong")["sequence"] == socket.sequence
        socket.ask(type="request_page", page=3, page_size=2)
        page = socket.answer("page")
        assert [(entry["rank"], entry["user_id"]) for entry in page["entries"]] == [(5, "p4"), (6, "p5")]
        assert (page["page"], page["page_size"], page["total"], page["window_key"], page["status"]) == (3, 2, 7, "all", "open")
        assert socket.configure()["page_size"] == 100
        assert socket.configure(page=2, page_size=3)["entries"][0]["user_id"] == "p3"
        again = socket.configure(page=3)
        assert ([entry["user_id"] for entry in again["entries"]], again["page_size"]) == (["p6"], 3)
        socket.connection.send(b'{"type":"ping"}')
        assert socket.answer("pong")


@pytest.mark.parametrize(
    "wrong",
    [
        "no JSON",
        '{"type":"nonsense"}',
        '{"page":2}',
        '{"type":"configure","page":0}',
        '{"type":"configure","page":"2"}',
        '{"type":"configure","page_size":501}',
        '{"type":"configure","filter":{"type":"sideways"}}',
        '{"type":"configure","filter":{"type":"users","user_ids":[' + ",".join(f'"u{n}"' for n in range(101)) + "]}}",
        '{"type":"configure","window_key":"2020-W01"}',
        '{"type":"configure","pages":2}',
        '{"type":"request_page"}',
    ],
)
def test_a_message_that_cannot_be_followed_is_told_and_changes_nothing(stack: Stack, client: httpx.Client, wrong: str) -> None:
    if client.get("/v1/leaderboards/wswrong").status_code == 404:
        make_board(client, "wswrong")
    with watching(stack.described["api_url"], "wswrong", stack.described["api_key"]) as socket:
        socket.connection.send(wrong)
        error = socket.answer("error")
        assert (error["code"], bool(error["message"])) == ("VALIDATION_ERROR", True)
        assert socket.configure()["page_size"] == 100


def test_a_message_over_64_kb_ends_the_connection(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wsbig")
    with watching(stack.described["api_url"], "wsbig", stack.described["api_key"]) as socket:
        socket.connection.send("x" * 65_537)
        assert socket.closing_code() == 1009


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("wsrefuse/ws", {}, 401, "UNAUTHORIZED"),
        ("wsrefuse/ws", {"Authorization": "Bearer x.y.z"}, 401, "UNAUTHORIZED"),
        ("wsrefuse/ws", {"Authorization": "Bearer lk_12345678_" + "x" * 43}, 401, "AUTH_INVALID_KEY"),
        ("wsrefuse/ws", {"Authorization": "fulfilment"}, 403, "FORBIDDEN"),
        ("wsrefuse/ws", {"Authorization": "admin", "Origin": "https://elsewhere.example"}, 403, "CORS_NOT_ALLOWED_FOR_TENANT"),
        ("wsrefuse/ws", {"Authorization": "admin", "X-Tenant-Id": "other"}, 403, "TENANT_QUERY_MISMATCH"),
        ("no-such-board/ws", {"Authorization": "admin"}, 404, "LEADERBOARD_NOT_FOUND"),
        ("wsrefuse/websocket", {"Authorization": "admin"}, 404, "NOT_FOUND"),
    ],
)
def test_refusals_are_plain_http(stack: Stack, client: httpx.Client, path: str, headers: dict[str, str], status: int, code: str) -> None:
    if client.get("/v1/leaderboards/wsrefuse").status_code == 404:
        make_board(client, "wsrefuse")
    keys = {"fulfilment": stack.described["fulfilment_key"], "admin": stack.described["api_key"]}
    if (kind := headers.get("Authorization")) in keys:
        headers = {**headers, "Authorization": f"Bearer {keys[kind]}"}
    address = f"{stack.described['api_url'].replace('http', 'ws', 1)}/v1/leaderboards/{path}"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, additional_headers=headers, open_timeout=WAIT_SECONDS)
    response = refused.value.response
    body = json.loads(bytes(response.body))["error"]
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["X-Request-Id"] == body["request_id"]
    assert response.headers["Content-Type"] == "application/json"


def test_a_request_that_does_not_upgrade_is_told_so(client: httpx.Client) -> None:
    answer = client.get("/v1/leaderboards/any/ws")
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["Upgrade"]) == (426, "UPGRADE_REQUIRED", "websocket")


def test_a_browser_gives_its_token_as_a_subprotocol(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wsbrowser")
    token = client.post("/v1/auth/gamer-token", json={"user_id": "ann", "ttl_seconds": 600}).json()["token"]
    address = f"{stack.described['api_url'].replace('http', 'ws', 1)}/v1/leaderboards/wsbrowser/ws"
    with connect(address, subprotocols=["bearer", token], open_timeout=WAIT_SECONDS) as connection:  # type: ignore[list-item]
        assert connection.subprotocol == "bearer"
        assert BoardSocket(connection).receive()["type"] == "snapshot"


def test_an_archived_board_ends_its_connections(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wsgone")
    with watching(stack.described["api_url"], "wsgone", stack.described["api_key"]) as socket:
        assert client.delete("/v1/admin/leaderboards/wsgone").status_code == 204
        assert socket.answer("error")["code"] == "LEADERBOARD_NOT_FOUND"
        assert socket.closing_code() == 4404


def test_a_revoked_key_ends_its_connections(stack: Stack, client: httpx.Client) -> None:
    make_board(client, "wsrevoked")
    key = client.post("/v1/admin/api-keys", json={"name": "for a while", "role": "read"}).json()
    with watching(stack.described["api_url"], "wsrevoked", key["key"]) as socket:
        assert client.delete(f"/v1/admin/api-keys/{key['api_key_id']}").status_code == 204
        assert socket.closing_code() == 4401


def test_another_process_hears_of_changes_and_a_quiet_line_beats(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    make_board(client, "wstwo")
    key = stack.described["api_key"]
    with (
        api_process(stack, tmp_path, LAUREL_SOCKET_HEARTBEAT_SECONDS="0.6") as other,
        watching(stack.described["api_url"], "wstwo", key) as here,
        watching(other, "wstwo", key) as there,
    ):
        play(client, "wstwo", ("ann", 3), ("bob", 5))
        for socket in (here, there):
            while socket.total != 2:
                socket.receive()
            assert [(entry["rank"], entry["user_id"], entry["score"]) for entry in socket.held()] == [(1, "bob", 5), (2, "ann", 3)]
        assert there.answer("heartbeat")
        assert there.answer("heartbeat")


def test_without_redis_a_process_looks_for_itself(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    make_board(client, "wsnoredis")
    with (
        api_process(stack, tmp_path, LAUREL_REDIS_URL="redis://127.0.0.1:1/0") as lonely,
        watching(lonely, "wsnoredis", stack.described["api_key"]) as socket,
        watching(lonely, "wsnoredis", stack.described["api_key"]) as around,
    ):
        wanted = {"filter": {"type": "around_user", "user_id": "bob", "range": 1}}
        around.configure(**wanted)
        scores: Counter[str] = Counter()
        for score in (3, 4, 5):
            play(client, "wsnoredis", ("ann", score), ("bob", 4))
            scores += Counter(ann=score, bob=4)
            until(lambda: {entry["user_id"]: entry["score"] for entry in by_rest(client, "wsnoredis", FILTERS[0])}, dict(scores))
            assert_same_as_rest(client, "wsnoredis", FILTERS[0], socket)
            assert_same_as_rest(client, "wsnoredis", wanted, around)
        assert socket.kinds.count("snapshot") == 1


def narrow_line(url: str) -> sockets.socket:
    """A connection for which the kernel keeps little, so that a client that does not read is soon felt by the server."""
    line = sockets.socket()
    line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 65_536)
    address = httpx.URL(url)
    line.connect((address.host, address.port))
    return line


def closed_as_slow(url: str) -> bool:
    """Whether the process has ended a connection because its client did not read."""
    return 'laurel_websocket_closed_total{code="1013"}' in httpx.get(f"{url}/metrics").text


LONG_NAMES = [f"a-user-with-quite-a-long-name-{n:03}-{'x' * 150}" for n in range(500)]


def play_round(client: httpx.Client, board: str, number: int) -> None:
    """A change of some 30 kB for who looks at the whole board."""
    play(client, board, *((user, 1000) for user in random.Random(number).sample(LONG_NAMES, 100)))


def test_a_slow_reader_gets_the_newest_state_and_no_queue(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    make_board(client, "wsslow")
    key = stack.described["api_key"]
    with (
        api_process(stack, tmp_path, LAUREL_SOCKET_STUCK_SECONDS="120") as other,
        watching(other, "wsslow", key, max_queue=1, sock=narrow_line(other)) as slow,
        watching(other, "wsslow", key) as quick,
    ):
        slow.configure(page_size=500)
        quick.configure(page_size=500)
        for number in range(45):  # far more than the line holds
            play_round(client, "wsslow", number)
            quick.change()
        assert_same_as_rest(client, "wsslow", {"filter": {"type": "all"}, "page_size": 500}, quick)
        while slow.held() != quick.held():
            slow.receive()
        assert slow.sequence < quick.sequence
        assert slow.kinds.count("snapshot") > 2  # what it missed came as one


def test_a_client_that_does_not_read_at_all_is_closed_and_others_hear_on(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    make_board(client, "wsstuck")
    key = stack.described["api_key"]
    with (
        api_process(stack, tmp_path, LAUREL_SOCKET_STUCK_SECONDS="1") as other,
        watching(other, "wsstuck", key, max_queue=1, sock=narrow_line(other)) as stuck,
        watching(other, "wsstuck", key) as quick,
    ):
        stuck.configure(page_size=500)
        quick.configure(page_size=500)
        deadline, number = time.monotonic() + WAIT_SECONDS, 0
        while not closed_as_slow(other):
            assert time.monotonic() < deadline, "the server holds on to a client that does not read"
            play_round(client, "wsstuck", number := number + 1)
            quick.change()
        assert stuck.closing_code() == 1013


def test_changes_come_ten_times_a_second_at_most_whatever_others_ask(stack: Stack, client: httpx.Client) -> None:
    """Who begins to look at a view has it read at once: those who look at it already hear of that no sooner than they should."""
    make_board(client, "wsrate")
    url, key = stack.described["api_url"], stack.described["api_key"]
    wanted = {"filter": {"type": "all"}, "page": 1, "page_size": 100}
    instants: list[datetime] = []
    with watching(url, "wsrate", key) as patient, watching(url, "wsrate", key) as eager:
        deadline, number = time.monotonic() + WAIT_SECONDS, 0
        while len(instants) < 25:
            assert time.monotonic() < deadline, f"only {len(instants)} changes have come"
            number += 1
            play(client, "wsrate", (f"u{number % 5}", 1))
            eager.configure()
            with suppress(TimeoutError):
                while True:
                    message = patient.receive(0.0)
                    if message["type"] != "heartbeat":
                        instants.append(datetime.fromisoformat(message["timestamp"]))
        assert_same_as_rest(client, "wsrate", wanted, patient)
        assert_same_as_rest(client, "wsrate", wanted, eager)
    assert all((later - earlier).total_seconds() >= 1 for earlier, later in zip(instants, instants[10:], strict=False))
