"""The end of a window: its snapshot is written, and the run made that pays it (contract 3, Windows; contract 4)."""

from uuid import UUID

from domain.leaderboard.window_messages import FROZEN, FrozenWindow, WindowStatus
from domain.payout.run import NewRun
from domain.reward.config import RunConfig
from runtime.ids import utc_now
from runtime.postgres import Connection
from storage.leaderboard.rescore import is_being_rescored
from storage.leaderboard.snapshot import mark_frozen, write_snapshot
from storage.leaderboard.window import BoardWindow, WindowBoard
from storage.payout.run import create_run, run_of_source
from storage.reward.config import run_config_at

SOURCE = "leaderboard"


async def freeze_window(connection: Connection, tenant_id: UUID, found: WindowBoard) -> FrozenWindow:
    """Write the snapshot of a closing window and move it to `closed`, or to `paid` when its board has nothing to pay.

    The window's row is locked at the very end only: a pump that counts a late event never waits for the snapshot. Call it after
    `lock_freezing`; a frozen window stays as it is.
    """
    window = found.window
    if window.status in FROZEN:
        return await _as_frozen(connection, tenant_id, window)
    if window.status != WindowStatus.CLOSING:
        raise RuntimeError(f"window {window.window_key} is {window.status}: it cannot be frozen")
    if await is_being_rescored(connection, tenant_id, window.window_id):
        raise RuntimeError(f"window {window.window_key} is being rescored: it cannot be frozen yet")
    snapshot = await write_snapshot(connection, tenant_id, found)
    config = await run_config_of_window(connection, tenant_id, window) if snapshot.size else None
    run_id = None if config is None else await create_window_run(connection, tenant_id, window, config)
    status = WindowStatus.PAID if run_id is None else WindowStatus.CLOSED
    late = await mark_frozen(connection, tenant_id, window, snapshot, status=status)
    return FrozenWindow(status=status, total=snapshot.total, snapshot_size=snapshot.size, late_events=late, payout_run_id=run_id)


async def _as_frozen(connection: Connection, tenant_id: UUID, window: BoardWindow) -> FrozenWindow:
    run = await run_of_source(connection, tenant_id, SOURCE, str(window.window_id))
    return FrozenWindow(
        status=WindowStatus(window.status),
        total=window.total or 0,
        snapshot_size=window.snapshot_size or 0,
        late_events=window.late_events,
        payout_run_id=None if run is None else run.payout_run_id,
    )


async def run_config_of_window(connection: Connection, tenant_id: UUID, window: BoardWindow) -> RunConfig | None:
    """What the window pays by the board and the config in force when it closed, copied; None when that was nothing.

    Archiving closes a window without a payout; one that had closed before still pays.
    """
    if window.closes_at is None:
        return None
    cursor = await connection.execute(
        """
        SELECT reward_config_id FROM leaderboard_version
        WHERE tenant_id = %(tenant_id)s AND board_id = %(board_id)s AND NOT EXISTS (
            SELECT FROM leaderboard_version AS ended
            WHERE ended.tenant_id = %(tenant_id)s AND ended.board_id = %(board_id)s AND ended.status = 'archived'
              AND ended.valid_from <= %(closes_at)s
        )
        ORDER BY (valid_from < %(closes_at)s) DESC, CASE WHEN valid_from < %(closes_at)s THEN version ELSE -version END DESC LIMIT 1
        """,
        {"tenant_id": tenant_id, "board_id": window.board_id, "closes_at": window.closes_at},
    )
    row = await cursor.fetchone()
    if row is None or row["reward_config_id"] is None:
        return None
    return await run_config_at(connection, tenant_id, row["reward_config_id"], window.closes_at)


async def create_window_run(connection: Connection, tenant_id: UUID, window: BoardWindow, config: RunConfig) -> UUID | None:
    """The run that pays the window. The window's own workflow starts it, so that it stands under it in Temporal's UI."""
    new = NewRun(
        source_type=SOURCE,
        source_id=str(window.window_id),
        instant=window.closes_at or utc_now(),
        trigger="window",
        audience={"type": "window", "window_id": str(window.window_id)},
        config=config,
    )
    return await create_run(connection, tenant_id, new, utc_now(), start=False)
