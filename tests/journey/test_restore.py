"""The recipe of docs/operations.md for keeping and restoring, word for word, with the platform's own data and beside a living Valkey."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from runtime.postgres import Pool
from runtime.settings import PREFIX, Settings
from stack import postgres
from stack.processes import free_port, wait_until
from tests.builders.api import World, event, make_world
from tests.conftest import REPOSITORY
from tests.journey.documents import launcher
from tests.journey.programme import points_of

PATIENCE_SECONDS = 120.0
RECIPE = re.compile(r"^```bash run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BOARD = {
    "leaderboard_id": "goals",
    "name": "Goals",
    "config": {"timeframe": {"type": "all_time"}, "scoring": {"rules": [{"event_type": "goal", "points_expression": "1"}]}},
}
RULE = {"name": "A goal", "event_type": "goal", "points_expression": "150"}


def environment(settings: Settings, database_url: str) -> dict[str, str]:
    """What the processes of an installation are given."""
    given = {
        "DATABASE_URL": database_url,
        "REDIS_URL": settings.redis_url,
        "TEMPORAL_ADDRESS": settings.temporal_address,
        "TASK_QUEUE": settings.task_queue,
        "SECRET_KEY": settings.secret_key,
        "DRAIN_SECONDS": "0",
    }
    path = f"{postgres.binaries()}:{os.environ['PATH']}"
    return {**launcher(), "PATH": path, "HOME": os.environ["HOME"]} | {PREFIX + name: value for name, value in given.items()}


@contextlib.contextmanager
def running(given: dict[str, str], log: Path) -> Iterator[str]:
    """An API and a worker, from now until the end of the block: the API's address."""
    port = free_port()
    given = given | {"LAUREL_API_PORT": str(port)}
    with log.open("ab") as file:
        processes = [
            subprocess.Popen((sys.executable, "-m", "cli", name), cwd=REPOSITORY, env=given, stdout=file, stderr=file)
            for name in ("api", "worker")
        ]
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert [process.poll() for process in processes] == [None, None], log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{address}/health").status_code == 200
        return False

    try:
        assert wait_until(ready, PATIENCE_SECONDS), log.read_text()
        yield address
    finally:
        for process in processes:
            process.kill()  # what is on disk is what counts
            process.wait()


def scores(client: httpx.Client) -> dict[str, Any]:
    """What the board says."""
    answer = client.get("/v1/leaderboards/goals")
    return {entry["user_id"]: entry["score"] for entry in answer.json()["entries"]} if answer.status_code == 200 else {}


def do(block: str, given: dict[str, str], workplace: Path) -> subprocess.CompletedProcess[str]:
    """A block of the recipe, in a shell of its own."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=REPOSITORY,
        env=given | {"DUMP": str(workplace / "laurel.dump")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


async def test_a_dump_becomes_a_platform_again(pool: Pool, temporal_settings: Settings, empty_database_url: str, tmp_path: Path) -> None:
    dump, proof = RECIPE.findall((REPOSITORY / "docs/operations.md").read_text())
    given, log = environment(temporal_settings, temporal_settings.database_url), tmp_path / "log"
    with running(given, log) as address:
        world = await make_world(temporal_settings, address)
        with world.client() as client:
            assert client.post("/v1/admin/leaderboards", json=BOARD).status_code == 201
            assert client.post("/v1/admin/earning-rules", json=RULE).status_code == 201
            for name, user in (("e1", "ann"), ("e2", "bob"), ("e3", "ann")):
                assert client.post("/v1/events", json=event(name, user)).status_code == 202
            assert wait_until(lambda: scores(client) == {"ann": 2, "bob": 1}, PATIENCE_SECONDS), log.read_text()
            assert wait_until(lambda: points_of(client, "ann")["available"] == 300, PATIENCE_SECONDS), log.read_text()

    done = do(dump, given | {"EMPTY_DATABASE_URL": empty_database_url}, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the ledger is right" in done.stderr

    given = environment(temporal_settings, empty_database_url)
    with running(given, log) as address:
        world = World(address, empty_database_url, world.tenant_id, world.keys)
        with world.client() as client:
            assert scores(client) == {"ann": 2, "bob": 1}, "a board is read from PostgreSQL until it is live again"
            assert client.post("/v1/events", json=event("e1", "ann")).json()["duplicate"] is True
            assert client.post("/v1/events", json=event("e4", "bob")).json() == {"event_id": "e4", "status": "accepted"}
            assert wait_until(lambda: scores(client) == {"ann": 2, "bob": 2}, PATIENCE_SECONDS), log.read_text()
            assert points_of(client, "ann")["available"] == 300
        done = do(proof, given, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    done = do("./laurel verify-ledger", given, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
