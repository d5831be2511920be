"""The prizes of windows: which config pays one, and the run that does (contract 3, Windows; contract 4)."""

from uuid import UUID

from domain.payout.run import NewRun
from domain.reward.config import Prizes
from runtime.ids import utc_now
from runtime.postgres import Connection
from storage.leaderboard.window import BoardWindow
from storage.payout.run import create_run
from storage.reward.config import prizes_at

SOURCE = "leaderboard"


async def prizes_of_window(connection: Connection, tenant_id: UUID, window: BoardWindow) -> Prizes | None:
    """What the window pays by the board and the config in force when it closed, copied; None when that was nothing.

    Archiving closes a window without prizes; one that had closed before still pays.
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
    return await prizes_at(connection, tenant_id, row["reward_config_id"], window.closes_at)


async def create_window_run(connection: Connection, tenant_id: UUID, window: BoardWindow, prizes: Prizes) -> UUID | None:
    """The run that pays the window. The window's own workflow starts it, so that it stands under it in Temporal's UI."""
    new = NewRun(
        source_type=SOURCE,
        source_id=str(window.window_id),
        instant=window.closes_at or utc_now(),
        trigger="window",
        audience={"type": "window", "window_id": str(window.window_id)},
        prizes=prizes,
    )
    return await create_run(connection, tenant_id, new, utc_now(), start=False)
