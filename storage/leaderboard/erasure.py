"""What the erasure of a user does to leaderboards: it leaves those that are not frozen."""

from runtime.postgres import Connection
from storage.leaderboard.definition import boards_by_id, ranked_board
from storage.leaderboard.rankings import RankedBoard
from storage.rules_lock import change_instant
from storage.tenant.erasure import Erasure


async def leave_boards(connection: Connection, of: Erasure) -> list[RankedBoard]:
    """Take the user out of every window that is not frozen; the live boards of these windows, which have to be filled anew.

    No pump is in a transaction with events of the tenant meanwhile, so none writes back what is deleted here.
    """
    await change_instant(connection, of.tenant_id)
    cursor = await connection.execute(
        """
        SELECT board_id, starts_at, coalesce(standings_id, window_id) AS standings_id FROM leaderboard_window
        WHERE tenant_id = %s AND status IN ('open', 'closing') AND total IS NULL
        """,
        (of.tenant_id,),
    )
    windows = await cursor.fetchall()
    await connection.execute(
        """
        DELETE FROM standing WHERE tenant_id = %s AND user_id = %s
          AND (window_id = ANY(%s) OR window_id IN (SELECT rescore_id FROM rescore WHERE tenant_id = %s AND status = 'running'))
        """,
        (of.tenant_id, of.user_id, [window["standings_id"] for window in windows], of.tenant_id),
    )
    boards = await boards_by_id(connection, of.tenant_id, [window["board_id"] for window in windows])
    return [ranked_board(boards[window["board_id"]], window["standings_id"], window["starts_at"]) for window in windows]
