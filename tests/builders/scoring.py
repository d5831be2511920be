"""Boards, events and pumps for tests of scoring, and the ten-line reference that they are compared with."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

import msgspec

from activities.scoring import ScoringPump
from domain.leaderboard.definition import LeaderboardDefinition, parse_definition
from domain.leaderboard.standing import decode_member
from domain.leaderboard.window import window_for_key
from domain.points.earning_rule import parse_earning_rule
from loops.scoring.batch import Scorer
from loops.scoring.wakeup import Wakeup
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.leaderboard import definition as definitions
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.scored_window import NewWindow, ensure_windows
from storage.leaderboard.standing import standings_page
from storage.platform import partitions
from storage.points.earning_rule import write_rule
from storage.rules_lock import change_instant
from storage.scoring import pump

PARTITIONS = 4
NOON = dt.datetime(2026, 2, 3, 12, tzinfo=dt.UTC)


class Event(msgspec.Struct, frozen=True):
    user: str
    points: float
    minute: int
    event_id: str
    type: str = "match"

    @property
    def occurred_at(self) -> dt.datetime:
        return NOON + dt.timedelta(minutes=self.minute)


def definition(aggregation: str = "sum", method: str = "score_desc", **more: Any) -> LeaderboardDefinition:
    ranking = {"method": method, "min_score": more.get("min_score")}
    rules = [{"event_type": "match", "points_expression": more.get("expression", "attrs.points")}]
    config = {
        "timeframe": more.get("timeframe", {"type": "all_time"}),
        "scoring": {"rules": rules, "aggregation": aggregation},
        "ranking": ranking,
    }
    return parse_definition({"name": "Board", "config": config})


class World:
    """One tenant on a real PostgreSQL and a real Valkey."""

    def __init__(self, pool: Pool, rankings: Rankings, database_url: str) -> None:
        self.pool, self.rankings, self.wakeup = pool, rankings, Wakeup(database_url)
        self.tenant_id = new_id()

    async def open(self) -> "World":
        async with transaction(self.pool) as connection:
            await partitions.set_up(connection, PARTITIONS, utc_now())
            await connection.execute(
                "INSERT INTO tenant (tenant_id, name, created_at, updated_at) VALUES (%s, 'T', clock_timestamp(), clock_timestamp())",
                (self.tenant_id,),
            )
            await connection.execute(
                "INSERT INTO currency (tenant_id, currency_id, name, issue_account_id, redemption_account_id, created_at)"
                " VALUES (%s, 'points', 'Points', %s, %s, clock_timestamp())",
                (self.tenant_id, new_id(), new_id()),
            )
        return self

    async def make_board(self, leaderboard_id: str, what: LeaderboardDefinition) -> Leaderboard:
        async with transaction(self.pool) as connection:
            instant = await change_instant(connection, self.tenant_id)
            return await definitions.insert_board(connection, self.tenant_id, new_id(), leaderboard_id, definition=what, instant=instant)

    async def change_board(self, board: Leaderboard, what: LeaderboardDefinition) -> Leaderboard:
        async with transaction(self.pool) as connection:
            instant = await change_instant(connection, self.tenant_id)
            return await definitions.replace_board(connection, self.tenant_id, board.board_id, definition=what, instant=instant)

    async def send_now(self, events: Sequence[Event]) -> None:
        """Send them as of this moment, for boards whose windows end."""
        await self.send(events, occurred_at=utc_now())

    async def send(
        self, events: Sequence[Event], bodies: dict[str, bytes] | None = None, *, occurred_at: dt.datetime | None = None
    ) -> None:
        given = {event.event_id: event for event in events}
        ordered = sorted(given.values(), key=lambda event: event.event_id.encode())
        document = [
            (bodies or {}).get(event.event_id)
            or msgspec.json.encode(
                {"event_id": event.event_id, "type": event.type, "actor": {"user_id": event.user}, "attrs": {"points": event.points}}
            )
            for event in ordered
        ]
        async with transaction(self.pool) as connection:
            await connection.execute(
                "SELECT append_events(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::uuid[], %s::text[],"
                " %s::timestamptz[], %s::bytea[], %s)",
                (
                    [self.tenant_id] * len(ordered),
                    ["server"] * len(ordered),
                    [event.event_id for event in ordered],
                    [event.type for event in ordered],
                    [None] * len(ordered),
                    [new_id() for _ in ordered],
                    [event.user for event in ordered],
                    [occurred_at or event.occurred_at for event in ordered],
                    document,
                    PARTITIONS,
                ),
            )

    async def pump(self) -> list[ScoringPump]:
        """Score and publish all that is in the log."""
        pumps = [ScoringPump(self.pool, self.rankings, self.wakeup, partition) for partition in range(PARTITIONS)]
        async with asyncio.timeout(60):
            await asyncio.gather(*(pump.run(asyncio.Event(), until_idle=True) for pump in pumps))
        return pumps

    async def owner(self, partition: int) -> Scorer:
        async with transaction(self.pool) as connection:
            return Scorer(self.pool, partition, await pump.take_partition(connection, partition))

    async def partition_of(self, user: str) -> int:
        return int(
            (await self.rows("SELECT scoring_partition FROM event_log WHERE external_user_id = %s LIMIT 1", user))[0]["scoring_partition"]
        )

    async def rows(self, query: str, *parameters: object, fetch: bool = True) -> list[dict[str, Any]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query, parameters or None)
            return await cursor.fetchall() if fetch else []

    async def open_window(self, board: Leaderboard, key: str) -> None:
        span = window_for_key(board.config.timeframe, key)
        assert span is not None
        async with transaction(self.pool) as connection:
            planned = NOON + dt.timedelta(days=36500)
            await ensure_windows(connection, [NewWindow(self.tenant_id, board.board_id, new_id(), span, planned)])

    async def make_earning_rule(self, expression: str, *, rule_id: UUID | None = None, **more: Any) -> UUID:
        rule = parse_earning_rule({"name": "R", "event_type": "match", "points_expression": expression, **more})
        async with transaction(self.pool) as connection:
            return (await write_rule(connection, self.tenant_id, rule_id or new_id(), rule, now=utc_now())).rule_id

    async def live_rows(self, board: Leaderboard, key: str = "all") -> list[tuple[str, int]] | None:
        window = await self.window(board, key)
        if window is None:
            return []
        page = await self.rankings.page(definitions.ranked_board(board, window), 0, 1000)
        if page is None:
            return None
        assert page.total == len(page.members)
        decoded = [decode_member(board.config.ranking.method, member) for member in page.members]
        return [(external_id, score) for score, _, external_id in decoded]

    async def stored_rows(self, board: Leaderboard, key: str = "all") -> list[tuple[str, int]]:
        window = await self.window(board, key)
        if window is None:
            return []
        seen = definitions.ranked_board(board, window)
        async with self.pool.connection() as connection:
            entries = await standings_page(
                connection, self.tenant_id, window, method=seen.method, min_score=seen.min_score, first=0, limit=1000
            )
        return [(entry.external_user_id, entry.score) for entry in entries]

    async def window(self, board: Leaderboard, key: str) -> UUID | None:
        async with self.pool.connection() as connection:
            found = await definitions.find_window(connection, self.tenant_id, board.board_id, key)
        return found.standings if found else None


def reference(what: LeaderboardDefinition, events: Sequence[Event]) -> list[tuple[str, int]]:
    """The board as contract 3 describes it, the plain way: (user, score in 1/10 000), best first."""
    first = {event.event_id: event for event in reversed(events)}
    kind, lines = what.config.scoring.aggregation, []
    for user in {event.user for event in first.values()}:
        mine = [(units(event.points), event.occurred_at) for event in first.values() if event.user == user]
        points, moments = [score for score, _ in mine], [moment for _, moment in mine]
        average = int((Decimal(sum(points)) / len(points)).quantize(Decimal(1), ROUND_HALF_EVEN))
        score = {"sum": sum(points), "max": max(points), "min": min(points), "count": 10_000 * len(points), "avg": average}[kind]
        reached = max(moments)
        if kind == "sum":
            reached = max([moment for score_, moment in mine if score_] or moments)
        if kind in ("max", "min"):
            reached = min(moment for score_, moment in mine if score_ == score)
        lines.append((score if what.config.ranking.method == "score_asc" else -score, reached, user.encode(), user, score))
    bound = what.config.ranking.min_score
    return [(user, score) for *_, user, score in sorted(lines) if bound is None or score >= bound * 10_000]


def units(points: float) -> int:
    return int((Decimal(repr(points)) * 10_000).quantize(Decimal(1), ROUND_HALF_EVEN))
