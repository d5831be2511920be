"""Paying a payout run: page after page, then the totals (contract 4).

A page is one transaction that holds the run's row: what it gives, the recipients' states and the cursor are committed together, so
whoever dies leaves whole pages, and the next one goes on behind the cursor.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from domain.payout.run import PayoutProgress, Run, RunStatus, add_to, total_cost
from domain.payout.run_wire import total_wire
from domain.webhook.body import event_body
from runtime.postgres import Connection
from storage.payout.grant import BY_US, Cause, GrantedItem, give
from storage.payout.page import RecipientPage, pay_by_us
from storage.payout.run import end_run, find_run, progress_of
from storage.webhook.due_delivery import Notice, publish

BY_RUN = "payout run"
EVENT = "payout.completed"


async def pay_page(connection: Connection, tenant_id: UUID, run_id: UUID, size: int, *, now: datetime) -> PayoutProgress:
    """Pay the next `size` recipients and move the cursor behind them; nothing happens to a run that is not `paying`.

    A run whose cancellation was asked for is `cancelled` instead. With nobody left it stays `paying`: `finish` ends it.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PAYING or run.cursor >= run.recipients:
        return progress_of(run)
    if run.cancel_requested:
        return await end_run(connection, run, RunStatus.CANCELLED, now, reason=f"cancelled after recipient {run.cursor}")
    page = RecipientPage(after=run.cursor, last=min(run.cursor + size, run.recipients))
    cause = Cause(source_type=run.source_type, source_id=run.source_id, payout_run_id=run_id, by=BY_RUN)
    given = await pay_by_us(connection, run, cause, page, now=now)
    without, total = await _pay_by_others(connection, run, cause, page, now=now)
    add_to(total, [*run.total.items(), *given.total.items()])
    skipped = run.skipped + given.skipped + without
    paid = run.paid + given.reached - given.skipped - without
    await connection.execute(
        """
        UPDATE payout_run SET cursor = %s, paid = %s, skipped = %s, total = %s, updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (page.last, paid, skipped, Jsonb(total), now, tenant_id, run_id),
    )
    return PayoutProgress(status=RunStatus.PAYING, recipients=run.recipients, paid=paid, skipped=skipped)


async def _pay_by_others(
    connection: Connection, run: Run, cause: Cause, page: RecipientPage, *, now: datetime
) -> tuple[int, dict[str, int]]:
    """Open redemptions of what others hand over; how many of the page get nothing at all because pools ran out, and what was given."""
    others = {
        number: found
        for number, tier in enumerate(run.config.tiers)
        if (found := [item_id for item_id in tier.item_ids if run.config.items[item_id].fulfilment["type"] not in BY_US])
    }
    if not others:
        return 0, {}
    cursor = await connection.execute(
        """
        SELECT user_id, external_user_id, tier_number FROM payout_recipient
        WHERE tenant_id = %s AND payout_run_id = %s AND ordinal > %s AND ordinal <= %s AND state = 'paid' AND tier_number = ANY(%s)
        ORDER BY ordinal
        """,
        (run.tenant_id, run.payout_run_id, page.after, page.last, list(others)),
    )
    granted_items = [
        GrantedItem(row["user_id"], row["external_user_id"], item_id)
        for row in await cursor.fetchall()
        for item_id in others[row["tier_number"]]
    ]
    given = await give(connection, run.tenant_id, cause, granted_items, items=run.config.items, now=now)
    return await _mark(connection, run, page, given.out_of_codes) if given.out_of_codes else 0, given.total


MARK = """
WITH marked AS (
    UPDATE payout_recipient AS r SET reason = 'out_of_codes', missing = lacks.items,
        state = CASE WHEN cardinality(lacks.items) = tier.items THEN 'skipped' ELSE 'paid' END
    FROM (SELECT user_id, array_agg(item_id) AS items FROM unnest(%(users)s::uuid[], %(items)s::uuid[]) AS lack (user_id, item_id)
          GROUP BY user_id) AS lacks,
         unnest(%(sizes)s::integer[]) WITH ORDINALITY AS tier (items, place)
    WHERE r.tenant_id = %(tenant_id)s AND r.payout_run_id = %(run_id)s AND r.ordinal > %(after)s AND r.ordinal <= %(last)s
      AND r.user_id = lacks.user_id AND tier.place = r.tier_number + 1
    RETURNING r.state
)
SELECT count(*) FILTER (WHERE state = 'skipped') AS skipped FROM marked
"""


async def _mark(connection: Connection, run: Run, page: RecipientPage, lacking: Sequence[tuple[UUID, UUID]]) -> int:
    """Write down who did not get what, (user, item); how many of them got nothing."""
    named = {
        "tenant_id": run.tenant_id,
        "run_id": run.payout_run_id,
        "after": page.after,
        "last": page.last,
        "users": [user_id for user_id, _ in lacking],
        "items": [item_id for _, item_id in lacking],
        "sizes": [len(tier.item_ids) for tier in run.config.tiers],
    }
    row = await (await connection.execute(MARK, named)).fetchone()
    return 0 if row is None else int(row["skipped"])


async def finish(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> PayoutProgress:
    """End a run whose recipients are all dealt with: `completed` when grants and transfers are what the audience should have, else
    `failed` with the difference. The window of a completed run is `paid`; subscribers of `payout.completed` are told."""
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status is not RunStatus.PAYING or run.cursor < run.recipients:
        return progress_of(run)
    wanted, given = await _wanted(connection, run), await _given(connection, run)
    if wanted != given or given != run.total:
        return await end_run(
            connection,
            run,
            RunStatus.FAILED,
            now,
            reason=f"the totals differ: {_text(wanted)} should have been given, {_text(given)} was, {_text(run.total)} was counted",
        )
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
        "total": total_wire(run.config, run.total),
    }
    await publish(connection, tenant_id, Notice(event=EVENT, body=event_body(EVENT, facts, now)), now)
    return await end_run(connection, run, RunStatus.COMPLETED, now, reason=run.reason)


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
    total = total_cost(run.config, {row["tier_number"]: row["n"] for row in await cursor.fetchall()})
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
