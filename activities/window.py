"""What a window's workflow does to the world: make its successor, close it early, wait for the barrier, freeze the result."""

import asyncio
import contextlib
import logging
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeat import heartbeats
from domain.leaderboard.definition import BoardStatus
from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_messages import FROZEN, FrozenWindow, Gate, WindowInput, WindowPlan, WindowStatus
from domain.leaderboard.window_sequence import following_window
from domain.webhook.body import event_body
from domain.wire import optional_rfc3339, score_number
from loops.scoring.barrier import Barrier
from runtime.ids import utc_now
from runtime.postgres import DATABASE_AWAY, Connection, Pool, transaction
from storage.leaderboard.definition import ranked_board_of
from storage.leaderboard.rankings import Rankings, RedisError
from storage.leaderboard.rescore import is_being_rescored
from storage.leaderboard.snapshot import lock_freezing, snapshot_page
from storage.leaderboard.window import WindowBoard, begin_closing, close_early, open_window, untold_closes, window_with_board
from storage.payout.window_payout import freeze_window
from storage.rules_lock import change_instant, lock_rules_shared
from storage.webhook.due_delivery import Notice, publish

log = logging.getLogger(__name__)

SUCCESSOR_AHEAD = timedelta(hours=1)
"""A window takes events from an hour before its start (contract 3), so its row is there by then."""
RESCORE_LOOK_SECONDS = 0.5
TURNS = 8
FREEZING_TURNS = 4
ANNOUNCED = 10
CLOSED_EVENT = "leaderboard.window_closed"
"""Windows that end together take turns at PostgreSQL: those that wait for the barrier hold no connection."""


class WindowActivities:
    """Activities in one transaction each, safe to run twice."""

    def __init__(self, pool: Pool, rankings: Rankings) -> None:
        self._pool, self._rankings = pool, rankings
        self._barrier = Barrier(pool)
        self._turns = asyncio.Semaphore(TURNS)
        self._freezing = asyncio.Semaphore(FREEZING_TURNS)

    @activity.defn(name="plan_window")
    async def plan(self, given: WindowInput) -> WindowPlan:
        """Look where the window stands, and when its successor gets its row."""
        async with self._turns, transaction(self._pool) as connection:
            return _plan(await _find(connection, given))

    @activity.defn(name="open_next_window")
    async def open_next(self, given: WindowInput) -> str | None:
        """Make the row of the window that begins where this one ends, which starts its workflow; its key.

        None when there is no next one, or when the board does not count: an inactive board's next window begins with its first event.
        """
        async with self._turns, transaction(self._pool) as connection:
            # Either a change of the board sees the row that is made here, or this sees the change.
            await lock_rules_shared(connection, [given.tenant_id])
            found = await _find(connection, given)
            span = _successor(found)
            if span is None or found.board_status != BoardStatus.ACTIVE:
                return None
            closes_at = span.closes_at(found.config.timeframe.grace_seconds)
            await open_window(connection, given.tenant_id, found.window.board_id, span, closes_at=closes_at)
            return span.key

    @activity.defn(name="close_window_early")
    async def close_early(self, given: WindowInput) -> WindowPlan:
        """Let the window close at this very instant, if it is open."""
        async with self._turns, transaction(self._pool) as connection:
            instant = await change_instant(connection, given.tenant_id)
            await close_early(connection, given.tenant_id, given.window_id, instant=instant)
            return _plan(await _find(connection, given))

    @activity.defn(name="pass_window_barrier")
    async def pass_barrier(self, given: WindowInput) -> Gate:
        """Move the window to `closing` and wait until everything that counts in it is scored; at once when it is not yet time."""
        async with self._turns, transaction(self._pool) as connection:
            status, closes_at, left = await begin_closing(connection, given.tenant_id, given.window_id)
            found = await _find(connection, given)
            news = await untold_closes(connection, given.tenant_id, found.window)
        if closes_at is None:
            raise ApplicationError("a window without an end does not close", type="INVALID_STATE", non_retryable=True)
        if status is WindowStatus.OPEN:
            return Gate(passed=False, closes_at=closes_at, wait_seconds=left, news=news)
        if status not in FROZEN:
            await self._give_word(given, found)
            async with heartbeats():
                await self._barrier.passed(given.tenant_id, closes_at)
                await self._rescored(given)
        return Gate(passed=True, closes_at=closes_at, news=news)

    async def _rescored(self, given: WindowInput) -> None:
        """Wait for a rescore of the window that is at work. None begins any more: the window is `closing`."""
        while True:
            with contextlib.suppress(*DATABASE_AWAY):
                async with self._pool.connection() as connection:
                    if not await is_being_rescored(connection, given.tenant_id, given.window_id):
                        return
            await asyncio.sleep(RESCORE_LOOK_SECONDS)

    @activity.defn(name="freeze_window")
    async def freeze(self, given: WindowInput) -> FrozenWindow:
        """Write the snapshot, close the window and announce it, in one transaction.

        The rankings may then forget it: closed windows are read from the snapshot.
        """
        async with heartbeats(), self._freezing:
            async with transaction(self._pool) as connection:
                await lock_freezing(connection, given.window_id)
                found = await _find(connection, given)
                frozen = await freeze_window(connection, given.tenant_id, found)
                if found.window.status not in FROZEN:
                    await _announce(connection, given, found, frozen)
            await self._give_word(given, found)
            with contextlib.suppress(RedisError, OSError):
                await self._rankings.retire(ranked_board_of(given.tenant_id, found.window.board_id, found.window.standings, found.config))
        return frozen

    async def _give_word(self, given: WindowInput, found: WindowBoard) -> None:
        """Watchers see the window's new state at once; without Redis they look for themselves."""
        with contextlib.suppress(RedisError, OSError):
            await self._rankings.announce(given.tenant_id, found.window.board_id)


async def _find(connection: Connection, given: WindowInput) -> WindowBoard:
    found = await window_with_board(connection, given.tenant_id, given.window_id)
    if found is None:
        raise ApplicationError("there is no such window", type="NOT_FOUND", non_retryable=True)
    return found


async def _announce(connection: Connection, given: WindowInput, found: WindowBoard, frozen: FrozenWindow) -> None:
    """Tell the endpoints that ask for it (contract 5)."""
    window, now = found.window, utc_now()
    best = await snapshot_page(connection, given.tenant_id, given.window_id, first=0, limit=ANNOUNCED)
    facts = {
        "leaderboard_id": found.leaderboard_id,
        "window_key": window.window_key,
        "starts_at": optional_rfc3339(window.starts_at),
        "ends_at": optional_rfc3339(window.ends_at),
        "total": frozen.total,
        "top": [
            {"rank": rank, "user_id": entry.external_user_id, "score": score_number(entry.score)} for rank, entry in enumerate(best, 1)
        ],
    }
    await publish(connection, given.tenant_id, Notice(event=CLOSED_EVENT, body=event_body(CLOSED_EVENT, facts, now)), now)


def _plan(found: WindowBoard) -> WindowPlan:
    window, successor = found.window, _successor(found)
    starts_at = successor.starts_at if successor else None
    return WindowPlan(
        status=WindowStatus(window.status),
        closes_at=window.closes_at,
        successor_at=None if starts_at is None else starts_at - SUCCESSOR_AHEAD,
    )


def _successor(found: WindowBoard) -> WindowSpan | None:
    if found.board_status == BoardStatus.ARCHIVED:
        return None
    window = found.window
    return following_window(found.segments, WindowSpan(window.window_key, window.starts_at, window.ends_at))
