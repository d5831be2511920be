"""Four doors, one order: routes, ingestion, fast board pages and WebSockets refuse alike, charge alike and forget a revoked key alike."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from api.middleware import Front
from api.principal import Admission
from domain import limits
from domain.tenant.credential import compose_key
from runtime.settings import Settings
from server import create_app
from tests.builders.api import TIMEOUT_SECONDS, World, event, make_world, serving
from tests.conftest import settings_for

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
PATIENCE_SECONDS = 60.0
numbers = count()


class Door(msgspec.Struct, frozen=True):
    """A way in, and what is said to whoever it opens for."""

    method: str
    path: str
    opens: int
    headers: dict[str, str] = {}


DOORS = {
    "route": Door("GET", "/v1/leaderboards", 200),
    "ingestion": Door("POST", "/v1/events", 202),
    "ingestion in bulk": Door("POST", "/v1/events/bulk", 202),
    "ingestion by the router": Door("POST", "/v1/events/", 202),
    "fast page": Door("GET", "/v1/leaderboards/door", 200),
    "page that was seen before": Door("GET", "/v1/leaderboards/door", 200, {"If-None-Match": '"none"'}),
    "websocket": Door("GET", "/v1/leaderboards/door/ws", 101, UPGRADE),
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


class Answer(msgspec.Struct, frozen=True):
    """What was said, and how long to wait."""

    status: int
    code: str = ""
    message: str = ""
    retry_after: str = ""


def ask(client: httpx.Client, door: Door, *, key: str | None, path: str | None = None, **headers: str) -> Answer:
    """Knock once. The upgrade of a WebSocket is all that is asked of it."""
    credential = {} if key is None else {"Authorization": f"Bearer {key}"}
    one = event(f"e{next(numbers)}")
    body = {} if door.method == "GET" else {"json": {"events": [one]} if "bulk" in door.path else one}
    with client.stream(door.method, path or door.path, headers=door.headers | credential | headers, **body) as answer:
        if answer.status_code == 101:
            return Answer(101)
        error = msgspec.json.decode(answer.read()).get("error", {})
        return Answer(answer.status_code, error.get("code", ""), error.get("message", ""), answer.headers.get("retry-after", ""))


@pytest.fixture(scope="module")
def front(postgres_url: str, redis_server: str) -> Front:
    """The API of this file."""
    return create_app(settings_for(postgres_url, redis_server, "127.0.0.1:1"))


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str, front: Front) -> Iterator[str]:
    with serving(settings_for(postgres_url, redis_server, "127.0.0.1:1"), front) as address:
        yield address


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    """Without a credential, beside a board that anybody of the tenant may read."""
    add_board(world)
    with world.client(None) as client:
        yield client


def add_board(world: World) -> None:
    rules = [{"event_type": "goal", "points_expression": "1"}]
    body = {"leaderboard_id": "door", "name": "Door", "config": {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules}}}
    with world.client() as admin:
        assert admin.post("/v1/admin/leaderboards", json=body).status_code == 201


def change(world: World, **changes: Any) -> None:
    """As the operator changes the tenant."""
    answer = httpx.patch(f"{world.url}/v1/operator/tenants/{world.tenant_id}", headers=OPERATOR, json=changes, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text


ORDER = (
    (401, "AUTH_INVALID_KEY", "Invalid API key"),
    (403, "TENANT_QUERY_MISMATCH", "The tenant in the request"),
    (403, "CORS_NOT_ALLOWED_FOR_TENANT", "This origin"),
    (403, "FORBIDDEN", "The tenant is suspended"),
    (403, "FORBIDDEN", "This requires a credential with role"),
    (400, "VALIDATION_ERROR", "strange"),
)
"""What is refused before what: each test asks with everything wrong from one of them on."""


@every_door
async def test_what_is_wrong_with_a_request_is_told_in_one_order(
    world: World, settings: Settings, client: httpx.Client, door: Door
) -> None:
    suspended = await make_world(settings, world.url)
    change(suspended, status="suspended")
    for first, (status, code, message) in enumerate(ORDER):
        of = suspended if first <= 3 else world
        key = compose_key(os.urandom(64)) if first == 0 else of.keys["fulfilment" if first <= 4 else "server"]
        headers = ({"X-Tenant-Id": str(world.tenant_id)} if first <= 1 and of is suspended else {}) | (
            {"Origin": "https://evil.example"} if first <= 2 else {}
        )
        told = ask(client, door, key=key, path=f"{door.path}?strange=1", **headers)
        assert (told.status, told.code) == (status, code)
        assert message in told.message
    assert ask(client, door, key=world.keys["server"]).status == door.opens


@every_door
def test_without_a_credential_nothing_else_is_looked_at(world: World, client: httpx.Client, door: Door) -> None:
    told = ask(client, door, key=None, path=f"{door.path}?strange=1&tenant_id=other", Origin="https://evil.example")
    assert (told.status, told.code) == (401, "UNAUTHORIZED")


@every_door
def test_two_credentials_are_one_question_with_one_answer(world: World, client: httpx.Client, door: Door) -> None:
    """The first Authorization header speaks at every door, whether or not the process has seen either before."""
    good, unknown = f"Bearer {world.keys['server']}", f"Bearer {compose_key(os.urandom(64))}"
    for _ in range(3):
        for pair, status in (((good, unknown), door.opens), ((unknown, good), 401)):
            headers = [*door.headers.items(), *(("Authorization", each) for each in pair)]
            one = event(f"e{next(numbers)}")
            body = {} if door.method == "GET" else {"json": {"events": [one]} if "bulk" in door.path else one}
            with client.stream(door.method, door.path, headers=headers, **body) as answer:
                assert answer.status_code == status


@every_door
def test_who_may_not_come_in_is_told_so_however_often_it_knocks(world: World, client: httpx.Client, door: Door) -> None:
    """403 before 429, and 429 before what only a request that is let in can be told."""
    change(world, rate_limit_per_second=1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with ThreadPoolExecutor(4) as crowd:
        while True:
            knocks = [(world.keys["fulfilment"], ""), (world.keys["server"], "?strange=1")] * 8
            told = list(crowd.map(lambda knock: ask(client, door, key=knock[0], path=door.path + knock[1]), knocks))
            assert {each.status for each in told[::2]} == {403}
            assert {each.status for each in told[1::2]} <= {400, 429}
            if waits := [each for each in told[1::2] if each.status == 429]:
                assert {each.retry_after for each in waits} == {"1"}
                return
            assert time.monotonic() < deadline, "no request was told to wait"


def admission_of(front: Front, ask_once: Callable[[], Answer], key: str) -> Admission:
    """The admission of a key, as the process remembers it after a request."""
    while True:
        ask_once()
        if (found := front.application.state.authenticator.remembered(f"Bearer {key}".encode())) is not None:
            return found  # type: ignore[no-any-return]


def check_charged_once(front: Front, knock: Callable[[], Answer], key: str) -> None:
    """Hold what the process counts down of the key's portion and of its tenant's against one request."""
    meter = admission_of(front, knock, key).meter
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        before = [(lease.tokens, lease.until) for lease in (meter.credential, meter.tenant)]
        knock()
        after = [(lease.tokens, lease.until) for lease in (meter.credential, meter.tenant)]
        if [until for _, until in before] == [until for _, until in after]:  # else a new portion has begun
            assert [there - here for (there, _), (here, _) in zip(before, after, strict=True)] == [1, 1]
            return
    pytest.fail("the portions are too short")


CHARGED: tuple[tuple[str, str, dict[str, str], int | None], ...] = (
    ("server", "", {}, None),
    ("server", "?strange=1", {}, 400),
    ("server", "?tenant_id=other", {}, 403),
    ("server", "", {"Origin": "https://evil.example"}, 403),
    ("fulfilment", "", {}, 403),
)


@every_door
def test_a_request_is_charged_once_whatever_becomes_of_it(world: World, client: httpx.Client, front: Front, door: Door) -> None:
    for role, query, headers, status in CHARGED:

        def knock(
            key: str = world.keys[role], query: str = query, headers: dict[str, str] = headers, status: int | None = status
        ) -> Answer:
            told = ask(client, door, key=key, path=door.path + query, **headers)
            assert told.status == (door.opens if status is None else status)
            return told

        check_charged_once(front, knock, world.keys[role])


@pytest.mark.parametrize("name", ["fast page", "page that was seen before", "websocket"])
def test_a_board_that_is_not_there_is_charged_once(world: World, client: httpx.Client, front: Front, name: str) -> None:
    door, key = DOORS[name], world.keys["read"]

    def knock() -> Answer:
        told = ask(client, door, key=key, path=door.path.replace("door", "none"))
        assert (told.status, told.code) == (404, "LEADERBOARD_NOT_FOUND")
        return told

    check_charged_once(front, knock, key)


@every_door
def test_a_revoked_key_opens_nothing_a_second_later(world: World, client: httpx.Client, door: Door) -> None:
    """Asked by several all the while: what they keep fresh between them is fresh for a second, too, and no longer."""
    with world.client() as admin:
        made = admin.post("/v1/admin/api-keys", json={"name": "spare", "role": "server"}).json()
        asked: list[tuple[float, int]] = []
        is_over = threading.Event()

        def go_on_asking() -> None:
            while not is_over.is_set():
                began = time.monotonic()
                asked.append((began, ask(client, door, key=made["key"]).status))

        with ThreadPoolExecutor(3) as crowd:
            crowd_at_work = [crowd.submit(go_on_asking) for _ in range(3)]
            try:
                wait_until(lambda: sum(status == door.opens for _, status in list(asked)) >= 10)
                assert admin.delete(f"/v1/admin/api-keys/{made['api_key_id']}").status_code == 204
                revoked_at = time.monotonic()
                wait_until(lambda: sum(began > revoked_at + 1 for began, _ in list(asked)) >= 10)
            finally:
                is_over.set()
            for each in crowd_at_work:
                each.result()
    assert {status for _, status in asked} == {door.opens, 401}
    assert {status for began, status in asked if began > revoked_at + 1} == {401}


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@every_door
def test_a_stranger_is_bounded_by_its_address_and_costs_no_tenant_anything(
    world: World, client: httpx.Client, front: Front, door: Door
) -> None:
    key = world.keys["server"]
    meter = admission_of(front, lambda: ask(client, door, key=key), key).meter
    deadline = time.monotonic() + PATIENCE_SECONDS
    told: list[Answer] = []
    with ThreadPoolExecutor(8) as crowd:
        while not any(each.status == 429 for each in told):
            assert time.monotonic() < deadline, "no stranger was told to wait"
            before, until = meter.tenant.tokens, meter.tenant.until
            strangers = [compose_key(os.urandom(64)) for _ in range(2 * limits.GUESSES.value)]
            told = list(crowd.map(lambda stranger: ask(client, door, key=stranger), strangers))
            assert {each.status for each in told} <= {401, 429}
            assert meter.tenant.until != until or meter.tenant.tokens == before
        assert all(each.retry_after for each in told if each.status == 429)
        assert ask(client, door, key=key).status == door.opens


def test_strangers_write_nothing_into_the_log(world: World, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for key, status in ((None, 401), (world.keys["fulfilment"], 403), (world.keys["read"], 101)):
        assert ask(client, DOORS["websocket"], key=key).status == status
    assert [record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "websockets"))] == []


def test_the_operators_routes_refuse_a_tenant_in_the_same_order(world: World, client: httpx.Client) -> None:
    path, admin = "/v1/operator/tenants?strange=1", {"Authorization": f"Bearer {world.keys['admin']}"}
    evil = admin | {"Origin": "https://evil.example"}
    told = [client.get(f"{path}&tenant_id=other", headers=evil), client.get(path, headers=evil), client.get(path, headers=admin)]
    for answer, (status, code, message) in zip(told, (*ORDER[1:3], ORDER[4]), strict=True):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert message in answer.json()["error"]["message"]
    unknown = client.get(path, headers=OPERATOR)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
