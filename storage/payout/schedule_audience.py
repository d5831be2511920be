"""The audiences of payout schedules, each as one query (contract 4): the first of a board, tiers, segments, listed users."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.leaderboard.definition import Method, load_config
from domain.payout.run import Run
from domain.payout.schedule import AllUsers, LeaderboardTop, ListedUsers, TierMembers
from domain.rule.segment import parse_segment
from domain.scoring.rules import min_score_units
from domain.wire import rfc3339
from runtime.postgres import Connection
from storage.leaderboard.standing import direction, ranked_total
from storage.payout.audience import Audience, NotYet, Selection
from storage.payout.segment_query import segment_clause

NOBODY = Audience(
    query="SELECT NULL::uuid AS user_id, NULL::text AS external_user_id, 0 AS rank, 0::bigint AS score WHERE false", parameters={}
)
NOT_ERASED = "u.external_id <> 'erased:' || u.user_id::text"


async def leaderboard_top(connection: Connection, tenant_id: UUID, run: Run) -> Audience | NotYet:
    """The first n: of the latest window with `ends_at` ≤ the instant, once it is closed; or of the present one, as it stands."""
    wanted = msgspec.convert(run.audience, LeaderboardTop)
    if wanted.window == "current":
        return await _current(connection, tenant_id, wanted)
    cursor = await connection.execute(
        """
        SELECT w.window_id, w.status, w.total, w.closes_at FROM leaderboard_window AS w JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE b.tenant_id = %s AND b.leaderboard_id = %s AND w.ends_at <= %s
        ORDER BY w.ends_at DESC, b.board_id DESC LIMIT 1
        """,
        (tenant_id, wanted.leaderboard_id, run.instant),
    )
    row = await cursor.fetchone()
    if row is None:
        return msgspec.structs.replace(NOBODY, empty_reason=await _why_no_window(connection, tenant_id, wanted, run.instant))
    if row["status"] not in ("closed", "paid"):
        return NotYet(closes_at=row["closes_at"])
    query = """
        SELECT user_id, external_user_id, rank, score FROM snapshot_entry
        WHERE tenant_id = %(tenant_id)s AND window_id = %(window_id)s AND rank <= %(n)s
        """
    return Audience(
        query=query,
        parameters={"tenant_id": tenant_id, "window_id": row["window_id"], "n": wanted.n},
        ranked=row["total"] or 0,
        empty_reason=None if row["total"] else "nobody is ranked in the latest ended window",
    )


async def _why_no_window(connection: Connection, tenant_id: UUID, wanted: LeaderboardTop, instant: datetime) -> str:
    cursor = await connection.execute(
        """
        SELECT w.window_key, w.ends_at FROM leaderboard_window AS w JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE b.tenant_id = %s AND b.leaderboard_id = %s AND w.status IN ('closing', 'closed', 'paid') AND w.ends_at > %s
        ORDER BY w.ends_at LIMIT 1
        """,
        (tenant_id, wanted.leaderboard_id, instant),
    )
    early = await cursor.fetchone()
    if early is None:
        return f"no window of leaderboard {wanted.leaderboard_id} has ended"
    ends_at = rfc3339(early["ends_at"])
    return f"window {early['window_key']} was closed early and counts only from its planned end, {ends_at}"


async def _current(connection: Connection, tenant_id: UUID, wanted: LeaderboardTop) -> Audience:
    """The window that counts now: the latest that has begun and not ended; an all-time board's only one."""
    cursor = await connection.execute(
        """
        SELECT coalesce(w.standings_id, w.window_id) AS standings_id, b.config
        FROM leaderboard_window AS w JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE b.tenant_id = %s AND b.leaderboard_id = %s AND b.status <> 'archived'
          AND coalesce(w.starts_at <= clock_timestamp(), true) AND coalesce(w.ends_at > clock_timestamp(), true)
        ORDER BY w.starts_at DESC NULLS LAST LIMIT 1
        """,
        (tenant_id, wanted.leaderboard_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return NOBODY
    config = load_config(row["config"])
    least = min_score_units(config)
    order = direction(Method(config.ranking.method))
    query = f"""
        SELECT user_id, external_user_id, score,
               row_number() OVER (ORDER BY score {order}, reached_at, external_user_id)::integer AS rank
        FROM standing WHERE tenant_id = %(tenant_id)s AND window_id = %(window_id)s AND score >= coalesce(%(least)s::bigint, score)
        ORDER BY score {order}, reached_at, external_user_id LIMIT %(n)s
        """
    parameters = {"tenant_id": tenant_id, "window_id": row["standings_id"], "least": least, "n": wanted.n}
    return Audience(query=query, parameters=parameters, ranked=await ranked_total(connection, tenant_id, row["standings_id"], least))


async def tier_members(connection: Connection, tenant_id: UUID, run: Run) -> Audience:
    """Everyone who has one of the tiers now."""
    names = msgspec.convert(run.audience, TierMembers).names
    query = """
        SELECT u.user_id, u.external_id AS external_user_id, NULL::integer AS rank, NULL::bigint AS score
        FROM user_tier AS m JOIN app_user AS u USING (tenant_id, user_id)
        WHERE m.tenant_id = %(tenant_id)s AND m.tier = ANY(%(names)s)
        """
    return _living(query, {"tenant_id": tenant_id, "names": names})


async def all_users(connection: Connection, tenant_id: UUID, run: Run) -> Audience:
    """Every user, or those of the segment, as they are now."""
    clause, parameters = segment_clause(parse_segment(msgspec.convert(run.audience, AllUsers).filter or {}, "filter"))
    query = f"""
        SELECT u.user_id, u.external_id AS external_user_id, NULL::integer AS rank, NULL::bigint AS score
        FROM app_user AS u WHERE u.tenant_id = %(tenant_id)s AND {clause}
        """
    return _living(query, {"tenant_id": tenant_id, **parameters})


async def listed_users(connection: Connection, tenant_id: UUID, run: Run) -> Audience:
    """Those of the list who exist, in its order."""
    names = msgspec.convert(run.audience, ListedUsers).external_ids
    query = """
        SELECT u.user_id, u.external_id AS external_user_id, listed.place::integer AS rank, NULL::bigint AS score
        FROM unnest(%(names)s::text[]) WITH ORDINALITY AS listed (name, place)
        JOIN app_user AS u ON u.tenant_id = %(tenant_id)s AND u.external_id = listed.name COLLATE "C" WHERE true
        """
    audience = _living(query, {"tenant_id": tenant_id, "names": names})
    return msgspec.structs.replace(audience, ranked=len(names))


def _living(query: str, parameters: Mapping[str, Any]) -> Audience:
    return Audience(query=f"{query} AND {NOT_ERASED}", parameters=dict(parameters))


SCHEDULE_SELECTIONS: Mapping[str, Selection] = {
    "leaderboard_top": leaderboard_top,
    "tier": tier_members,
    "all_users": all_users,
    "users": listed_users,
}
