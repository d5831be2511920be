"""Who would get what if a schedule ran now: the plan of a run, without writing anything (contract 4)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.payout.run import Run, RunStatus, total_cost
from domain.payout.run_wire import total_wire
from domain.payout.schedule import Schedule
from domain.reward.config import RunConfig
from runtime.postgres import Connection
from storage.payout.audience import NotYet
from storage.payout.audience_type import audience_of
from storage.payout.plan import selecting, selecting_parameters
from storage.payout.schedule_run import schedule_config

PREVIEW = """{selected}, covered AS (SELECT * FROM costed WHERE {covered})
SELECT (SELECT count(*) FROM costed) AS fitting,
       (SELECT coalesce(jsonb_object_agg(number, n), '{{}}')
        FROM (SELECT number, count(*) AS n FROM covered GROUP BY 1) AS each) AS by_tier,
       (SELECT coalesce(jsonb_agg(shown ORDER BY shown.ordinal), '[]') FROM (
           SELECT ordinal, user_id, external_user_id, rank, score, number, name FROM covered ORDER BY ordinal LIMIT %(run_shown)s
       ) AS shown) AS shown
"""


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would freeze. `shown` are the first recipients; `is_waiting`: the window that it would pay is still closing.

    `empty_reason`: why there are no recipients, where that can be said.
    """

    config: RunConfig
    is_waiting: bool = False
    empty_reason: str | None = None
    recipients: int = 0
    not_covered: int = 0
    total: dict[str, int | float] = {}
    shown: Sequence[dict[str, Any]] = ()


async def preview(connection: Connection, schedule: Schedule, instant: datetime, *, limit: int) -> PlannedRun:
    """The plan of a run of this instant, with its first `limit` recipients."""
    config = await schedule_config(connection, schedule, instant)
    audience = await audience_of(connection, schedule.tenant_id, _imagined(schedule, instant, config))
    if isinstance(audience, NotYet):
        return PlannedRun(config=config, is_waiting=True)
    selected, covered = selecting(audience, config)
    parameters = {**audience.parameters, **selecting_parameters(config, audience.ranked), "run_shown": limit}
    cursor = await connection.execute(PREVIEW.format(selected=selected, covered=covered), parameters)
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a preview gave no row")
    by_tier = {int(number): int(count) for number, count in row["by_tier"].items()}
    recipients = sum(by_tier.values())
    return PlannedRun(
        config=config,
        recipients=recipients,
        empty_reason=audience.empty_reason if row["fitting"] == 0 else None,
        not_covered=row["fitting"] - recipients,
        total=total_wire(config, total_cost(config, by_tier)),
        shown=row["shown"],
    )


def _imagined(schedule: Schedule, instant: datetime, config: RunConfig) -> Run:
    """The run as it would stand before it is planned."""
    counts = dict.fromkeys(("recipients", "not_covered", "cursor", "paid", "skipped"), 0)
    return Run(
        tenant_id=schedule.tenant_id,
        payout_run_id=schedule.schedule_id,
        source_type="schedule",
        source_id="",
        schedule_id=schedule.schedule_id,
        instant=instant,
        trigger="manual",
        audience=schedule.audience,
        config=config,
        status=RunStatus.PLANNING,
        reason=None,
        attempt=1,
        cancel_requested=False,
        **counts,
        planned_total={},
        total={},
        created_at=instant,
        updated_at=instant,
        planned_at=None,
        finished_at=None,
    )
