"""The windows that a scoring batch touches: their rows, made by the first event, and what each batch notes of them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_messages import WindowStatus
from runtime.postgres import Connection
from storage.leaderboard.window import enqueue_starts


class Window(msgspec.Struct, frozen=True):
    """A window's row, as far as scoring needs it: an event counts iff `accepted_at < closes_at`.

    `hollow`: nothing but late events has come, so it was born `paid` and has no workflow.
    """

    window_id: UUID
    board_id: UUID
    window_key: str
    closes_at: datetime | None
    hollow: bool = False
    standings_id: UUID | None = None

    @property
    def standings(self) -> UUID:
        """Where its standings stand (`window_id` of the table `standing`)."""
        return self.standings_id or self.window_id


class NewWindow(msgspec.Struct, frozen=True):
    """A window that an event needs; `window_id` is used if there is no row yet."""

    tenant_id: UUID
    board_id: UUID
    window_id: UUID
    span: WindowSpan
    closes_at: datetime | None


async def ensure_windows(connection: Connection, wanted: Sequence[NewWindow]) -> list[Window]:
    """The rows of these windows in which something counts, made where there are none; the workflows of new rows start at commit."""
    fresh = await _make_rows(connection, wanted, WindowStatus.OPEN)
    rows = await find_windows(connection, [(each.tenant_id, each.board_id, each.span.key) for each in wanted])
    hollow = sorted((row.window_id for row in rows if row.hollow), key=lambda window_id: window_id.int)
    if hollow:
        fresh += await _reopen_hollow(connection, hollow)
    if fresh:
        await enqueue_starts(connection, fresh)
    return [msgspec.structs.replace(row, hollow=False) for row in rows] if hollow else rows


async def ensure_late_windows(connection: Connection, wanted: Sequence[NewWindow]) -> list[Window]:
    """The rows of windows in which these events come too late. One that had none is born `paid`, without a workflow: an import of
    years of history makes rows that count late events and nothing else. Should an event that counts follow from another partition
    (it was accepted in time and is scored later), `ensure_windows` opens the row."""
    await _make_rows(connection, wanted, WindowStatus.PAID)
    return await find_windows(connection, [(each.tenant_id, each.board_id, each.span.key) for each in wanted])


async def _make_rows(connection: Connection, wanted: Sequence[NewWindow], status: WindowStatus) -> list[tuple[UUID, UUID]]:
    """The (tenant, window)s that were made. Rows are made in one order, so that pumps cannot deadlock."""
    ordered = sorted(wanted, key=lambda each: (each.tenant_id.bytes, each.board_id.bytes, each.span.key))
    columns = (
        [each.tenant_id for each in ordered],
        [each.window_id for each in ordered],
        [each.board_id for each in ordered],
        [each.span.key for each in ordered],
        [each.span.starts_at for each in ordered],
        [each.span.ends_at for each in ordered],
        [each.closes_at for each in ordered],
    )
    closed = "clock_timestamp()" if status is WindowStatus.PAID else "NULL"
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            f"""
            INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, starts_at, ends_at, closes_at, closed_at,
                                            created_at)
            SELECT tenant_id, window_id, board_id, window_key, '{status.value}', starts_at, ends_at, closes_at, {closed}, clock_timestamp()
            FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[])
                 AS given (tenant_id, window_id, board_id, window_key, starts_at, ends_at, closes_at)
            ON CONFLICT (tenant_id, board_id, window_key) DO NOTHING RETURNING tenant_id, window_id
            """,
            columns,
        )
        return [(row[0], row[1]) for row in await cursor.fetchall()]


async def _reopen_hollow(connection: Connection, window_ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Open windows that were born `paid`: the (tenant, window)s that this call opened."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "UPDATE leaderboard_window SET status = 'open', closed_at = NULL "
            "WHERE window_id = ANY(%s) AND status = 'paid' AND total IS NULL RETURNING tenant_id, window_id",
            (list(window_ids),),
        )
        return [(row[0], row[1]) for row in await cursor.fetchall()]


async def find_windows(connection: Connection, wanted: Sequence[tuple[UUID, UUID, str]]) -> list[Window]:
    """The rows that exist of these (tenant, board, window key)."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT w.window_id, w.board_id, w.window_key, w.closes_at, w.status = 'paid' AND w.total IS NULL, w.standings_id
            FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS given (tenant_id, board_id, window_key)
            JOIN leaderboard_window AS w USING (tenant_id, board_id, window_key)
            """,
            ([each[0] for each in wanted], [each[1] for each in wanted], [each[2] for each in wanted]),
        )
        return [Window(*row) for row in await cursor.fetchall()]


async def count_late(connection: Connection, late: Sequence[tuple[UUID, UUID, int]]) -> None:
    """Add to the windows' late events: (tenant, window, how many)."""
    ordered = sorted(late, key=lambda each: (each[0].bytes, each[1].bytes))
    await connection.execute(
        """
        WITH given AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[]) AS given (tenant_id, window_id, late)),
        locked AS (SELECT tenant_id, window_id FROM leaderboard_window JOIN given USING (tenant_id, window_id)
                   ORDER BY tenant_id, window_id FOR NO KEY UPDATE OF leaderboard_window)
        UPDATE leaderboard_window AS w SET late_events = w.late_events + given.late
        FROM given JOIN locked USING (tenant_id, window_id)
        WHERE w.tenant_id = given.tenant_id AND w.window_id = given.window_id
        """,
        ([each[0] for each in ordered], [each[1] for each in ordered], [each[2] for each in ordered]),
    )


async def move_live_positions(
    connection: Connection, touched: Sequence[tuple[UUID, UUID]], *, partition: int, position: int
) -> dict[UUID, int]:
    """Note that this batch changed these (tenant, window)s: the position that each stood at before, by window (0 for the first)."""
    ordered = sorted(touched, key=lambda each: (each[0].bytes, each[1].bytes))
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            INSERT INTO live_position (tenant_id, window_id, scoring_partition, position, updated_at)
            SELECT tenant_id, window_id, %s, %s, clock_timestamp() FROM unnest(%s::uuid[], %s::uuid[]) AS given (tenant_id, window_id)
            ON CONFLICT (tenant_id, window_id, scoring_partition) DO UPDATE
                SET position = excluded.position, updated_at = excluded.updated_at
            RETURNING window_id, coalesce(old.position, 0)
            """,
            (partition, position, [each[0] for each in ordered], [each[1] for each in ordered]),
        )
        return {row[0]: row[1] for row in await cursor.fetchall()}
