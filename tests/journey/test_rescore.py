"""Rescores over HTTP and from the command line."""

import os
import signal
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.conftest import REPOSITORY, Stack
from tests.journey.test_leaderboards import config, play, rows, until

PATH = "/v1/admin/leaderboards"


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def make(client: httpx.Client, board: str, **more: Any) -> dict[str, Any]:
    body = {"leaderboard_id": board, "name": board, "config": config(**more)}
    answer = client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return body


def change_rule(client: httpx.Client, body: dict[str, Any], expression: str) -> None:
    rules = [{"event_type": "lb.match", "points_expression": expression}]
    changed = {**body, "config": {**body["config"], "scoring": {"rules": rules, "aggregation": "sum"}}}
    answer = client.put(f"{PATH}/{body['leaderboard_id']}", json=changed)
    assert answer.status_code == 200, answer.text


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_rescore_counts_by_the_new_rule_and_says_how_far_it_is(client: httpx.Client) -> None:
    body = make(client, "jr1")
    for number, (user, score) in enumerate([("rae", 5), ("rob", 9), ("rae", 6)]):
        play(client, f"jr1-{number}", user, score)
    until(lambda: rows(client, "jr1"), [(1, "rae", 11), (2, "rob", 9)])
    change_rule(client, body, "100 - attrs.score")
    assert rows(client, "jr1") == [(1, "rae", 11), (2, "rob", 9)], "what was scored stays as it was"
    answer = client.post(f"{PATH}/jr1/rescore", json={"window_key": "all"})
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert answer.headers["location"] == begun["progress_url"]
    assert (begun["status"], begun["window_key"], begun["version"]) == ("running", "all", 2)
    play(client, "jr1-9", "rob", 1)
    done = until(lambda: client.get(begun["progress_url"]).json()["status"], "completed")
    assert done == "completed"
    until(lambda: rows(client, "jr1"), [(1, "rob", 190), (2, "rae", 189)])
    (listed,) = client.get(f"{PATH}/jr1/rescores").json()["rescores"]
    assert (listed["rescore_id"], listed["progress"], listed["completed_at"] is not None) == (begun["rescore_id"], 1.0, True)
    assert client.get("/v1/leaderboards/jr1/rank/rae").json()["score"] == 189


def test_a_rule_that_had_matched_nothing_is_put_right(client: httpx.Client) -> None:
    body = make(client, "jr2")
    change_rule(client, body, "attrs.typo")
    play(client, "jr2-1", "rae", 7)
    play(client, "jr2-2", "rob", 8)
    change_rule(client, body, "attrs.score")
    assert client.post(f"{PATH}/jr2/rescore", json={"window_key": "current"}).status_code == 202
    until(lambda: rows(client, "jr2"), [(1, "rob", 8), (2, "rae", 7)])


def test_what_cannot_be_rescored_is_refused(client: httpx.Client) -> None:
    make(client, "jr3", timeframe={"type": "daily"})
    path = f"{PATH}/jr3/rescore"
    assert code(client.post(f"{PATH}/jr3-none/rescore", json={"window_key": "all"})) == (404, "LEADERBOARD_NOT_FOUND")
    assert code(client.post(path, json={"window_key": "all"})) == (404, "NOT_FOUND")
    assert code(client.post(path, json={})) == (400, "VALIDATION_ERROR")
    assert code(client.post(path, json={"window_key": "2020-01-01"})) == (409, "INVALID_STATE")
    assert code(client.post(path, json={"window_key": "2120-01-01"})) == (409, "INVALID_STATE")
    assert code(client.get(f"{PATH}/jr3/rescores/{'0' * 8}-0000-7000-8000-{'0' * 12}")) == (404, "NOT_FOUND")
    assert client.get(f"{PATH}/jr3/rescores").json() == {"rescores": [], "next_cursor": None}


def test_a_rescore_survives_the_death_of_its_worker(client: httpx.Client, stack: Stack) -> None:
    body = make(client, "jr4")
    for number in range(30):
        play(client, f"jr4-{number}", f"user-{number % 3}", number)
    until(lambda: [score for _, _, score in rows(client, "jr4")], [155, 145, 135])
    change_rule(client, body, "attrs.score * 2")
    begun = client.post(f"{PATH}/jr4/rescore", json={"window_key": "all"}).json()
    for pid in stack.now()["pids"]["worker"]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: client.get(begun["progress_url"]).json()["status"], "completed", 60.0)
    until(lambda: [score for _, _, score in rows(client, "jr4")], [310, 290, 270])


def test_the_command_line_rescores(client: httpx.Client, stack: Stack) -> None:
    body = make(client, "jr5")
    play(client, "jr5-1", "rae", 3)
    until(lambda: rows(client, "jr5"), [(1, "rae", 3)])
    change_rule(client, body, "attrs.score + 1")
    tenant, where = stack.described["tenant_id"], ("--data-dir", str(stack.data_dir))
    command = [sys.executable, "-m", "cli", "rescore", "--tenant", tenant, "--board", "jr5", "--window", "all", *where]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "the board shows the new standings" in done.stderr
    until(lambda: rows(client, "jr5"), [(1, "rae", 4)])
    refused = subprocess.run([*command, "--board", "none"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, "not found" in refused.stderr) == (1, True)
