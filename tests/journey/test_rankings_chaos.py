"""Redis flushed, killed, and robbed of keys: boards answer right at once, and are live again without drift."""

import asyncio
import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from runtime.postgres import make_pool
from runtime.redis import RedisError, make_redis
from runtime.settings import load_settings
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rankings_audit import AuditVerdict, ranked_windows, verify_window
from tests.conftest import REPOSITORY, Stack, start_stack, stop_stack_process
from tests.journey.programme import add_board, board_of, event, eventually, fresh
from tests.journey.test_crash import USERS, Sender, fresh_and_alive, kill, pids_of

pytestmark = pytest.mark.xdist_group("stack")

BOARD_KEYS = "board:*"


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that may be maltreated."""
    running = start_stack(tmp_path_factory.mktemp("chaos") / "data")
    yield running
    stop_stack_process(running.process)


def command(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    """What a `laurel` command says of the stack."""
    argv = [sys.executable, "-m", "cli", *words, "--data-dir", str(stack.data_dir)]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def live_keys(store: "redis.Redis[bytes]", suffix: str) -> list[bytes]:
    return list(store.scan_iter(f"{BOARD_KEYS}:{suffix}"))


def flush(stack: Stack, store: "redis.Redis[bytes]") -> None:
    store.flushall()


def kill_redis(stack: Stack, store: "redis.Redis[bytes]") -> None:
    kill(pids_of(stack, "redis"))


def delete_sorted_sets(stack: Stack, store: "redis.Redis[bytes]") -> None:
    store.delete(*live_keys(store, "z") or [b"none"])


def delete_users_and_sets(stack: Stack, store: "redis.Redis[bytes]") -> None:
    store.delete(*live_keys(store, "z"), *live_keys(store, "u"), b"none")


def delete_marks(stack: Stack, store: "redis.Redis[bytes]") -> None:
    store.delete(*live_keys(store, "m") or [b"none"])


def rob_members(stack: Stack, store: "redis.Redis[bytes]") -> None:
    for key in live_keys(store, "z"):
        store.zpopmin(key)


def put_strangers(stack: Stack, store: "redis.Redis[bytes]") -> None:
    for key in live_keys(store, "z"):
        store.zadd(key, {b"\0" * 16 + b"stranger": 0})


ACTS: list[Callable[[Stack, Any], None]] = [
    flush,
    delete_sorted_sets,
    delete_users_and_sets,
    delete_marks,
    rob_members,
    put_strangers,
    kill_redis,
]


def store_of(stack: Stack) -> "redis.Redis[bytes]":
    return redis.Redis.from_url(stack.described["env"]["LAUREL_REDIS_URL"], socket_timeout=5.0)


def verify(stack: Stack, board: str) -> list[AuditVerdict]:
    """What `laurel verify-rankings` finds out of the board's windows, without starting it."""
    settings = load_settings(stack.described["env"])

    async def look() -> list[AuditVerdict]:
        redis = make_redis(settings)
        async with make_pool(settings.database_url, "test", max_size=2) as pool:
            rankings = Rankings(redis)
            async with pool.connection() as connection:
                await rankings.learn(connection)
                windows = await ranked_windows(connection, None, board)
            try:
                return [await verify_window(pool, rankings, window.board, patience_seconds=60.0) for window in windows]
            except RedisError:  # it is not ready yet: nothing is live
                return [AuditVerdict(complete=False) for _ in windows]
            finally:
                await redis.aclose()

    return asyncio.run(look())


def is_live(stack: Stack, board: str, entries: int) -> bool:
    """Whether the board is read from Redis and equals PostgreSQL."""
    return verify(stack, board) == [AuditVerdict(complete=True, compared=entries)]


def test_boards_answer_right_at_once_whatever_happens_to_redis(own_stack: Stack) -> None:
    kind = fresh("calm")
    players = [f"calm-{number:02}" for number in range(12)]
    with own_stack.client() as client, store_of(own_stack) as store:
        board = add_board(client, kind)
        events = [event(kind, player, points=100 - number) for number, player in enumerate(players)]
        client.post("/v1/events/bulk", json={"events": events}).raise_for_status()
        expected = [(number, player, 101 - number) for number, player in enumerate(players, 1)]
        eventually(lambda: page(client, board, 50) == expected)
        eventually(lambda: is_live(own_stack, board, len(players)))
        limits = itertools.count(51)  # another page each time: none comes from the process's short memory
        for act in ACTS:
            victims = pids_of(own_stack, "redis")
            act(own_stack, store)
            assert page(client, board, next(limits)) == expected, act.__name__
            assert client.get(f"/v1/leaderboards/{board}/rank/calm-04").json()["rank"] == 5, act.__name__
            around = client.get(f"/v1/leaderboards/{board}/user/calm-04", params={"limit": 3}).json()
            assert [entry["rank"] for entry in around["entries"]] == [4, 5, 6], act.__name__
            if act is kill_redis:
                eventually(lambda victims=victims: fresh_and_alive(own_stack, "redis", victims))  # type: ignore[misc]
            eventually(lambda: is_live(own_stack, board, len(players)))
            assert page(client, board, next(limits)) == expected, act.__name__


def test_after_chaos_in_mid_stream_there_is_no_drift(own_stack: Stack) -> None:
    kind, stop = fresh("storm"), threading.Event()
    with own_stack.client() as client, store_of(own_stack) as store:
        board = add_board(client, kind)
        senders = [Sender(own_stack, kind, stop) for _ in range(2)]

        def acknowledged() -> Counter[str]:
            return sum((sender.acknowledged.copy() for sender in senders), Counter())

        for sender in senders:
            sender.start()
        try:
            # Acknowledged is not yet scored: the board has no window to verify until its first event is.
            eventually(lambda: page(client, board, 50))
            for act in ACTS:
                before = acknowledged().total()
                eventually(lambda before=before: acknowledged().total() > before + 100)  # type: ignore[misc]
                victims = pids_of(own_stack, "redis")
                act(own_stack, store)
                assert all(score <= acknowledged().total() for _, _, score in page(client, board, 50))
                if act is kill_redis:
                    eventually(lambda victims=victims: fresh_and_alive(own_stack, "redis", victims))  # type: ignore[misc]
                elif act is rob_members:
                    rebuilt = command(own_stack, "rebuild-rankings")
                    assert (rebuilt.returncode, rebuilt.stdout) == (0, ""), rebuilt.stderr
                assert [verdict.drifts for verdict in verify(own_stack, board)] == [()], act.__name__
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        assert [failure for sender in senders for failure in sender.failures] == []
        eventually(lambda: dict(board_of(client, board)) == dict(acknowledged()), seconds=60.0)
        eventually(lambda: is_live(own_stack, board, USERS))
        assert dict(board_of(client, board)) == dict(acknowledged())


def test_an_entry_that_was_changed_is_told_with_its_board_and_user(own_stack: Stack) -> None:
    kind = fresh("forged")
    with own_stack.client() as client, store_of(own_stack) as store:
        board = add_board(client, kind)
        client.post("/v1/events/bulk", json={"events": [event(kind, "ann", points=3), event(kind, "bob", points=5)]}).raise_for_status()
        eventually(lambda: is_live(own_stack, board, 2))
        board_id = next(key for key in live_keys(store, "u") if store.hlen(key) == 2 and set(store.hkeys(key)) == {b"ann", b"bob"})
        (real,) = store.hmget(board_id, [b"bob"])
        assert real is not None
        forged = b"\x7f" + real[1:-1] + b"\0"
        sorted_set = board_id.removesuffix(b"u") + b"z"
        with store.pipeline() as pipeline:
            pipeline.zrem(sorted_set, real + b"bob").zadd(sorted_set, {forged + b"bob": 0}).hset(board_id, "bob", forged)
            pipeline.execute()
        found = command(own_stack, "verify-rankings", "--tenant", own_stack.described["tenant_id"])
        assert found.returncode == 1
        (line,) = found.stdout.splitlines()
        assert f"board {board}, window all, user bob: live" in line
        assert "rebuild-rankings" in found.stderr
        assert command(own_stack, "rebuild-rankings").returncode == 0
        assert command(own_stack, "verify-rankings").returncode == 0
        assert command(own_stack, "verify-rankings", "--board", "no-such-board").returncode == 1


def page(client: httpx.Client, board: str, limit: int) -> list[tuple[int, str, float]]:
    answer = client.get(f"/v1/leaderboards/{board}", params={"limit": limit})
    assert answer.status_code == 200, answer.text
    return [(entry["rank"], entry["user_id"], entry["score"]) for entry in answer.json()["entries"]]
