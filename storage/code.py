"""Pools of codes: imported once each, counted as the reward's stock (contract 4, Store)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from runtime.postgres import Connection

ADD = """
INSERT INTO reward_code (tenant_id, reward_id, code, imported_at)
SELECT %(tenant_id)s, %(reward_id)s, code, %(now)s FROM unnest(%(codes)s::text[]) WITH ORDINALITY AS given (code, place) ORDER BY place
ON CONFLICT DO NOTHING
"""

STAGE = 'CREATE TEMPORARY TABLE imported_code (place bigint GENERATED ALWAYS AS IDENTITY, code text COLLATE "C" NOT NULL) ON COMMIT DROP'

ADD_STAGED = """
INSERT INTO reward_code (tenant_id, reward_id, code, imported_at)
SELECT %(tenant_id)s, %(reward_id)s, code, %(now)s FROM imported_code ORDER BY place
ON CONFLICT DO NOTHING
"""


async def add_codes(connection: Connection, tenant_id: UUID, reward_id: UUID, codes: Sequence[str], now: datetime) -> int:
    """Put codes into the pool and into the stock; answers how many were new. One that was ever in the pool is left out.

    Locks the reward's row last, as every sale does.
    """
    await _wait_for_other_imports(connection, tenant_id, reward_id)
    cursor = await connection.execute(ADD, {"tenant_id": tenant_id, "reward_id": reward_id, "codes": list(codes), "now": now})
    return await _count_in(connection, tenant_id, reward_id, cursor.rowcount)


async def copy_codes(connection: Connection, tenant_id: UUID, reward_id: UUID, codes: Iterable[str], now: datetime) -> int:
    """The same for a batch of a long file, by COPY; the whole batch is one transaction of the caller's."""
    await _wait_for_other_imports(connection, tenant_id, reward_id)
    await connection.execute(STAGE)
    async with connection.cursor() as cursor, cursor.copy("COPY imported_code (code) FROM STDIN") as copy:
        for code in codes:
            await copy.write_row((code,))
    added = await connection.execute(ADD_STAGED, {"tenant_id": tenant_id, "reward_id": reward_id, "now": now})
    return await _count_in(connection, tenant_id, reward_id, added.rowcount)


async def _wait_for_other_imports(connection: Connection, tenant_id: UUID, reward_id: UUID) -> None:
    """Two imports of the same codes in another order would wait for each other for ever."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"codes:{tenant_id}:{reward_id}",))


async def _count_in(connection: Connection, tenant_id: UUID, reward_id: UUID, added: int) -> int:
    await connection.execute(
        "UPDATE reward SET stock = stock + %s WHERE tenant_id = %s AND reward_id = %s AND stock IS NOT NULL", (added, tenant_id, reward_id)
    )
    return added


async def pool_sizes(connection: Connection, tenant_id: UUID, reward_id: UUID) -> dict[str, int]:
    """How many codes were imported (`total`) and how many of them nobody has (`left`)."""
    cursor = await connection.execute(
        """
        SELECT count(*) AS total, count(*) FILTER (WHERE redemption_id IS NULL) AS "left"
        FROM reward_code WHERE tenant_id = %s AND reward_id = %s
        """,
        (tenant_id, reward_id),
    )
    row = await cursor.fetchone()
    return dict(row) if row else {"total": 0, "left": 0}
