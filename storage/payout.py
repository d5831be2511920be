"""Payout runs: made once for each cause, their audience frozen in one statement, paid in pages, reconciled (contract 4).

A page is one transaction that holds the run's row: what it gives, the recipients' states and the cursor are committed together, so
whoever dies leaves whole pages, and the next one goes on behind the cursor.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.error import InvalidState, NotFound
from domain.payout import (
    OVER,
    NewRun,
    PayoutRunInput,
    Prizes,
    Progress,
    Run,
    RunStatus,
    add_to,
    highest_rank,
    payout_workflow_id,
    tier_cost,
    total_cost,
)
from domain.webhook_body import event_body
from domain.wire import amount_number
from runtime.ids import new_id
from runtime.postgres import Connection
from storage import outbox
from storage.audience import Audience, audience_of
from storage.due_delivery import Notice, publish
from storage.grant import Cause, Gift, give

WORKFLOW = "PayoutRunWorkflow"
PRIORITY = 3
NOT_READY_SECONDS = 5.0
BY_RUN = "payout run"
EVENT = "payout.completed"

COLUMNS = """tenant_id, payout_run_id, source_type, source_id, schedule_id, instant, trigger, audience, prizes, status, reason, attempt,
    cancel_requested, recipients, not_covered, cursor, paid, skipped, planned_total, total, created_at, updated_at, planned_at,
    finished_at"""


async def create_run(connection: Connection, tenant_id: UUID, new: NewRun, now: datetime, *, start: bool = True) -> UUID | None:
    """Write a run; its id, or None when the window or the schedule's instant has one. With `start` its workflow starts at commit."""
    run_id = new_id()
    cursor = await connection.execute(
        """
        INSERT INTO payout_run (tenant_id, payout_run_id, source_type, source_id, schedule_id, instant, trigger, audience, prizes, status,
                                created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'planning', %s, %s) ON CONFLICT DO NOTHING RETURNING payout_run_id
        """,
        (
            tenant_id,
            run_id,
            new.source_type,
            new.source_id or str(run_id),
            new.schedule_id,
            new.instant,
            new.trigger,
            Jsonb(new.audience),
            Jsonb(msgspec.to_builtins(new.prizes)),
            now,
            now,
        ),
    )
    if await cursor.fetchone() is None:
        return None
    if start:
        await outbox.enqueue(connection, tenant_id, start_entry(tenant_id, run_id, new.source_type))
    return run_id


def start_entry(tenant_id: UUID, run_id: UUID, source_type: str, attempt: int = 1) -> outbox.Entry:
    """The command that starts a run's workflow; a second one changes nothing."""
    return outbox.Entry(
        kind="start",
        workflow_id=payout_workflow_id(tenant_id, run_id, attempt),
        name=WORKFLOW,
        argument={
            "argument": msgspec.to_builtins(PayoutRunInput(tenant_id=tenant_id, run_id=run_id)),
            "attributes": {"TenantId": str(tenant_id), "PayoutStatus": RunStatus.PLANNING.value},
            "summary": f"Payout of a {source_type}",
            "priority": PRIORITY,
        },
    )


async def find_run(connection: Connection, tenant_id: UUID, run_id: UUID, *, lock: bool = False) -> Run:
    """The run; NotFound. `lock` keeps it until the end of the transaction."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND payout_run_id = %s" + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, run_id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("There is no such payout run")
    return msgspec.convert(row, Run)


async def run_of_source(connection: Connection, tenant_id: UUID, source_type: str, source_id: str, *, lock: bool = False) -> Run | None:
    """The run of this cause, or None."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND source_type = %s AND source_id = %s"
        + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, source_type, source_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Run)


def progress_of(run: Run) -> Progress:
    """How far the run is."""
    return Progress(status=run.status, recipients=run.recipients, paid=run.paid, skipped=run.skipped, reason=run.reason)


async def plan(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Progress:
    """Freeze the audience within the budget, once; a run that was planned before stays as it is.

    `wait_seconds` in the answer: the audience is not there yet (a window that is still closing), nothing was written.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PLANNING:
        return progress_of(run)
    if run.cancel_requested:
        return await _end(connection, run, RunStatus.CANCELLED, now, reason="cancelled before it was planned")
    audience = await audience_of(connection, tenant_id, run)
    if audience is None:
        return msgspec.structs.replace(progress_of(run), wait_seconds=NOT_READY_SECONDS)
    cursor = await connection.execute(
        freezing(audience, run.prizes),
        {**audience.parameters, **_freezing_parameters(run, audience)},
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("freezing the audience gave no count")
    by_tier = {int(number): int(count) for number, count in row["by_tier"].items()}
    recipients = sum(by_tier.values())
    await connection.execute(
        """
        UPDATE payout_run SET status = 'paying', recipients = %s, not_covered = %s, planned_total = %s, planned_at = %s, updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (recipients, row["fitting"] - recipients, Jsonb(total_cost(run.prizes, by_tier)), now, now, tenant_id, run_id),
    )
    return Progress(status=RunStatus.PAYING, recipients=recipients)


SELECTED = """
WITH chosen AS ({query}), tier AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(run_tiers)s)
         AS tier (number smallint, name text, low integer, high integer, least bigint{cost_columns})
), fitted AS (
    SELECT chosen.user_id, chosen.external_user_id, chosen.rank, chosen.score, best.* FROM chosen CROSS JOIN LATERAL (
        SELECT * FROM tier
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


def selecting(audience: Audience, prizes: Prizes) -> tuple[str, str]:
    """The CTEs up to `costed` (who fits a tier, best first, with what all up to there cost), and the test that the budget covers one.

    Running costs only grow, so those who are covered are the first ones of the list, whatever comes behind them.
    """
    keys = range(len(prizes.budget))
    selected = SELECTED.format(
        query=audience.query,
        cost_columns="".join(f", cost_{number} bigint" for number in keys),
        running_costs="".join(f", sum(cost_{number}) OVER best_first AS running_{number}" for number in keys),
    )
    covered = " AND ".join(f"running_{number} <= %(run_limit_{number})s" for number in keys) or "true"
    return selected, covered


def selecting_parameters(prizes: Prizes, ranked: int) -> dict[str, Any]:
    """The parameters of `selecting`, all of which begin with `run_`."""
    tiers = []
    for number, tier in enumerate(prizes.tiers):
        cost = tier_cost(prizes, number)
        high = tier.max_rank if tier.top_percent is None else highest_rank(tier.top_percent, ranked)
        line: dict[str, Any] = {"number": number, "name": tier.name, "low": tier.min_rank, "high": high, "least": tier.min_score}
        tiers.append({**line, **{f"cost_{place}": cost.get(key, 0) for place, key in enumerate(prizes.budget)}})
    limits = {f"run_limit_{place}": limit for place, limit in enumerate(prizes.budget.values())}
    return {"run_tiers": Jsonb(tiers), **limits}


def freezing(audience: Audience, prizes: Prizes) -> str:
    """The one statement that writes the recipients."""
    selected, covered = selecting(audience, prizes)
    return FREEZE.format(selected=selected, covered=covered)


def _freezing_parameters(run: Run, audience: Audience) -> dict[str, Any]:
    named = {"run_tenant_id": run.tenant_id, "run_id": run.payout_run_id}
    return {**named, **selecting_parameters(run.prizes, audience.ranked)}


class Recipient(msgspec.Struct, frozen=True):
    """One of the frozen audience, as a page pays it; `external_user_id` None: the user was erased since."""

    ordinal: int
    user_id: UUID
    external_user_id: str | None
    tier_number: int


PAGE = """
SELECT r.ordinal, r.user_id, CASE WHEN u.external_id <> 'erased:' || u.user_id::text THEN u.external_id END AS external_user_id,
       r.tier_number
FROM payout_recipient AS r LEFT JOIN app_user AS u ON u.tenant_id = r.tenant_id AND u.user_id = r.user_id
WHERE r.tenant_id = %s AND r.payout_run_id = %s AND r.ordinal > %s AND r.ordinal <= %s ORDER BY r.ordinal
"""


async def pay_page(connection: Connection, tenant_id: UUID, run_id: UUID, size: int, now: datetime) -> Progress:
    """Pay the next `size` recipients and move the cursor behind them; nothing happens to a run that is not `paying`.

    A run whose cancellation was asked for is `cancelled` instead. With nobody left it stays `paying`: `finish` ends it.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PAYING:
        return progress_of(run)
    if run.cancel_requested and run.cursor < run.recipients:
        return await _end(connection, run, RunStatus.CANCELLED, now, reason=f"cancelled behind recipient {run.cursor}")
    cursor = await connection.execute(PAGE, (tenant_id, run_id, run.cursor, run.cursor + size))
    page = [Recipient(**row) for row in await cursor.fetchall()]
    if not page:
        return progress_of(run)
    gifts = [
        Gift(each.user_id, each.external_user_id, item_id)
        for each in page
        if each.external_user_id is not None
        for item_id in run.prizes.tiers[each.tier_number].item_ids
    ]
    cause = Cause(source_type=run.source_type, source_id=run.source_id, payout_run_id=run_id, by=BY_RUN)
    given = await give(connection, tenant_id, cause, gifts, items=run.prizes.items, now=now)
    missing: dict[UUID, list[UUID]] = {}
    for user_id, item_id in given.out_of_codes:
        missing.setdefault(user_id, []).append(item_id)
    skipped = await _mark(connection, run, page, missing)
    total = dict(run.total)
    add_to(total, given.total.items())
    paid, last = run.paid + len(page) - skipped, page[-1].ordinal
    await connection.execute(
        """
        UPDATE payout_run SET cursor = %s, paid = %s, skipped = %s, total = %s, updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (last, paid, run.skipped + skipped, Jsonb(total), now, tenant_id, run_id),
    )
    return Progress(status=RunStatus.PAYING, recipients=run.recipients, paid=paid, skipped=run.skipped + skipped)


async def _mark(connection: Connection, run: Run, page: Sequence[Recipient], missing: dict[UUID, list[UUID]]) -> int:
    """Write what became of the page's recipients; how many got nothing."""
    key = (run.tenant_id, run.payout_run_id)
    await connection.execute(
        "UPDATE payout_recipient SET state = 'paid' WHERE tenant_id = %s AND payout_run_id = %s AND ordinal >= %s AND ordinal <= %s",
        (*key, page[0].ordinal, page[-1].ordinal),
    )
    skipped = 0
    for each in page:
        lacks = missing.get(each.user_id, [])
        if each.external_user_id is not None and not lacks:
            continue
        got_nothing = each.external_user_id is None or len(lacks) == len(run.prizes.tiers[each.tier_number].item_ids)
        skipped += got_nothing
        reason = "user_erased" if each.external_user_id is None else "out_of_codes"
        await connection.execute(
            """
            UPDATE payout_recipient SET state = %s, reason = %s, missing = %s WHERE tenant_id = %s AND payout_run_id = %s AND ordinal = %s
            """,
            ("skipped" if got_nothing else "paid", reason, lacks or None, *key, each.ordinal),
        )
    return skipped


async def finish(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Progress:
    """End a run whose recipients are all dealt with: `completed` when grants and transfers are what the audience should have, else
    `failed` with the difference. The window of a completed run is `paid`; subscribers of `payout.completed` are told."""
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PAYING or run.cursor < run.recipients:
        return progress_of(run)
    wanted, given = await _wanted(connection, run), await _given(connection, run)
    if wanted != given or given != run.total:
        reason = f"the totals differ: {_text(wanted)} should have been given, {_text(given)} was, {_text(run.total)} was counted"
        return await _end(connection, run, RunStatus.FAILED, now, reason=reason)
    if run.source_type == "leaderboard":
        await connection.execute(
            "UPDATE leaderboard_window SET status = 'paid' WHERE tenant_id = %s AND window_id = %s AND status = 'closed'",
            (tenant_id, UUID(run.source_id)),
        )
    facts = {
        "schedule_id": None if run.schedule_id is None else str(run.schedule_id),
        "run_id": str(run_id),
        "recipients": run.recipients,
        "paid": run.paid,
        "skipped": run.skipped,
        "total": total_wire(run.prizes, run.total),
    }
    await publish(connection, tenant_id, Notice(event=EVENT, body=event_body(EVENT, facts, now)), now)
    return await _end(connection, run, RunStatus.COMPLETED, now)


def total_wire(prizes: Prizes, total: dict[str, int]) -> dict[str, Any]:
    """A total as JSON values: amounts in the units of their currencies, counts by item id."""
    return {key: amount_number(amount, prizes.places.get(key, 0)) for key, amount in total.items()}


def _text(total: dict[str, int]) -> str:
    return ", ".join(f"{amount} {key}" for key, amount in sorted(total.items())) or "nothing"


async def _wanted(connection: Connection, run: Run) -> dict[str, int]:
    """What those who were paid should have by their tiers, without the items that are written down as missing."""
    key = (run.tenant_id, run.payout_run_id)
    cursor = await connection.execute(
        """
        SELECT tier_number, count(*) AS n FROM payout_recipient
        WHERE tenant_id = %s AND payout_run_id = %s AND state = 'paid' GROUP BY tier_number
        """,
        key,
    )
    total = total_cost(run.prizes, {row["tier_number"]: row["n"] for row in await cursor.fetchall()})
    cursor = await connection.execute(
        """
        SELECT item_id, count(*) AS n FROM payout_recipient CROSS JOIN LATERAL unnest(missing) AS item_id
        WHERE tenant_id = %s AND payout_run_id = %s AND state = 'paid' GROUP BY item_id
        """,
        key,
    )
    add_to(total, [(str(row["item_id"]), -row["n"]) for row in await cursor.fetchall()])
    return {name: amount for name, amount in total.items() if amount}


async def _given(connection: Connection, run: Run) -> dict[str, int]:
    """What the run's grants and the transfers that name them have given."""
    cursor = await connection.execute(
        """
        WITH made AS MATERIALIZED (
            SELECT grant_id, item_id FROM reward_grant
            WHERE tenant_id = %(tenant_id)s AND source_type = %(type)s AND source_id = %(source)s AND payout_run_id = %(run_id)s
        )
        SELECT item_id::text AS key, count(*)::bigint AS amount FROM made GROUP BY item_id
        UNION ALL
        SELECT currency_id, sum(amount)::bigint FROM made JOIN transfer ON transfer.tenant_id = %(tenant_id)s AND cause_type = 'grant'
               AND cause_id = grant_id::text AND kind = 'grant' GROUP BY currency_id
        """,
        {"tenant_id": run.tenant_id, "type": run.source_type, "source": run.source_id, "run_id": run.payout_run_id},
    )
    return {row["key"]: row["amount"] for row in await cursor.fetchall()}


async def _end(connection: Connection, run: Run, status: RunStatus, now: datetime, *, reason: str | None = None) -> Progress:
    await connection.execute(
        """
        UPDATE payout_run SET status = %s, reason = %s, finished_at = %s, updated_at = %s WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (status.value, reason, now, now, run.tenant_id, run.payout_run_id),
    )
    return msgspec.structs.replace(progress_of(run), status=status, reason=reason)


async def fail_run(connection: Connection, tenant_id: UUID, run_id: UUID, reason: str, now: datetime) -> Progress:
    """End a run that cannot go on; a retry takes it up where it is."""
    run = await find_run(connection, tenant_id, run_id, lock=True)
    return progress_of(run) if run.status in OVER else await _end(connection, run, RunStatus.FAILED, now, reason=reason)


async def request_cancel(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """Have the run end before its next page; InvalidState when it is over. What was paid stays paid."""
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status in OVER:
        raise InvalidState(f"The payout run is {run.status.value}", present=run.status.value)
    await connection.execute(
        "UPDATE payout_run SET cancel_requested = true, updated_at = %s WHERE tenant_id = %s AND payout_run_id = %s",
        (now, tenant_id, run_id),
    )
    return msgspec.structs.replace(run, cancel_requested=True)


async def retry_run(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """Take a failed or cancelled run up again where it stopped, in a workflow of its own; InvalidState when it is completed.

    One that is under way stays as it is.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status not in OVER:
        return run
    if run.status is RunStatus.COMPLETED:
        raise InvalidState("The payout run is completed", present=run.status.value)
    status = RunStatus.PLANNING if run.planned_at is None else RunStatus.PAYING
    cursor = await connection.execute(
        f"""
        UPDATE payout_run SET status = %s, reason = NULL, finished_at = NULL, cancel_requested = false, attempt = attempt + 1,
            updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s RETURNING {COLUMNS}
        """,
        (status.value, now, tenant_id, run_id),
    )
    retried = msgspec.convert(await cursor.fetchone(), Run)
    await outbox.enqueue(connection, tenant_id, start_entry(tenant_id, run_id, run.source_type, retried.attempt))
    return retried


async def unfinished_runs(connection: Connection, idle_before: datetime, limit: int) -> list[Run]:
    """Runs of all tenants that are not over and that nobody has touched since: what the sweep compares with Temporal."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE status IN ('planning', 'paying') AND updated_at < %s ORDER BY updated_at LIMIT %s",
        (idle_before, limit),
    )
    return [msgspec.convert(row, Run) for row in await cursor.fetchall()]
