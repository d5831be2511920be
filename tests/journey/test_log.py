"""The log of an API process, as its operator reads it: each line says which request it belongs to, and the access log has one for each."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from runtime.postgres import Pool
from runtime.settings import PREFIX, Settings
from stack.processes import free_port, wait_until
from tests.builders.api import World, event, make_world
from tests.builders.console import signed_in
from tests.conftest import REPOSITORY

PATIENCE_SECONDS = 60.0
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Log:
    """What a process has written, line for line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[dict[str, Any]]:
        whole = self._path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def find(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The only line that matches, once it is there."""
        assert wait_until(lambda: any(map(matches, self.lines())), PATIENCE_SECONDS), self._path.read_text()
        (line,) = [line for line in self.lines() if matches(line)]
        return line

    def of(self, request_id: str) -> dict[str, Any]:
        """The line that the access log has for this request."""
        return self.find(lambda line: line["logger"] == "laurel.access" and line.get("request") == request_id)


@contextmanager
def api(settings: Settings, workplace: Path, **more: str) -> Iterator[tuple[str, Log]]:
    """An API process of its own that logs JSON: its address and its log."""
    port, path = free_port(), workplace / "log"
    given = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SECRET_KEY": settings.secret_key,
        "API_PORT": str(port),
        "LOG_FORMAT": "json",
        "DRAIN_SECONDS": "0",
    }
    environment = os.environ | {PREFIX + name: value for name, value in (given | more).items()}
    with path.open("wb") as file:
        process = subprocess.Popen((sys.executable, "-m", "cli", "api"), cwd=REPOSITORY, env=environment, stderr=file)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.TransportError:
                assert process.poll() is None, path.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield address, Log(path)
    finally:
        process.kill()
        process.wait()


def ask(world: World, name: str, method: str, path: str, *, role: str | None = "admin", **more: Any) -> httpx.Response:
    """An answer to a request that is called `name`."""
    with world.client(role, **{"X-Request-Id": name}) as client:
        return client.request(method, path, **more)


async def test_the_access_log_has_one_line_for_each_request(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    with api(settings, tmp_path, ACCESS_LOG="on") as (address, log):
        httpx.get(f"{address}/ready")
        lonely = log.find(lambda line: line["message"].startswith("not ready"))
        assert "request" not in lonely, "whoever asked first is not the cause: others wait for the same proof"

        world = await make_world(settings, address)
        board = {"leaderboard_id": "b", "name": "B", "config": {"timeframe": {"type": "all_time"}, "scoring": {"rules": []}}}
        board["config"]["scoring"]["rules"] = [{"event_type": "goal", "points_expression": "1"}]  # type: ignore[index]
        made = ask(world, "make", "POST", "/v1/admin/leaderboards", json=board)
        assert made.status_code == 201, made.text
        ask(world, "send", "POST", "/v1/events", role="server", json=event("e1"))
        ask(world, "first", "GET", "/v1/leaderboards/b")
        ask(world, "hot", "GET", "/v1/leaderboards/b")
        ask(world, "person", "GET", "/console/dashboard", role=None)
        signed_in(world).client.get("/dashboard", headers={"X-Request-Id": "staff"})
        ask(world, "stranger", "GET", "/v1/events/secret-id", role=None)
        ask(world, "nowhere", "GET", "/v1/nowhere/secret-id")
        upgrade = {"Authorization": f"Bearer {world.keys['read']}", "X-Request-Id": "watch"}
        with connect(f"ws{address.removeprefix('http')}/v1/leaderboards/b/ws", additional_headers=upgrade) as viewer:
            said = viewer.recv()

        line = log.of("make")
        assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/admin/leaderboards", 201)
        assert (line["tenant"], line["credential"]) == (str(world.tenant_id), "api_key")
        assert line["bytes"] == len(made.content)
        assert line["milliseconds"] > 0
        assert line["level"] == "INFO"
        wanted = {
            "send": ("/v1/events", 202, "api_key"),
            "first": ("/v1/leaderboards/{leaderboard_id}", 200, "api_key"),
            "hot": ("/v1/leaderboards/{leaderboard_id}", 200, "api_key"),
            "watch": ("/v1/leaderboards/{leaderboard_id}/ws", 101, "api_key"),
            "staff": ("/console/dashboard", 200, "console"),
            "person": ("/console/dashboard", 303, "none"),
            "nowhere": ("unknown", 404, "none"),
        }
        for name, (route, status, credential) in wanted.items():
            line = log.of(name)
            assert (line["route"].replace(":str", ""), line["status"], line["credential"]) == (route, status, credential), name
            assert line.get("tenant") == (None if credential == "none" else str(world.tenant_id)), name
        assert log.of("watch")["bytes"] >= len(said)
        assert log.of("stranger")["status"] in (401, 404)
        assert not [line for line in log.lines() if "secret-id" in json.dumps(line)], "ids of people stand in paths: the template is told"


async def test_a_line_says_its_trace(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    with api(settings, tmp_path, ACCESS_LOG="on", OTLP_ENDPOINT="http://127.0.0.1:9") as (address, log):
        traceparent = f"00-{TRACE}-b7ad6b7169203331-01"
        httpx.get(f"{address}/health", headers={"X-Request-Id": "traced", "traceparent": traceparent})
        assert log.of("traced")["trace"] == TRACE


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/admin/event-types"), ("POST", "/v1/events/bulk")])
async def test_what_a_request_logs_says_whose_it_is(pool: Pool, settings: Settings, tmp_path: Path, method: str, path: str) -> None:
    """A table that is not there is no outage that ends by itself: the process logs a traceback for it."""
    with api(settings, tmp_path) as (address, log):
        world = await make_world(settings, address)
        async with pool.connection() as connection:
            await connection.execute("UPDATE tenant SET event_types_version = 1")  # so that ingestion asks for the declared types
            await connection.execute("ALTER TABLE event_type RENAME TO event_type_away")
        try:
            answer = ask(world, "odd", method, path, json={"events": [event("e1")]} if method == "POST" else None)
        finally:
            async with pool.connection() as connection:
                await connection.execute("ALTER TABLE event_type_away RENAME TO event_type")
        assert answer.status_code == 503, answer.text
        line = log.find(lambda line: line["level"] == "ERROR")
        assert (line["request"], line["tenant"]) == ("odd", str(world.tenant_id))
        assert "event_type" in line["exception"]
        assert not [line for line in log.lines() if line["logger"] == "laurel.access"], "nobody asked for an access log"
