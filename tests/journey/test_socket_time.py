"""What time does to a board's WebSocket: windows that roll over and freeze, tokens that expire. The clock is moved, not waited for."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import msgspec
import pytest
import pytest_asyncio

import api.leaderboard.board
import api.leaderboard.room
import api.tenant.credential
from api.tenant.token import LEEWAY_SECONDS, GamerTokens
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool
from runtime.settings import Settings
from tests.board_socket import watching
from tests.builders.api import World, make_world, serving


@pytest_asyncio.fixture
async def world(pool: Pool, settings: Settings) -> World:
    return await make_world(settings, "")


@pytest.fixture
def url(world: World, settings: Settings) -> Iterator[str]:
    with serving(msgspec.structs.replace(settings, socket_heartbeat_seconds=0.4)) as address:
        yield address


def make_board(url: str, world: World, name: str, timeframe: dict[str, object]) -> None:
    rules = [{"event_type": "any", "points_expression": "1"}]
    body = {"leaderboard_id": name, "name": name, "config": {"timeframe": timeframe, "scoring": {"rules": rules}}}
    made = httpx.post(f"{url}/v1/admin/leaderboards", json=body, headers={"Authorization": f"Bearer {world.keys['admin']}"}, timeout=60.0)
    assert made.status_code == 201, made.text


def start_clock_at(monkeypatch: pytest.MonkeyPatch, instant: datetime) -> None:
    """The boards' clock goes on from this instant."""
    ahead = instant - utc_now()
    for module in (api.leaderboard.room, api.leaderboard.board):
        monkeypatch.setattr(module, "utc_now", lambda: datetime.now(UTC) + ahead)


def test_the_current_window_rolls_over_and_then_freezes(world: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_board(url, world, "hourly", {"type": "hourly", "grace_seconds": 1})
    start_clock_at(monkeypatch, datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    with watching(url, "hourly", world.keys["read"]) as current, watching(url, "hourly", world.keys["read"]) as fixed:
        assert (current.window_key, current.status) == ("2026-03-01T09", "open")
        fixed.configure(window_key="2026-03-01T09")
        start_clock_at(monkeypatch, datetime(2026, 3, 1, 9, 59, 59, tzinfo=UTC))
        rolled = current.answer("snapshot")
        assert (rolled["window_key"], rolled["status"], rolled["starts_at"]) == ("2026-03-01T10", "open", "2026-03-01T10:00:00Z")
        assert current.answer("window_closed")["window_key"] == "2026-03-01T09"
        assert fixed.answer("window_closed")["window_key"] == "2026-03-01T09"
        while fixed.status != "closed":  # the word and the view's own change are read apart: either may come first
            fixed.receive()
        assert (fixed.window_key, fixed.status) == ("2026-03-01T09", "closed")
        assert fixed.kinds.count("snapshot") == 2  # the first, and of what it asked for
        assert (current.window_key, current.status) == ("2026-03-01T10", "open")


def test_a_custom_board_has_no_successor_and_only_freezes(world: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    span = {"starts_at": "2026-03-01T00:00:00Z", "ends_at": "2026-03-02T00:00:00Z"}
    make_board(url, world, "custom", {"type": "custom", "grace_seconds": 0, **span})
    start_clock_at(monkeypatch, datetime(2026, 3, 1, 12, tzinfo=UTC))
    with watching(url, "custom", world.keys["read"]) as socket:
        assert socket.status == "open"
        start_clock_at(monkeypatch, datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC))
        assert socket.answer("window_closed")["window_key"] == "2026-03-01T00:00:00Z"
        while socket.status != "closed":
            socket.receive()
        assert (socket.kinds.count("snapshot"), socket.status) == (1, "closed")


def test_a_line_ends_with_its_token(world: World, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_board(url, world, "brief", {"type": "all_time"})
    token = GamerTokens(settings).issue(world.tenant_id, "ann", token_id=str(new_id()), now=utc_now(), ttl_seconds=3600)
    with watching(url, "brief", token) as socket:
        assert socket.answer("heartbeat")
        later = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + 3600 + LEEWAY_SECONDS)
        monkeypatch.setattr(api.tenant.credential, "time", later)
        assert socket.closing_code() == 4401
