"""The rules of a tenant's boards and its earning rules, as scoring reads them."""

from typing import Any
from uuid import UUID

import msgspec

from domain.leaderboard.definition import BoardStatus, BoardVersion, load_config, load_timeline
from domain.points.earning_rule import EarningRule, EarningVersion
from domain.scoring.rules import RuleBook
from runtime.postgres import Connection


async def load_rule_book(connection: Connection, tenant_id: UUID) -> RuleBook:
    """Every version of the tenant's boards and earning rules."""
    boards = await connection.execute(
        "SELECT v.board_id, v.version, v.status, v.config, v.valid_from, b.timeline FROM leaderboard_version AS v "
        "JOIN leaderboard AS b USING (tenant_id, board_id) WHERE v.tenant_id = %s",
        (tenant_id,),
    )
    versions = [
        BoardVersion(
            board_id=row["board_id"],
            version=row["version"],
            status=BoardStatus(row["status"]),
            config=load_config(row["config"]),
            valid_from=row["valid_from"],
            timeline=load_timeline(row["timeline"]),
        )
        for row in await boards.fetchall()
    ]
    rules = await connection.execute(
        """
        SELECT v.rule_id, v.version, v.definition, v.active, v.valid_from, coalesce(c.decimal_places, 0) AS decimal_places, t.timezone
        FROM earning_rule_version AS v JOIN tenant AS t USING (tenant_id)
        LEFT JOIN currency AS c ON c.tenant_id = v.tenant_id AND c.currency_id = coalesce(v.definition ->> 'currency', 'points')
        WHERE v.tenant_id = %s
        """,
        (tenant_id,),
    )
    return RuleBook(versions, [_earning_version(row) for row in await rules.fetchall()])


def _earning_version(row: dict[str, Any]) -> EarningVersion:
    """A version's own `active` wins over the one in its definition: archiving a rule ends it."""
    rule = msgspec.convert(row["definition"], EarningRule)
    return EarningVersion(
        rule_id=row["rule_id"],
        version=row["version"],
        rule=msgspec.structs.replace(rule, active=row["active"]),
        valid_from=row["valid_from"],
        decimal_places=row["decimal_places"],
        timezone=row["timezone"],
    )
