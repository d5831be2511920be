"""Making a window right in the rankings again, from PostgreSQL."""

from collections.abc import Sequence

from psycopg.rows import tuple_row

from domain.leaderboard.standing import is_ranked, order_key, order_keys
from domain.scoring.rules import min_score_units
from runtime.postgres import Connection, Pool
from storage.binary_columns import UNIX_MICROSECONDS
from storage.leaderboard.definition import boards_by_id
from storage.leaderboard.rankings import Fill, Mark, Outcome, Publication, RankedBoard, Rankings
from storage.leaderboard.standing import Merged, each_standing, standings_since

CHUNK = 10_000


def ranking_entries(board: RankedBoard, rows: Sequence[tuple[str, int, object]]) -> list[bytes]:
    """(external id, score, reached_at) rows as a publication's entries: an empty order key for whom `min_score` keeps off the board."""
    entries: list[bytes] = []
    for external_id, score, reached_at in rows:
        ranked = is_ranked(score, board.min_score)
        entries += (external_id.encode(), order_key(board.method, score, reached_at) if ranked else b"")  # type: ignore[arg-type]
    return entries


def merged_entries(board: RankedBoard, rows: Sequence[Merged]) -> list[bytes]:
    """The same of what a merge has answered."""
    entries = [b""] * (2 * len(rows))
    entries[::2] = [name for _, name, _, _ in rows]
    entries[1::2] = order_keys(board.method, [(score, reached + UNIX_MICROSECONDS) for _, _, score, reached in rows])
    if board.min_score is not None:
        for place, (_, _, score, _) in enumerate(rows):
            if not is_ranked(score, board.min_score):
                entries[2 * place + 1] = b""
    return entries


async def rebuild_window(pool: Pool, rankings: Rankings, board: RankedBoard) -> Outcome:
    """Fill the window anew from one snapshot of PostgreSQL and put it in the place of what was there."""
    fill, marks = await _fill(pool, rankings, board)
    return "absent" if fill is None else await fill.swap(marks)


async def _fill(pool: Pool, rankings: Rankings, board: RankedBoard) -> tuple[Fill | None, list[Mark]]:
    """Everything that is ranked in the window, written beside it, and how far the partitions were; None when the board is gone."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        known = (await boards_by_id(connection, board.tenant_id, [board.board_id])).get(board.board_id)
        if known is None:
            return None, []
        await rankings.learn(connection)
        board = RankedBoard(board.tenant_id, board.board_id, board.window_id, board.method, min_score_units(known.config))
        fill = rankings.begin_fill(board)
        try:
            marks = await _marks(connection, board)
            async for rows in each_standing(connection, board.tenant_id, board.window_id, chunk=CHUNK):
                entries = ranking_entries(board, rows)
                await fill.add([(user, key) for user, key in zip(entries[::2], entries[1::2], strict=True) if key])
        except BaseException:
            await fill.discard()
            raise
    return fill, marks


async def _marks(connection: Connection, board: RankedBoard) -> list[Mark]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT l.scoring_partition, c.owner_epoch, l.position FROM live_position AS l JOIN scoring_cursor AS c USING (scoring_partition)
            WHERE l.tenant_id = %s AND l.window_id = %s
            """,
            (board.tenant_id, board.window_id),
        )
        return [Mark(*row) for row in await cursor.fetchall()]


async def republish_window(pool: Pool, rankings: Rankings, board: RankedBoard, *, partition: int, epoch: int, held: int) -> Outcome:
    """Fill a gap: publish every standing of this partition that changed after `held`, the position up to which Redis has it."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if await rankings.learn(connection):
            return "absent"
        rows = await standings_since(connection, board.tenant_id, board.window_id, partition=partition, position=held)
        marks = {mark.partition: mark.position for mark in await _marks(connection, board)}
    publication = Publication(board, partition, epoch, held, marks.get(partition, 0), ranking_entries(board, rows))
    return (await rankings.publish([publication]))[0]


async def repair_window(pool: Pool, rankings: Rankings, board: RankedBoard, *, partition: int, epoch: int, position: int) -> bool:
    """Bring the window up to what `partition` had committed (at least up to `position`); whether it is now."""
    held = (await rankings.marks([board], partition))[0]
    if held is None:
        async with rankings.rebuild_claim(board) as mine:
            return mine and await rebuild_window(pool, rankings, board) == "done"
    if held >= position:
        return True
    return await republish_window(pool, rankings, board, partition=partition, epoch=epoch, held=held) in ("done", "stale")
