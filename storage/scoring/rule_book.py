"""The rules of a tenant's boards and its earning rules, as scoring reads them.

A tenant may change its rules for years: only those versions are read by which something is scored that is not scored yet, and what is the
same text in many of them is parsed once.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.leaderboard.definition import BoardStatus, BoardVersion, load_config, load_timeline
from domain.points.earning_rule import EarningRule, EarningVersion
from domain.scoring.rules import BEGINNING, RuleBook
from runtime.postgres import Connection

Parsed = TypeVar("Parsed")
PARSED_IN_A_ROW = 50
"""So many definitions are parsed before other tasks have their turn."""

BOARDS = """
WITH concerned AS (
    SELECT board_id FROM leaderboard WHERE tenant_id = %(tenant_id)s AND status <> 'archived'
    UNION SELECT board_id FROM leaderboard_version WHERE tenant_id = %(tenant_id)s AND valid_from > %(oldest)s
), wanted AS (
    SELECT v.* FROM leaderboard_version AS v JOIN leaderboard AS b USING (tenant_id, board_id)
    WHERE v.tenant_id = %(tenant_id)s AND v.valid_from > %(oldest)s AND (%(between)s OR v.version IN (1, b.version))
    UNION ALL
    SELECT v.* FROM concerned AS c CROSS JOIN LATERAL (
        SELECT * FROM leaderboard_version
        WHERE tenant_id = %(tenant_id)s AND board_id = c.board_id AND valid_from <= %(oldest)s ORDER BY version DESC LIMIT 1) AS v
)
SELECT w.board_id, w.version, w.status, w.valid_from, w.config::text AS config, b.timeline::text AS timeline
FROM wanted AS w JOIN leaderboard AS b ON b.tenant_id = %(tenant_id)s AND b.board_id = w.board_id
"""

RULES = """
WITH concerned AS (
    SELECT rule_id FROM earning_rule WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL
    UNION SELECT rule_id FROM earning_rule_version WHERE tenant_id = %(tenant_id)s AND valid_from > %(oldest)s
), wanted AS (
    SELECT v.* FROM earning_rule_version AS v JOIN earning_rule AS r USING (tenant_id, rule_id)
    WHERE v.tenant_id = %(tenant_id)s AND v.valid_from > %(oldest)s AND (%(between)s OR v.version IN (1, r.version))
    UNION ALL
    SELECT v.* FROM concerned AS c CROSS JOIN LATERAL (
        SELECT * FROM earning_rule_version
        WHERE tenant_id = %(tenant_id)s AND rule_id = c.rule_id AND valid_from <= %(oldest)s ORDER BY version DESC LIMIT 1) AS v
)
SELECT w.rule_id, w.version, w.definition::text AS definition, w.active, w.valid_from,
       coalesce(c.decimal_places, 0) AS decimal_places, t.timezone
FROM wanted AS w JOIN tenant AS t ON t.tenant_id = %(tenant_id)s
LEFT JOIN currency AS c ON c.tenant_id = %(tenant_id)s AND c.currency_id = coalesce(w.definition ->> 'currency', 'points')
"""

LAST_CHANGE = """
SELECT greatest(
    (SELECT max(valid_from) FROM leaderboard_version WHERE tenant_id = %(tenant_id)s AND valid_from <= %(oldest)s),
    (SELECT max(valid_from) FROM earning_rule_version WHERE tenant_id = %(tenant_id)s AND valid_from <= %(oldest)s)) AS since
"""

STATUS_CHANGES = """
WITH begun AS (
    SELECT version, status, valid_from, lag(status) OVER (ORDER BY version) AS before FROM leaderboard_version
    WHERE tenant_id = %(tenant_id)s AND board_id = %(board_id)s AND valid_from <= %(instant)s
)
SELECT version, status, valid_from FROM begun WHERE status IS DISTINCT FROM before
"""

PRESENT_CONFIG = """
SELECT v.config, b.timeline FROM leaderboard_version AS v JOIN leaderboard AS b USING (tenant_id, board_id)
WHERE v.tenant_id = %(tenant_id)s AND v.board_id = %(board_id)s AND v.valid_from <= %(instant)s ORDER BY v.version DESC LIMIT 1
"""


async def load_rule_book(
    connection: Connection, tenant_id: UUID, oldest: datetime, *, like: RuleBook | None = None, between: bool = True
) -> RuleBook:
    """The versions in force at `oldest` and since. Without `between`, of those since only each thing's first and present one.

    `like` is an earlier book of the tenant, which this one shares with what it can. The book is good from the last change before `oldest`.
    """
    parser = _Parser({} if like is None else like.parsed)
    asked = {"tenant_id": tenant_id, "oldest": oldest, "between": between}
    boards = [await _board_version(parser, row) for row in await (await connection.execute(BOARDS, asked)).fetchall()]
    rules = [await _earning_version(parser, row) for row in await (await connection.execute(RULES, asked)).fetchall()]
    row = await (await connection.execute(LAST_CHANGE, asked)).fetchone()
    assert row is not None
    return RuleBook(boards, rules, since=row["since"] or BEGINNING, parsed=parser.parsed, like=like)


async def load_board_life(connection: Connection, tenant_id: UUID, board_id: UUID, instant: datetime) -> list[BoardVersion]:
    """One version for each change of the board's status up to `instant`, as if its config had always been the one in force then."""
    asked = {"tenant_id": tenant_id, "board_id": board_id, "instant": instant}
    present = await (await connection.execute(PRESENT_CONFIG, asked)).fetchone()
    if present is None:
        return []
    config, timeline = load_config(present["config"]), load_timeline(present["timeline"])
    return [
        BoardVersion(
            board_id=board_id,
            version=row["version"],
            status=BoardStatus(row["status"]),
            config=config,
            valid_from=row["valid_from"],
            timeline=timeline,
        )
        for row in await (await connection.execute(STATUS_CHANGES, asked)).fetchall()
    ]


class _Parser:
    """Parses stored definitions, each text once; `earlier` ones not at all."""

    def __init__(self, earlier: Mapping[Hashable, Any]) -> None:
        self._earlier = earlier
        self._count = 0
        self.parsed: dict[Hashable, Any] = {}

    async def parse(self, key: Hashable, text: str, parse: Callable[[Any], Parsed]) -> Parsed:
        """What `parse` makes of the JSON text. The same key is the same object."""
        if key not in self.parsed:
            self.parsed[key] = self._earlier[key] if key in self._earlier else await self._parse(text, parse)
        found: Parsed = self.parsed[key]
        return found

    async def _parse(self, text: str, parse: Callable[[Any], Parsed]) -> Parsed:
        self._count += 1
        if self._count % PARSED_IN_A_ROW == 0:
            await asyncio.sleep(0)
        return parse(msgspec.json.decode(text))


async def _board_version(parser: _Parser, row: dict[str, Any]) -> BoardVersion:
    config, timeline = row["config"], row["timeline"]
    return BoardVersion(
        board_id=row["board_id"],
        version=row["version"],
        status=BoardStatus(row["status"]),
        config=await parser.parse(("config", config), config, load_config),
        valid_from=row["valid_from"],
        timeline=await parser.parse(("timeline", timeline), timeline, load_timeline),
    )


async def _earning_version(parser: _Parser, row: dict[str, Any]) -> EarningVersion:
    text, active = row["definition"], row["active"]
    return EarningVersion(
        rule_id=row["rule_id"],
        version=row["version"],
        rule=await parser.parse(("rule", active, text), text, partial(_earning_rule, active)),
        valid_from=row["valid_from"],
        decimal_places=row["decimal_places"],
        timezone=row["timezone"],
    )


def _earning_rule(active: bool, definition: Any) -> EarningRule:
    """A version's own `active` wins over the one in its definition: archiving a rule ends it."""
    return msgspec.structs.replace(msgspec.convert(definition, EarningRule), active=active)
