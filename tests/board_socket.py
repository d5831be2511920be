"""A client of a board's WebSocket as a partner would write it, and an API process beside the running ones."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from domain.leaderboard.socket_wire import ServerMessage
from stack import processes
from tests.conftest import REPOSITORY, Stack

WAIT_SECONDS = 60.0


class BoardSocket:
    """Keeps what the messages say of the board, and checks the numbering of each."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.sequence = 0
        self.entries: dict[str, dict[str, Any]] = {}
        self.total = self.page = self.page_size = -1
        self.window_key = self.status = ""
        self.kinds: list[str] = []

    def receive(self, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """The next message, already applied."""
        text = self.connection.recv(seconds)
        msgspec.json.decode(text, type=ServerMessage)  # the message is one that the API document knows
        message: dict[str, Any] = json.loads(text)
        self.sequence += 1
        assert message["sequence"] == self.sequence, message
        assert message["timestamp"].endswith("Z")
        self.kinds.append(message["type"])
        if message["type"] == "snapshot":
            self.entries = {entry["user_id"]: entry for entry in message["entries"]}
            self.total, self.window_key, self.status = message["total"], message["window_key"], message["status"]
            self.page, self.page_size = message["page"], message["page_size"]
        elif message["type"] == "update":
            self._apply(message)
        return message

    def _apply(self, message: dict[str, Any]) -> None:
        assert message["window_key"] == self.window_key
        for user in message["removed"]:
            del self.entries[user]
        for entry in message["entries"]:
            previous = self.entries.get(entry["user_id"])
            assert entry.pop("previous_rank") == (previous and previous["rank"])
            assert entry != previous
            self.entries[entry["user_id"]] = entry
        self.total, self.status = message["total"], message["status"]

    def held(self) -> list[dict[str, Any]]:
        """The view's entries, best first."""
        return sorted(self.entries.values(), key=lambda entry: int(entry["rank"]))

    def ask(self, **message: Any) -> None:
        """Send a message."""
        self.connection.send(json.dumps(message))

    def answer(self, kind: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """The next message of that type; what comes before it is applied."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.receive(max(0.01, deadline - time.monotonic()))
            if message["type"] == kind:
                return message

    def change(self) -> None:
        """Apply what comes up to the next change of the view: an `update`, or a `snapshot` where several changes came at once."""
        while self.receive()["type"] not in ("update", "snapshot"):
            pass

    def closing_code(self) -> int | None:
        """The code with which the server closes; what comes before it is applied."""
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while True:
                self.receive(max(0.01, deadline - time.monotonic()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def configure(self, **wanted: Any) -> dict[str, Any]:
        """Look at something else."""
        self.ask(type="configure", **wanted)
        return self.answer("snapshot")


@contextmanager
def watching(api_url: str, board: str, credential: str, **options: Any) -> Iterator[BoardSocket]:
    """A connection with its first snapshot."""
    address = f"{api_url.replace('http', 'ws', 1)}/v1/leaderboards/{board}/ws"
    headers = {"Authorization": f"Bearer {credential}"}
    # Without pings of its own: a client that reads nothing for a while would miss the answers and hang up.
    with connect(
        address, additional_headers=headers, compression=None, open_timeout=WAIT_SECONDS, ping_interval=None, **options
    ) as connection:
        opened = BoardSocket(connection)
        assert opened.receive()["type"] == "snapshot"
        yield opened


@contextmanager
def api_process(stack: Stack, directory: Path, **settings: str) -> Iterator[str]:
    """The address of one more API process of the stack, with other settings."""
    port = processes.free_port()
    environment = {**stack.described["env"], **settings, "LAUREL_API_HOST": "127.0.0.1", "LAUREL_API_PORT": str(port)}
    with (directory / "api.log").open("wb") as log:
        started = subprocess.Popen([sys.executable, "-m", "cli", "api"], cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + WAIT_SECONDS
            while not _serves(address):
                assert started.poll() is None, (directory / "api.log").read_text()
                assert time.monotonic() < deadline, "the API process does not start"
                time.sleep(0.1)
            yield address
        finally:
            started.terminate()
            try:
                started.wait(WAIT_SECONDS)
            finally:
                started.kill()


def _serves(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=1.0).status_code == 200
    except httpx.HTTPError:
        return False
