"""A process that is told to stop drops no request: it says so first, and answers what has arrived."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from runtime.settings import PREFIX, Settings
from stack.processes import free_port
from tests.conftest import REPOSITORY

PATIENCE_SECONDS = 60.0


@pytest.fixture
def api(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An API process of its own and its port."""
    port = free_port()
    given = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SECRET_KEY": settings.secret_key,
        "API_PORT": str(port),
        "DRAIN_SECONDS": "5",
    }
    environment = os.environ | {PREFIX + name: value for name, value in given.items()}
    process = subprocess.Popen((sys.executable, "-m", "cli", "api"), cwd=REPOSITORY, env=environment)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def ask(connection: socket.socket, path: str = "/health") -> tuple[bytes, dict[str, str]]:
    """The answer's first line and headers; the body is read and forgotten."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        assert piece, "the connection was closed without an answer"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    headers = {name.decode().lower(): value.decode().strip() for name, _, value in (each.partition(b":") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65_536)
    return line, headers | {"body": body.decode()}


def test_open_connections_are_answered_and_told_to_close(api: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = api
    used, fresh = (socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) for _ in range(2))
    with used, fresh:
        assert "connection" not in ask(used)[1]
        process.send_signal(signal.SIGTERM)
        headers = {"body": ""}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "draining" not in headers["body"]:
            assert time.monotonic() < deadline
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as probe:
                status, headers = ask(probe, "/ready")
        assert b" 503 " in status
        assert msgspec.json.decode(headers["body"])["status"] == "draining"
        for each in (used, fresh):
            status, headers = ask(each)
            assert b" 200 " in status
            assert headers["connection"] == "close"
            assert each.recv(1) == b""
    assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)


def test_clients_that_keep_asking_lose_nothing_and_go_elsewhere(api: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = api
    lost: list[str] = []
    sent_off: list[int] = []
    asked = threading.Barrier(9)

    def client(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
            ask(connection)
            asked.wait(PATIENCE_SECONDS)
            try:
                while ask(connection)[1].get("connection") != "close":
                    pass
            except (OSError, AssertionError) as error:
                lost.append(repr(error))
            else:
                sent_off.append(number)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    asked.wait(PATIENCE_SECONDS)
    process.send_signal(signal.SIGTERM)
    for each in clients:
        each.join(PATIENCE_SECONDS)
    assert not lost
    assert sorted(sent_off) == list(range(8))
    assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
