"""Live keys that nobody reads any more: of windows that are closed, of boards that are archived, of standings that were replaced.

Each is retired where it ends; this finds what was missed (Redis away at that moment, a fill that came later), so that memory is given back.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg.rows import tuple_row

from runtime.postgres import Connection, Pool
from runtime.redis import Redis
from storage.leaderboard.rankings import RETIRED_SECONDS
from storage.platform.installation import OWN_CHARACTERS, database_life

KEY = re.compile(rb"board:\{([0-9a-f]{32}):[0-9a-f]{32}\}:([0-9a-f]{32})(?::([0-9a-f]{16}))?:[zum]")
CHUNK = 1000
CLAIM = "boards:expiry"
CLAIM_SECONDS = 3600


async def claim_expiry(redis: Redis, seconds: int = CLAIM_SECONDS, *, life: str = "") -> bool:
    """Whether the caller may look through the live keys now: one process an hour does, and one at once in each life of the database."""
    return bool(await redis.set(f"{CLAIM}:{life}", b"1", nx=True, ex=seconds))


async def expire_unread(pool: Pool, redis: Redis, *, seconds: int = RETIRED_SECONDS) -> int:
    """Let every live key that no window shows go in `seconds`, unless it goes already; how many. RedisError when Redis is away.

    Keys are looked through in steps, so nobody waits for it.
    """
    expired, position, keys = 0, -1, list[bytes]()
    while position != 0:
        answer: Any = await redis.scan(max(0, position), match="board:{*", count=CHUNK)
        position, keys = answer
        expired += await _expire(pool, redis, keys, seconds)
    return expired


async def _expire(pool: Pool, redis: Redis, keys: Sequence[bytes], seconds: int) -> int:
    matches = {key: found for key in keys if (found := KEY.fullmatch(key))}
    if not matches:
        return 0
    async with pool.connection() as connection:
        life = (await database_life(connection)).encode()
        # Another installation may use the same Redis: what is not ours is not ours to end.
        matches = {key: found for key, found in matches.items() if found[3] is None or found[3][:OWN_CHARACTERS] == life[:OWN_CHARACTERS]}
        named = {key: (UUID(found[1].decode()), UUID(found[2].decode())) for key, found in matches.items()}
        shown = await _shown(connection, sorted(set(named.values())))
    unread = [key for key, window in named.items() if window not in shown or matches[key][3] != life]
    without_end = [key for key, left in zip(unread, await _each(redis, "TTL", unread), strict=True) if left == -1]
    await _each(redis, "EXPIRE", without_end, seconds)
    return len(without_end)


async def _each(redis: Redis, verb: str, keys: Sequence[bytes], *more: int) -> list[Any]:
    """The answers to the same command for each key, in one round trip."""
    pipeline: Any = redis.pipeline(transaction=False)  # its methods are typed as if they answered at once
    for key in keys:
        pipeline.execute_command(verb, key, *more)
    return list(await pipeline.execute()) if keys else []


async def _shown(connection: Connection, standings: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Those of the (tenant, standings) that readers are shown from the rankings, or will be when a rescore is done."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            WITH given AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS g (tenant_id, standings_id)), named AS (
                SELECT tenant_id, standings_id, standings_id AS window_id, false AS running FROM given
                UNION ALL SELECT tenant_id, standings_id, r.window_id, r.status = 'running'
                FROM given AS g JOIN rescore AS r USING (tenant_id) WHERE r.rescore_id = g.standings_id
            )
            SELECT tenant_id, n.standings_id FROM named AS n
            JOIN leaderboard_window AS w USING (tenant_id, window_id) JOIN leaderboard AS b USING (tenant_id, board_id)
            WHERE w.status IN ('open', 'closing') AND b.status <> 'archived'
              AND (n.running OR coalesce(w.standings_id, w.window_id) = n.standings_id)
            """,
            ([tenant_id for tenant_id, _ in standings], [standings_id for _, standings_id in standings]),
        )
        return {(row[0], row[1]) for row in await cursor.fetchall()}
