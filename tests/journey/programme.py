"""What the journeys set up over HTTP, and how they wait for what comes later."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from domain.webhook.bodies_wire import BODIES

Answer = TypeVar("Answer")
PATIENCE_SECONDS = 90.0
"""Only a test that fails waits so long."""


def eventually(look: Callable[[], Answer], *, seconds: float = PATIENCE_SECONDS) -> Answer:
    """The first truthy answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"did not come to pass in {seconds:.0f} s"
        time.sleep(0.05)


def fresh(name: str) -> str:
    """An id that no other test uses: the stack is shared."""
    return f"{name}-{secrets.token_hex(4)}"


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def event(event_type: str, user: str, **attrs: Any) -> dict[str, Any]:
    return {
        "event_id": f"event-{secrets.token_hex(12)}",
        "type": event_type,
        "actor": {"user_id": user},
        "occurred_at": now(),
        "attrs": attrs,
    }


def post(client: httpx.Client, path: str, body: Any, status: int = 201, **headers: str) -> dict[str, Any]:
    answer = client.post(path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
    return dict(answer.json())


def far_from_its_end(kind: str) -> dict[str, Any]:
    """A `daily`, `weekly` or `monthly` timeframe whose windows end hours from now: whatever the clock says, none ends in a test."""
    later = datetime.now(UTC) + timedelta(hours=12)
    if kind == "daily":
        return {"type": kind, "reset_time": f"{later:%H}:00"}
    if kind == "weekly":
        return {"type": kind, "reset_day": f"{later + timedelta(days=3):%A}".lower()}
    return {"type": kind, "reset_day": (later.day + 13) % 28 + 1}


def add_board(client: httpx.Client, event_type: str, *, expression: str = "attrs.points", **scoring: Any) -> str:
    """An all-time board of this event type; answers its id."""
    rule = {"event_type": event_type, "points_expression": expression}
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": [rule], **scoring}}
    board = fresh("board")
    post(client, "/v1/admin/leaderboards", {"leaderboard_id": board, "name": "A board", "config": config})
    return board


def add_rule(client: httpx.Client, event_type: str, expression: str = "attrs.points") -> str:
    rule = {"name": "A rule", "event_type": event_type, "points_expression": expression}
    return str(post(client, "/v1/admin/earning-rules", rule)["rule_id"])


def add_endpoint(client: httpx.Client, url: str) -> tuple[str, str]:
    """A webhook endpoint; answers its id and its secret.

    It gets what names it. What it subscribes to nobody causes: news of other tests would reach it too, and later whoever has its port.
    """
    endpoint = post(client, "/v1/admin/webhook-endpoints", {"url": url, "events": ["webhook.test"]})
    return endpoint["endpoint_id"], endpoint["secret"]


def add_reward(client: httpx.Client, *, price: int, endpoint_id: str | None = None, **more: Any) -> str:
    """A voucher; answers its slug."""
    fulfilment = {"type": "webhook", "deadline_seconds": 600, **({"endpoint_id": endpoint_id} if endpoint_id else {})}
    prices = [{"currency": "points", "amount": price}]
    body = {
        "slug": fresh("voucher"),
        "name": "Voucher 10K",
        "type": "bonus_credit",
        "value": 10,
        "prices": prices,
        "fulfilment": fulfilment,
    }
    return str(post(client, "/v1/admin/rewards", {**body, **more})["slug"])


def give_points(client: httpx.Client, user: str, amount: int) -> None:
    post(client, "/v1/users", {"external_id": user})
    post(client, f"/v1/admin/users/{quote(user, safe='')}/adjustments", {"amount": amount, "reason": "a journey"})


def points_of(client: httpx.Client, user: str) -> dict[str, int]:
    answer = client.get(f"/v1/users/{quote(user, safe='')}/points")
    if answer.status_code == 404:
        return {"available": 0, "held": 0, "lifetime_earned": 0, "lifetime_spent": 0}
    points = next(each for each in answer.json()["balances"] if each["currency"] == "points")
    return {name: points[name] for name in ("available", "held", "lifetime_earned", "lifetime_spent")}


def board_of(client: httpx.Client, board: str) -> list[tuple[str, float]]:
    """User and score, best first."""
    entries: list[tuple[str, float]] = []
    while True:
        answer = client.get(f"/v1/leaderboards/{board}", params={"limit": 1000, "offset": len(entries)})
        assert answer.status_code == 200, answer.text
        page = answer.json()["entries"]
        entries += [(entry["user_id"], entry["score"]) for entry in page]
        if len(page) < 1000:
            return entries


def redemption_in(client: httpx.Client, redemption_id: str, *states: str) -> dict[str, Any]:
    """The redemption once it is in one of these states."""

    def look() -> dict[str, Any] | None:
        redemption: dict[str, Any] = client.get(f"/v1/redemptions/{redemption_id}").json()
        return redemption if redemption["status"] in states else None

    found = eventually(look)
    assert found is not None
    return found


class Received:
    """A webhook as it came over the wire."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers, self.body = headers, body
        self.event: dict[str, Any] = json.loads(body)


class Receiver:
    """A partner's HTTP server. `answers` are the statuses of the first webhooks; afterwards 200."""

    def __init__(self, server: ThreadingHTTPServer, received: list[Received]) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}/webhooks"
        self.received = received

    def of(self, redemption_id: str) -> list[Received]:
        return [each for each in self.received if each.event.get("redemption_id") == redemption_id]


@contextmanager
def receiver(*answers: int) -> Iterator[Receiver]:
    received: list[Received] = []
    statuses = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(Received({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(next(statuses, 200))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Receiver(server, received)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    for each in received:  # is what the API document says of the event's webhook
        msgspec.convert(each.event, BODIES[each.event["event"]])
