"""Leaderboards over HTTP, as partners use them."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Stack

NOW = "2026-01-05T10:00:00Z"


def config(**more: Any) -> dict[str, Any]:
    rules = [{"event_type": "lb.match", "points_expression": "attrs.score"}]
    return {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules, "aggregation": "sum"}, **more}


def until(question: Callable[[], Any], wanted: Any, seconds: float = 60.0) -> Any:
    """The answer, as soon as it is the wanted one."""
    deadline = time.monotonic() + seconds
    while (answer := question()) != wanted:
        assert time.monotonic() < deadline, f"still {answer!r}, not {wanted!r}"
        time.sleep(0.05)
    return answer


def play(client: httpx.Client, event_id: str, user: str, score: float, occurred_at: str = NOW) -> None:
    body = {"event_id": event_id, "type": "lb.match", "actor": {"user_id": user}, "occurred_at": occurred_at, "attrs": {"score": score}}
    answer = client.post("/v1/events", json=body)
    assert answer.status_code == 202, answer.text


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def rows(client: httpx.Client, board: str, **query: Any) -> list[tuple[int, str, float]]:
    page = client.get(f"/v1/leaderboards/{board}", params=query).json()
    return [(entry["rank"], entry["user_id"], entry["score"]) for entry in page["entries"]]


def test_a_board_from_definition_to_rank(client: httpx.Client) -> None:
    made = client.post("/v1/admin/leaderboards", json={"leaderboard_id": "jb1", "name": "J", "config": config()})
    assert made.status_code == 201, made.text
    assert made.json()["version"] == 1
    assert made.json()["config"]["timeframe"] == {"type": "all_time", "timezone": "UTC", "reset_time": "00:00", "grace_seconds": 60}
    assert client.get("/v1/leaderboards/jb1").json()["total"] == 0
    for n, (user, score) in enumerate([("ann", 10), ("bob", 30.5), ("cy", 10), ("ann", 5)]):
        play(client, f"jb1-{n}", user, score, f"2026-01-05T10:00:0{n}Z")
    play(client, "jb1-1", "bob", 30.5)
    until(lambda: rows(client, "jb1"), [(1, "bob", 30.5), (2, "ann", 15), (3, "cy", 10)])
    rank = client.get("/v1/leaderboards/jb1/rank/ann").json()
    assert rank == {"leaderboard_id": "jb1", "window_key": "all", "user_id": "ann", "rank": 2, "score": 15, "total": 3, "percentile": 33.33}
    around = client.get("/v1/leaderboards/jb1/user/cy", params={"limit": 2}).json()
    assert around["user"] == around["entries"][1]
    assert [entry["user_id"] for entry in around["entries"]] == ["ann", "cy"]
    page = client.get("/v1/leaderboards/jb1", params={"limit": 1, "offset": 1})
    assert page.json()["entries"][0]["updated_at"] == "2026-01-05T10:00:03Z"
    assert (
        client.get("/v1/leaderboards/jb1", params={"limit": 1, "offset": 1}, headers={"If-None-Match": page.headers["etag"]}).status_code
        == 304
    )
    boards = client.get("/v1/users/ann/leaderboards").json()["leaderboards"]  # other tests have boards with an ann, too
    assert [board["rank"] for board in boards if board["leaderboard_id"] == "jb1"] == [2]
    missing = client.get("/v1/leaderboards/jb1/rank/zoe")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "USER_NOT_FOUND")
    assert "jb1" in missing.json()["error"]["message"]


def test_definitions_are_versioned_and_archived(client: httpx.Client) -> None:
    path = "/v1/admin/leaderboards"
    body = {"leaderboard_id": "jb2", "name": "J", "config": config()}
    assert client.post(path, json=body).status_code == 201
    assert client.post(path, json=body).json()["error"]["code"] == "ALREADY_EXISTS"
    changed = client.put(f"{path}/jb2", json={**body, "name": "K"}, headers={"If-Match": "1"})
    assert (changed.status_code, changed.json()["version"], changed.json()["name"]) == (200, 2, "K")
    assert client.put(f"{path}/jb2", json=body, headers={"If-Match": "1"}).json()["error"]["code"] == "VERSION_CONFLICT"
    other = {**body, "config": config(ranking={"method": "score_asc"})}
    assert client.put(f"{path}/jb2", json=other).json()["error"]["code"] == "INVALID_STATE"
    play(client, "jb2-1", "ann", 3)
    until(lambda: rows(client, "jb2"), [(1, "ann", 3)])
    assert client.delete(f"{path}/jb2").status_code == 204
    assert client.get(f"{path}/jb2").json()["status"] == "archived"
    assert client.get("/v1/leaderboards/jb2").json()["error"]["code"] == "LEADERBOARD_NOT_FOUND"
    assert client.post(path, json=body).status_code == 201
    assert rows(client, "jb2") == []


def test_explain_says_what_an_event_would_do_and_writes_nothing(client: httpx.Client) -> None:
    client.post("/v1/admin/leaderboards", json={"leaderboard_id": "jb3", "name": "J", "config": config()})
    event = {"event_id": "jb3-1", "type": "lb.match", "actor": {"user_id": "ann"}, "occurred_at": NOW, "attrs": {"score": 7}}
    said = client.post("/v1/admin/leaderboards/jb3/explain", json=event).json()
    assert (said["matched"], said["points"], said["entry"]["score"]) == (True, 7, 7)
    said = client.post("/v1/admin/leaderboards/jb3/explain", json={**event, "attrs": {}}).json()
    assert (said["matched"], said["points"], said["entry"]) == (False, None, None)
    assert said["rules"][0]["reason"]
    assert rows(client, "jb3") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"offset": -1}, "offset"), ({"window_key": "x"}, "window_key")],
)
def test_bad_questions_name_the_field(client: httpx.Client, query: dict[str, Any], field: str) -> None:
    client.post("/v1/admin/leaderboards", json={"leaderboard_id": "jb4", "name": "J", "config": config()})
    answer = client.get("/v1/leaderboards/jb4", params=query)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, field)
