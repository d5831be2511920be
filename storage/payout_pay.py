"""Paying a payout run: page after page, then the totals (contract 4).

A page is one transaction that holds the run's row: what it gives, the recipients' states and the cursor are committed together, so
whoever dies leaves whole pages, and the next one goes on behind the cursor.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.payout import Progress, Run, RunStatus, add_to, total_cost
from domain.payout_wire import total_wire
from domain.webhook_body import event_body
from runtime.postgres import Connection
from storage.due_delivery import Notice, publish
from storage.grant import Cause, Gift, give
from storage.payout import end_run, find_run, progress_of

BY_RUN = "payout run"
EVENT = "payout.completed"


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
        return await end_run(connection, run, RunStatus.CANCELLED, now, reason=f"cancelled behind recipient {run.cursor}")
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
        return await end_run(connection, run, RunStatus.FAILED, now, reason=reason)
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
    return await end_run(connection, run, RunStatus.COMPLETED, now)


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
        SELECT currency_id, sum(amount)::bigint FROM made CROSS JOIN LATERAL (
            -- For each grant by itself: a planner that does not know yet how large these tables have become would compare all with all.
            SELECT currency_id, amount FROM transfer
            WHERE tenant_id = %(tenant_id)s AND cause_type = 'grant' AND cause_id = made.grant_id::text AND kind = 'grant' OFFSET 0
        ) AS moved GROUP BY currency_id
        """,
        {"tenant_id": run.tenant_id, "type": run.source_type, "source": run.source_id, "run_id": run.payout_run_id},
    )
    return {row["key"]: row["amount"] for row in await cursor.fetchall()}
