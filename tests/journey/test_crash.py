"""Nothing acknowledged is lost and nothing counts twice, whatever is killed; redemptions are taken while Temporal is away."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil
import pytest

from domain.leaderboard.definition import WEEKDAYS
from domain.wire import rfc3339
from tests.conftest import REPOSITORY, Stack, start_stack, stop_stack_process
from tests.journey.programme import (
    add_board,
    add_endpoint,
    add_reward,
    add_rule,
    board_of,
    event,
    eventually,
    fresh,
    give_points,
    points_of,
    post,
    receiver,
    redemption_in,
)

pytestmark = pytest.mark.xdist_group("stack")

USERS = 20
SENDERS = 3
BATCH = 20
ACKNOWLEDGED_SECONDS = 120.0


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that may be maltreated."""
    running = start_stack(tmp_path_factory.mktemp("crash") / "data")
    try:
        yield running
    finally:
        stop_stack_process(running.process)


class Sender(threading.Thread):
    """Sends batch after batch until told to stop, and each again with the same ids until it is acknowledged."""

    def __init__(self, stack: Stack, kind: str, stop: threading.Event) -> None:
        super().__init__()
        self.stack, self.kind, self.stopped = stack, kind, stop
        self.acknowledged: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        number = 0
        with self.stack.client() as client:
            while not self.stopped.is_set():
                events = [event(self.kind, f"player-{(number + n) % USERS}", points=1) for n in range(BATCH)]
                number += BATCH
                if not self.send(client, events):
                    return
                self.acknowledged.update(each["actor"]["user_id"] for each in events)

    def send(self, client: httpx.Client, events: list[dict[str, Any]]) -> bool:
        deadline = time.monotonic() + ACKNOWLEDGED_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = client.post("/v1/events/bulk", json={"events": events})
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 202 and answer.json()["status"] == "accepted":
                return True
            if answer.status_code < 500:
                break
            time.sleep(0.1)
        self.failures.append(f"not acknowledged: {answer.text}" if "answer" in locals() else "no answer")
        return False


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it fell over what was killed before
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("parts", [("worker", "api", "worker", "api"), ("redis", "temporal", "postgres")], ids=["ours", "servers"])
def test_killing_parts_in_mid_stream_loses_and_repeats_nothing(own_stack: Stack, parts: tuple[str, ...]) -> None:
    kind, stop = fresh("stream"), threading.Event()
    with own_stack.client() as client:
        before_stream = points_earned(client, (f"player-{number}" for number in range(USERS)))
        board = add_board(client, kind)
        add_rule(client, kind)
        senders = [Sender(own_stack, kind, stop) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            for part in parts:
                before = sum(sum(sender.acknowledged.values()) for sender in senders)
                eventually(lambda before=before: sum(sum(s.acknowledged.values()) for s in senders) >= before + 10 * BATCH)  # type: ignore[misc]
                victims = pids_of(own_stack, part)
                kill(victims)
                eventually(lambda part=part, victims=victims: fresh_and_alive(own_stack, part, victims))  # type: ignore[misc]
            before = sum(sum(sender.acknowledged.values()) for sender in senders)
            eventually(lambda: sum(sum(s.acknowledged.values()) for s in senders) > before)
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        assert [failure for sender in senders for failure in sender.failures] == []
        expected = sum((sender.acknowledged for sender in senders), Counter[str]())
        eventually(lambda: dict(board_of(client, board)) == dict(expected), seconds=180.0)
        assert points_earned(client, expected) == before_stream + expected


def points_earned(client: httpx.Client, users: Iterable[str]) -> Counter[str]:
    return Counter({user: points_of(client, user)["available"] for user in users})


def pids_of(stack: Stack, part: str) -> list[int]:
    pids = stack.now()["pids"][part]
    return [pid for pid in (pids if isinstance(pids, list) else [pids]) if pid]  # 0 stands for one that is away


def fresh_and_alive(stack: Stack, part: str, victims: list[int]) -> bool:
    present = pids_of(stack, part)
    return bool(present) and not set(present) & set(victims) and all(psutil.pid_exists(pid) for pid in present)


def test_redemptions_are_taken_while_temporal_stands_still_and_processed_afterwards(own_stack: Stack) -> None:
    user, kind = fresh("user"), fresh("quiet")
    with own_stack.client() as client, receiver() as partner:
        board = add_board(client, kind)
        endpoint, _ = add_endpoint(client, partner.url)
        slug = add_reward(client, price=10, endpoint_id=endpoint)
        give_points(client, user, 100)
        temporal = psutil.Process(pids_of(own_stack, "temporal")[0])
        frozen = [temporal, *temporal.children(recursive=True)]
        for process in frozen:
            process.suspend()
        try:
            taken = [post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug}) for _ in range(3)]
            assert [redemption["status"] for redemption in taken] == ["pending"] * 3
            assert points_of(client, user)["held"] == 30
            early = taken[0]["redemption_id"]
            with own_stack.client("fulfilment_key") as key:
                answer = key.patch(f"/v1/admin/rewards/redemptions/{early}", json={"status": "fulfilled"})
            assert (answer.status_code, answer.json()["status"]) == (200, "fulfilled"), "a callback is durable without Temporal"
            assert post(client, "/v1/events", event(kind, user, points=3), 202)["status"] == "accepted"
        finally:
            for process in frozen:
                process.resume()
        for redemption in taken[1:]:
            redemption_in(client, redemption["redemption_id"], "processing")
            assert len(partner.of(redemption["redemption_id"])) == 1
        eventually(lambda: board_of(client, board) == [(user, 3)])
        assert points_of(client, user) == {"available": 70, "held": 20, "lifetime_earned": 0, "lifetime_spent": 10}


def test_killing_the_worker_between_webhook_and_callback_changes_nothing(own_stack: Stack) -> None:
    user = fresh("user")
    with own_stack.client() as client, receiver(500) as partner:
        endpoint = post(
            client, "/v1/admin/webhook-endpoints", {"url": partner.url, "events": ["webhook.test"], "retry_delays_seconds": [2]}
        )
        slug = add_reward(client, price=10, endpoint_id=endpoint["endpoint_id"])
        give_points(client, user, 10)
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
        eventually(lambda: partner.of(redemption))
        kill(pids_of(own_stack, "worker"))
        redemption_in(client, redemption, "processing")
        attempts = [each.headers["x-gamifyengine-attempt"] for each in partner.of(redemption)]
        # Killed before the answer was recorded, the attempt is made again under its number; killed after, the next one follows.
        assert attempts in (["1", "1"], ["1", "2"])
        assert len({each.headers["x-gamifyengine-delivery"] for each in partner.of(redemption)}) == 1
        with own_stack.client("fulfilment_key") as key:
            assert key.patch(f"/v1/admin/rewards/redemptions/{redemption}", json={"status": "fulfilled"}).status_code == 200
        assert points_of(client, user) == {"available": 0, "held": 0, "lifetime_earned": 0, "lifetime_spent": 10}


def test_killing_the_worker_while_a_window_closes_under_load_pays_every_winner_once(own_stack: Stack) -> None:
    kind, stop = fresh("season"), threading.Event()
    with own_stack.client() as client:
        gold, silver, bronze = (winning_item(client, name, points) for name, points in (("gold", 100), ("silver", 50), ("bronze", 10)))
        tiers = [
            {"name": "gold", "min_rank": 1, "max_rank": 1, "item_ids": gold},
            {"name": "silver", "min_rank": 2, "max_rank": 5, "item_ids": silver},
            {"name": "bronze", "min_rank": 6, "max_rank": 15, "item_ids": bronze},
        ]
        config = post(client, "/v1/admin/reward-configs", {"name": "weekly", "tiers": tiers})["reward_config_id"]
        board = weekly_board(client, kind, config)
        senders = [Sender(own_stack, kind, stop) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            eventually(lambda: sum(sum(sender.acknowledged.values()) for sender in senders) >= 20 * BATCH)
            # Acknowledged is not yet scored: the board's window is there once its first event is.
            windows = eventually(lambda: client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"])
            key = windows[-1]["window_key"]
            assert client.post(f"/v1/admin/leaderboards/{board}/windows/{key}/close").status_code == 202
            for pause in (0.0, 0.3, 0.7):  # while it closes, while it is planned, while it is paid: wherever the kill falls
                time.sleep(pause)
                victims = pids_of(own_stack, "worker")
                kill(victims)
                eventually(lambda victims=victims: fresh_and_alive(own_stack, "worker", victims))  # type: ignore[misc]
            eventually(lambda: window_of(client, board, key)["status"] == "paid", seconds=180.0)
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        window = window_of(client, board, key)
        final = client.get(f"/v1/leaderboards/{board}", params={"window_key": key, "limit": 100}).json()["entries"]
        expected = {entry["user_id"]: items_of(tiers, entry["rank"]) for entry in final}
        given = {user: sorted(each["item_id"] for each in grants_in(client, user, window["window_id"])) for user in expected}
        assert given == expected
        assert window["payout"]["paid"] == 15
        assert window["payout"]["total"]["points"] == 100 + 4 * 50 + 10 * 10
    environment = {**os.environ, **own_stack.described["env"]}
    command = [sys.executable, "-m", "cli", "verify-ledger"]
    verified = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_killing_the_worker_while_schedules_pay_pays_each_instant_once(own_stack: Stack) -> None:
    users, worth = [fresh("user") for _ in range(40)], 5
    with own_stack.client() as client:
        for user in users:
            post(client, "/v1/users", {"external_id": user})
        item = post(client, "/v1/admin/reward-items", {"name": "points", "reward_type": "points", "reward_value": worth})["item_id"]
        audience = {"type": "users", "external_ids": users}
        body = {"name": "Often", "when": {"every_seconds": 5}, "audience": audience, "item_ids": [item]}
        path = f"/v1/admin/schedules/{post(client, '/v1/admin/schedules', body)['schedule_id']}"
        end = time.time()
        span = {"from": rfc3339(datetime.fromtimestamp(end - 300, UTC)), "to": rfc3339(datetime.fromtimestamp(end - 60, UTC))}
        key = {"Idempotency_Key": fresh("key")}
        instants = set()
        for pause in (0.0, 0.4, 1.5):
            time.sleep(pause)
            triggered = post(client, f"{path}/trigger", {}, 202, **key)["run_id"]
            instants |= set(post(client, f"{path}/backfill", span, 202)["instants"])
            victims = pids_of(own_stack, "worker")
            kill(victims)
            eventually(lambda victims=victims: fresh_and_alive(own_stack, "worker", victims))  # type: ignore[misc]
        post(client, f"{path}/pause", {}, 200)
        assert len(instants) == 48

        def all_over() -> list[dict[str, Any]] | None:
            runs: list[dict[str, Any]] = client.get(f"{path}/runs", params={"limit": 500}).json()["runs"]
            # The last instant before the pause may get its run after it: then there is one more, and one more payment.
            paid = {points_of(client, user)["available"] for user in users} == {worth * len(runs)}
            return runs if paid and all(run["status"] == "completed" for run in runs) else None

        runs = eventually(all_over, seconds=180.0)
        assert runs is not None
        assert [run["run_id"] for run in runs if run["trigger"] == "manual"] == [triggered]
        assert {run["instant"] for run in runs if run["trigger"] == "backfill"} == instants


def winning_item(client: httpx.Client, name: str, points: int) -> list[str]:
    """A badge and points; their ids."""
    badge = post(client, "/v1/admin/reward-items", {"name": name, "reward_type": "badge"})
    wallet = post(client, "/v1/admin/reward-items", {"name": name, "reward_type": "points", "reward_value": points})
    return [badge["item_id"], wallet["item_id"]]


def weekly_board(client: httpx.Client, kind: str, reward_config_id: str) -> str:
    rule = {"event_type": kind, "points_expression": "attrs.points"}
    reset_day = WEEKDAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]  # so that no week ends while the test runs
    timeframe = {"type": "weekly", "reset_day": reset_day, "grace_seconds": 0}
    config = {"timeframe": timeframe, "scoring": {"rules": [rule]}}
    board = fresh("board")
    body = {"leaderboard_id": board, "name": "Weekly", "config": config, "reward_config_id": reward_config_id}
    post(client, "/v1/admin/leaderboards", body)
    return board


def window_of(client: httpx.Client, board: str, key: str) -> dict[str, Any]:
    windows = client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"]
    return dict(next(each for each in windows if each["window_key"] == key))


def items_of(tiers: list[dict[str, Any]], rank: int) -> list[str]:
    return sorted(next((tier["item_ids"] for tier in tiers if tier["min_rank"] <= rank <= tier["max_rank"]), []))


def grants_in(client: httpx.Client, user: str, source_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/users/{user}/grants", params={"source_id": source_id}).json()["grants"])


def test_two_stacks_stand_side_by_side(stack: Stack, own_stack: Stack) -> None:
    assert stack.described["tenant_id"] != own_stack.described["tenant_id"]
    addresses = ("api_url", "temporal_address", "temporal_ui_url", "database_url", "redis_url")
    assert all(stack.described[name] != own_stack.described[name] for name in addresses)
    with stack.client() as first, own_stack.client() as second:
        assert (first.get("/ready").status_code, second.get("/ready").status_code) == (200, 200)
        assert first.get("/v1/leaderboards", headers={"Authorization": second.headers["Authorization"]}).status_code == 401
