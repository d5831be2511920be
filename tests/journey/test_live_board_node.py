"""The example of a live board in Node: what it shows, how it comes back, and when it gives up."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Stack
from tests.journey.programme import add_board, event, eventually, fresh, post
from tests.node_packages import with_packages

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on this machine"),
]


class Line:
    """A network between a client and the API that can be cut and mended."""

    def __init__(self, api_url: str) -> None:
        target = urlsplit(api_url)
        self._target = (str(target.hostname), int(target.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._is_cut = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and each that is tried from now on."""
        self._is_cut = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    def close(self) -> None:
        """Cut for good."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                if self._is_cut:
                    here.close()
                    continue
                there = socket.create_connection(self._target)
                self._open += (here, there)
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_packages("examples/live-board-node", tmp_path_factory.mktemp("node")) / "live-board.mjs"


class Running:
    """The program at work."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[str]:
        """All that it has printed."""
        return self._log.read_text().splitlines()

    def shows(self, line: str) -> None:
        """Waits until this is the last line."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.lines()[-1:] == [line])
        assert self.lines()[-1:] == [line]


@contextmanager
def started(program: Path, log: Path, api_url: str, token: str, *options: str) -> Iterator[Running]:
    environment = {"PATH": os.environ["PATH"], "API_URL": api_url, "TOKEN": token}
    with log.open("wb") as output:
        process = subprocess.Popen(["node", str(program), *options], env=environment, stdout=output, stderr=output)
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.wait()


def test_it_resumes_its_view_after_the_network_was_cut_and_ends_with_the_board(stack: Stack, program: Path, tmp_path: Path) -> None:
    kind, ann, bob, cat = fresh("lap"), fresh("ann"), fresh("bob"), fresh("cat")
    line = Line(stack.described["api_url"])
    with stack.client() as client:
        board = add_board(client, kind)
        token = post(client, "/v1/auth/gamer-token", {"user_id": ann})["token"]

        def play(user: str, points: int) -> None:
            post(client, "/v1/events", event(kind, user, points=points), status=202)

        try:
            with started(program, tmp_path / "log", line.url, token, board, "--top", "2") as running:
                play(ann, 10)
                running.shows(f"all: 1 ranked, open | 1. {ann} 10")
                play(bob, 30)
                running.shows(f"all: 2 ranked, open | 1. {bob} 30 | 2. {ann} 10")
                line.cut()
                eventually(lambda: running.lines()[-1].startswith("disconnected (1006), reconnecting"))
                play(cat, 20)
                play(ann, 30)
                line.mend()
                running.shows(f"all: 3 ranked, open | 1. {ann} 40 | 2. {bob} 30")
                client.delete(f"/v1/admin/leaderboards/{board}").raise_for_status()
                running.shows("stopped: the leaderboard was archived")
                assert running.process.wait(30) == 1
        finally:
            line.close()


@pytest.mark.parametrize(("board", "token", "message"), [("no-such-board", "", "no-such-board"), ("", "no-token", "oken")])
def test_it_gives_up_where_another_attempt_cannot_help(
    stack: Stack, program: Path, tmp_path: Path, board: str, token: str, message: str
) -> None:
    with stack.client() as client:
        board = board or add_board(client, fresh("lap"))
        token = token or post(client, "/v1/auth/gamer-token", {"user_id": fresh("ann")})["token"]
    with started(program, tmp_path / "log", stack.described["api_url"], token, board) as running:
        assert running.process.wait(60) == 1
        assert running.lines()[-1].startswith("stopped: ")
        assert message in running.lines()[-1]
