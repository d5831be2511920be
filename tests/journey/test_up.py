"""`laurel up` as its users meet it: start, restart, ports in use, a part that dies, and every way in which it can end."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from stack import postgres, processes
from tests.conftest import REPOSITORY, Stack, start_stack, stop_stack_process

CONTRACT_KEYS = {
    "env",
    "api_url",
    "console_url",
    "temporal_address",
    "temporal_namespace",
    "temporal_ui_url",
    "database_url",
    "redis_url",
    "operator_key",
    "pids",
}
DEMO_KEYS = {"tenant_id", "api_key", "fulfilment_key", "console_email", "console_password"}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    process = psutil.Process(pid)
    return {pid} | {child.pid for child in process.children(recursive=True)}


def eventually(settled: Callable[[], Any], seconds: float = 60.0) -> Any:
    found: list[Any] = []
    assert processes.wait_until(lambda: bool(found.append(settled()) or found[-1]), seconds), "did not come to pass in time"
    return found[-1]


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    running = start_stack(tmp_path / "data")
    yield running
    stop_stack_process(running.process)


@pytest.fixture(scope="module")
def mortal_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose parts may be killed without disturbing the other journeys."""
    running = start_stack(tmp_path_factory.mktemp("mortal") / "data")
    yield running
    stop_stack_process(running.process)


def test_stack_json_says_everything_and_only_to_its_owner(stack: Stack) -> None:
    path = stack.data_dir / "stack.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(stack.described) == CONTRACT_KEYS | DEMO_KEYS
    assert not stack.described["api_url"].endswith("/")
    assert all(name.startswith("LAUREL_") for name in stack.described["env"])
    with stack.client() as client:
        eventually(lambda: client.get("/ready").status_code == 200)  # its probes have two seconds


def test_commands_run_with_its_environment_alone(stack: Stack) -> None:
    environment = {"PATH": os.environ["PATH"], **stack.described["env"]}
    command = [sys.executable, "-m", "cli", "doctor"]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_start_keeps_data_and_keys_and_a_stop_leaves_nothing_running(own_stack: Stack) -> None:
    before = own_stack.described
    with psycopg.connect(before["database_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    started = family(own_stack.process.pid)
    assert stop_stack_process(own_stack.process) == 0
    assert not [pid for pid in started if alive(pid)], "what has said that it stopped has stopped: its data can be copied"
    state = subprocess.run([postgres.binaries() / "pg_controldata", own_stack.data_dir / "postgres"], capture_output=True, text=True)
    assert re.search(r"cluster state: +shut down$", state.stdout, re.MULTILINE), state.stdout + state.stderr
    again = start_stack(own_stack.data_dir)
    try:
        assert {name: again.described[name] for name in DEMO_KEYS} == {name: before[name] for name in DEMO_KEYS}
        assert again.described["env"]["LAUREL_SECRET_KEY"] == before["env"]["LAUREL_SECRET_KEY"]
        with psycopg.connect(again.described["database_url"]) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    finally:
        stop_stack_process(again.process)


def test_a_killed_up_leaves_no_orphan_and_can_be_started_again(own_stack: Stack) -> None:
    started = family(own_stack.process.pid)
    assert len(started) > 6
    own_stack.process.kill()
    own_stack.process.wait()
    eventually(lambda: not [pid for pid in started if alive(pid)])
    again = start_stack(own_stack.data_dir)
    assert again.described["api_key"] == own_stack.described["api_key"]
    assert stop_stack_process(again.process) == 0


@pytest.mark.xdist_group("mortal")
@pytest.mark.parametrize("kind", ["api", "worker", "postgres", "redis", "temporal"])
def test_a_part_that_dies_is_started_again_on_the_same_port(mortal_stack: Stack, kind: str) -> None:
    def pid_of() -> int:
        pids = mortal_stack.now()["pids"][kind]
        return pids[0] if isinstance(pids, list) and pids else pids or 0

    def is_ready() -> bool:
        try:
            return client.get("/ready").json().get("status") in ("ok", "ready")
        except httpx.TransportError:  # it took the request, or only the connection, when it was not yet up
            return False

    before = eventually(pid_of)  # another part's death may have taken it down for a moment
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid_of() not in (0, before))
    assert f"{kind} ended (killed by SIGKILL)" in (mortal_stack.data_dir / "up.log").read_text()
    for name in ("api_url", "database_url", "redis_url", "temporal_address"):
        assert mortal_stack.now()[name] == mortal_stack.described[name]
    with mortal_stack.client() as client:
        eventually(is_ready)


def fails_at_once(*options: str) -> str:
    command = [sys.executable, "-m", "cli", "up", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    return done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--port", "--temporal-port", "--temporal-ui-port"])
def test_a_port_in_use_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--temporal-port": "0", "--temporal-ui-port": "0", option: port}
        said = fails_at_once("--data-dir", str(tmp_path), *(part for pair in ports.items() for part in pair))
    assert f"port {port}" in said
    assert option in said


def test_a_second_up_on_the_same_data_is_refused(stack: Stack) -> None:
    said = fails_at_once("--data-dir", str(stack.data_dir), "--port", "0")
    assert "in use by another" in said
    assert str(stack.process.pid) in said
