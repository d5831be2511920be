"""A board that is deleted and made again under the same id starts clean: entries, sockets, snapshots. And a board's end is told at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.leaderboard import room
from runtime.settings import load_settings
from tests.board_socket import watching
from tests.builders.api import serving
from tests.conftest import Stack
from tests.journey.programme import event, eventually, fresh, post

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SEASON = TODAY - timedelta(days=10), TODAY + timedelta(days=10)


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def make(client: httpx.Client, board: str, kind: str) -> None:
    """A board with one window, which does not end while the test runs."""
    scoring = {"rules": [{"event_type": kind, "points_expression": "attrs.points"}]}
    span = {"starts_at": SEASON[0].isoformat(), "ends_at": SEASON[1].isoformat()}
    body = {"leaderboard_id": board, "name": board, "config": {"timeframe": {"type": "custom", **span}, "scoring": scoring}}
    post(client, "/v1/admin/leaderboards", body)


def play(client: httpx.Client, kind: str, **points: float) -> None:
    events = [event(kind, user, points=value) for user, value in points.items()]
    assert client.post("/v1/events/bulk", json={"events": events}).json()["failed"] == 0


def entries(client: httpx.Client, path: str) -> list[tuple[int, str, float]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return [(entry["rank"], entry["user_id"], entry["score"]) for entry in answer.json()["entries"]]


def test_a_board_made_again_under_its_id_starts_clean(stack: Stack, client: httpx.Client) -> None:
    board, kind = fresh("again"), fresh("lap")
    path, url, key = f"/v1/leaderboards/{board}", stack.described["api_url"], stack.described["api_key"]
    make(client, board, kind)
    play(client, kind, ann=5, bob=9)
    eventually(lambda: entries(client, path) == [(1, "bob", 9), (2, "ann", 5)])
    with watching(url, board, key) as before:
        assert len(before.held()) == 2
        assert client.delete(f"/v1/admin/leaderboards/{board}").status_code == 204
        assert before.closing_code() == 4404
    old = eventually(lambda: client.get(f"/v1/snapshots/{board}").json()["snapshots"])
    assert entries(client, f"/v1/snapshots/{board}/{old[0]['snapshot_time']}") == [(1, "bob", 9), (2, "ann", 5)]
    play(client, kind, bob=1000)  # counts on neither

    make(client, board, kind)
    assert entries(client, path) == []
    empty = client.get(path).json()
    assert (empty["status"], empty["total"]) == ("open", 0), "and does not fall back to the window of the board before"
    for question in ("user", "rank", "score"):
        missing = client.get(f"{path}/{question}/bob")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "USER_NOT_FOUND")
    assert board not in [each["leaderboard_id"] for each in client.get("/v1/users/bob/leaderboards").json()["leaderboards"]]
    with watching(url, board, key) as after:
        assert (after.held(), after.total) == ([], 0)
        play(client, kind, ann=1)
        while after.total != 1:
            after.receive()
        assert [(entry["rank"], entry["user_id"], entry["score"]) for entry in after.held()] == [(1, "ann", 1)]
        eventually(lambda: entries(client, path) == [(1, "ann", 1)])  # a rendered page may be 100 ms old
        assert client.get(f"/v1/snapshots/{board}").json()["snapshots"] == []
        assert client.get(f"/v1/snapshots/{board}/{old[0]['snapshot_time']}").status_code == 404

        (window,) = client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"]
        assert client.post(f"/v1/admin/leaderboards/{board}/windows/{window['window_key']}/close").status_code == 202
        told = after.answer("window_closed")
        assert told["window_key"] == window["window_key"]
        assert told["status"] in ("closed", "paid")
    (closed,) = client.get(f"/v1/snapshots/{board}").json()["snapshots"]
    assert entries(client, f"/v1/snapshots/{board}/{closed['snapshot_time']}") == [(1, "ann", 1)]


def test_the_worker_gives_word_of_a_windows_end(stack: Stack, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    board, kind, key = fresh("word"), fresh("lap"), stack.described["api_key"]
    make(client, board, kind)
    play(client, kind, ann=5)
    eventually(lambda: entries(client, f"/v1/leaderboards/{board}") == [(1, "ann", 5)])
    (window,) = client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"]
    monkeypatch.setattr(room, "LOOK_SECONDS", 3600.0)  # whoever waits for the next look at the window waits too long
    with serving(load_settings(stack.described["env"])) as url, watching(url, board, key) as watcher:
        assert client.post(f"/v1/admin/leaderboards/{board}/windows/{window['window_key']}/close").status_code == 202
        assert watcher.answer("window_closed")["window_key"] == window["window_key"]
