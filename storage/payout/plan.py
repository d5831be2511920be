"""Planning a payout run: who gets what is fixed by one statement, within the budget (contract 4)."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.payout.run import (
    PayoutProgress,
    Run,
    RunStatus,
    ceilings,
    highest_rank,
    seconds_until_next_look,
    tier_cost,
    total_cost,
)
from domain.reward.config import RunConfig
from runtime.postgres import Connection
from storage.payout.audience import Audience, NotYet
from storage.payout.audience_type import audience_of
from storage.payout.run import find_run, progress_of


async def plan(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> PayoutProgress:
    """Freeze the audience within the budget, once; a run that was planned before stays as it is.

    `wait_seconds` in the answer: the audience is not there yet (a window that is still closing), nothing was written.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PLANNING:
        return progress_of(run)
    audience = await audience_of(connection, tenant_id, run)
    if isinstance(audience, NotYet):
        return msgspec.structs.replace(progress_of(run), wait_seconds=seconds_until_next_look(audience.closes_at, now))
    cursor = await connection.execute(
        freezing(audience, run.config),
        {**audience.parameters, **_freezing_parameters(run, audience)},
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("freezing the audience gave no count")
    by_tier = {int(number): int(count) for number, count in row["by_tier"].items()}
    recipients = sum(by_tier.values())
    reason = audience.empty_reason if row["fitting"] == 0 else None
    await connection.execute(
        """
        UPDATE payout_run SET status = 'paying', recipients = %s, not_covered = %s, planned_total = %s, planned_at = %s, updated_at = %s,
            reason = %s
        WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (recipients, row["fitting"] - recipients, Jsonb(total_cost(run.config, by_tier)), now, now, reason, tenant_id, run_id),
    )
    return PayoutProgress(status=RunStatus.PAYING, recipients=recipients, reason=reason)


SELECTED = """
WITH chosen AS ({query}), band AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(run_tiers)s)
         AS band (number smallint, name text, low integer, high integer, least bigint{cost_columns})
), fitted AS (
    SELECT chosen.user_id, chosen.external_user_id, chosen.rank, chosen.score, best.* FROM chosen CROSS JOIN LATERAL (
        SELECT * FROM band
        WHERE (low IS NULL OR chosen.rank >= low) AND (high IS NULL OR chosen.rank <= high) AND (least IS NULL OR chosen.score >= least)
        ORDER BY number LIMIT 1
    ) AS best
), costed AS MATERIALIZED (
    SELECT user_id, external_user_id, rank, score, number, name, row_number() OVER best_first AS ordinal{running_costs}
    FROM fitted WINDOW best_first AS (ORDER BY rank NULLS LAST, external_user_id COLLATE "C" ROWS UNBOUNDED PRECEDING)
)"""

FREEZE = """{selected}, frozen AS (
    INSERT INTO payout_recipient (tenant_id, payout_run_id, ordinal, user_id, external_user_id, rank, score, tier_number, tier_name)
    SELECT %(run_tenant_id)s, %(run_id)s, ordinal, user_id, external_user_id, rank, score, number, name FROM costed WHERE {covered}
    RETURNING tier_number
)
SELECT (SELECT count(*) FROM costed) AS fitting,
       coalesce((SELECT jsonb_object_agg(tier_number, n) FROM (SELECT tier_number, count(*) AS n FROM frozen GROUP BY 1) AS each), '{{}}')
           AS by_tier
"""


def selecting(audience: Audience, config: RunConfig) -> tuple[str, str]:
    """The CTEs up to `costed` (who fits a tier, best first, with what all up to there cost), and the test that the budget covers one.

    Running costs only grow, so those who are covered are the first ones of the list, whatever comes behind them.
    """
    keys = range(len(ceilings(config)))
    selected = SELECTED.format(
        query=audience.query,
        cost_columns="".join(f", cost_{number} bigint" for number in keys),
        running_costs="".join(f", sum(cost_{number}) OVER best_first AS running_{number}" for number in keys),
    )
    covered = " AND ".join(f"running_{number} <= %(run_limit_{number})s" for number in keys) or "true"
    return selected, covered


def selecting_parameters(config: RunConfig, ranked: int) -> dict[str, Any]:
    """The parameters of `selecting`, all of which begin with `run_`."""
    tiers = []
    for number, tier in enumerate(config.tiers):
        cost = tier_cost(config, number)
        high = tier.max_rank if tier.top_percent is None else highest_rank(tier.top_percent, ranked)
        line: dict[str, Any] = {"number": number, "name": tier.name, "low": tier.min_rank, "high": high, "least": tier.min_score}
        tiers.append({**line, **{f"cost_{place}": cost.get(key, 0) for place, key in enumerate(ceilings(config))}})
    limits = {f"run_limit_{place}": limit for place, limit in enumerate(ceilings(config).values())}
    return {"run_tiers": Jsonb(tiers), **limits}


def freezing(audience: Audience, config: RunConfig) -> str:
    """The one statement that writes the recipients."""
    selected, covered = selecting(audience, config)
    return FREEZE.format(selected=selected, covered=covered)


def _freezing_parameters(run: Run, audience: Audience) -> dict[str, Any]:
    named = {"run_tenant_id": run.tenant_id, "run_id": run.payout_run_id}
    return {**named, **selecting_parameters(run.config, audience.ranked)}
