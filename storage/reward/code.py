"""Pools of codes: imported once each, counted as the reward's stock (contract 4, Store)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.reward.code import CodePool, VariantPool
from runtime.postgres import Connection, count_changed

ADD = """
INSERT INTO reward_code (tenant_id, reward_id, variant_id, code, imported_at)
SELECT %(tenant_id)s, %(reward_id)s, %(variant_id)s, code, %(now)s
FROM unnest(%(codes)s::text[]) WITH ORDINALITY AS given (code, place) ORDER BY place
ON CONFLICT DO NOTHING
"""

STAGE = 'CREATE TEMPORARY TABLE imported_code (place bigint GENERATED ALWAYS AS IDENTITY, code text COLLATE "C" NOT NULL) ON COMMIT DROP'

ADD_STAGED = """
INSERT INTO reward_code (tenant_id, reward_id, variant_id, code, imported_at)
SELECT %(tenant_id)s, %(reward_id)s, %(variant_id)s, code, %(now)s FROM imported_code ORDER BY place
ON CONFLICT DO NOTHING
"""


COUNT_IN = """
UPDATE reward SET stock = stock + %(added)s WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND stock IS NOT NULL
"""

COUNT_IN_VARIANT = """
UPDATE reward_variant SET stock = stock + %(added)s
WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND variant_id = %(variant_id)s
"""


async def add_codes(
    connection: Connection, tenant_id: UUID, reward_id: UUID, codes: Sequence[str], *, now: datetime, variant_id: str | None = None
) -> int:
    """Put codes into the pool of the reward, or of its variant, and into the stock; answers how many were new.

    One that was ever in a pool of the reward is left out. Locks the stock's row last, as every sale does.
    """
    await _wait_for_other_imports(connection, tenant_id, reward_id)
    pool = {"tenant_id": tenant_id, "reward_id": reward_id, "variant_id": variant_id or "", "now": now}
    changed = await count_changed(connection, ADD, {**pool, "codes": list(codes)})
    return await _count_in(connection, tenant_id, reward_id, variant_id, added=changed)


async def copy_codes(
    connection: Connection, tenant_id: UUID, reward_id: UUID, codes: Iterable[str], *, now: datetime, variant_id: str | None = None
) -> int:
    """The same for a batch of a long file, by COPY; the whole batch is one transaction of the caller's."""
    await _wait_for_other_imports(connection, tenant_id, reward_id)
    await connection.execute(STAGE)
    async with connection.cursor() as cursor, cursor.copy("COPY imported_code (code) FROM STDIN") as copy:
        for code in codes:
            await copy.write_row((code,))
    pool = {"tenant_id": tenant_id, "reward_id": reward_id, "variant_id": variant_id or "", "now": now}
    changed = await count_changed(connection, ADD_STAGED, pool)
    return await _count_in(connection, tenant_id, reward_id, variant_id, added=changed)


async def _wait_for_other_imports(connection: Connection, tenant_id: UUID, reward_id: UUID) -> None:
    """Two imports of the same codes in another order would wait for each other for ever."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"codes:{tenant_id}:{reward_id}",))


async def _count_in(connection: Connection, tenant_id: UUID, reward_id: UUID, variant_id: str | None, *, added: int) -> int:
    stock = {"tenant_id": tenant_id, "reward_id": reward_id, "variant_id": variant_id, "added": added}
    await connection.execute(COUNT_IN if variant_id is None else COUNT_IN_VARIANT, stock)
    return added


async def free_codes(connection: Connection, tenant_id: UUID, reward_id: UUID) -> dict[str, int]:
    """How many codes nobody has, by variant; the empty one is the pool of the reward itself."""
    sizes = await _sizes(connection, tenant_id, reward_id)
    return {row["variant_id"]: row["left"] for row in sizes}


async def pool_sizes(connection: Connection, tenant_id: UUID, reward_id: UUID) -> CodePool:
    """How many codes were imported and how many of them nobody has, in all and in the pool of each variant."""
    pools = [msgspec.convert(row, VariantPool) for row in await _sizes(connection, tenant_id, reward_id)]
    return CodePool(
        total=sum(pool.total for pool in pools), left=sum(pool.left for pool in pools), variants=[pool for pool in pools if pool.variant_id]
    )


async def _sizes(connection: Connection, tenant_id: UUID, reward_id: UUID) -> list[dict[str, Any]]:
    cursor = await connection.execute(
        """
        SELECT variant_id, count(*) AS total, count(*) FILTER (WHERE redemption_id IS NULL) AS "left"
        FROM reward_code WHERE tenant_id = %s AND reward_id = %s GROUP BY variant_id ORDER BY variant_id
        """,
        (tenant_id, reward_id),
    )
    return await cursor.fetchall()
