"""What a page of a payout gives by itself, in two statements whatever its size: wallets are credited, badges written down.

What a partner, a pool of codes or a person gives is not here: `storage.payout.grant.give` makes redemptions of it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.payout.run import Run
from domain.points.ledger import POINTS
from domain.reward.item import ItemCopy
from runtime.postgres import Connection
from storage.payout.grant import BY_US, EVENT, Cause, GrantedItem, announce, item_document
from storage.points.credit import CREDITING
from storage.points.tier import review_tiers, tier_sets
from storage.webhook.due_delivery import is_asked_for


class RecipientPage(msgspec.Struct, frozen=True, kw_only=True):
    """The recipients behind `after` up to `last`, by their ordinals."""

    after: int
    last: int


class PagePaid(msgspec.Struct, frozen=True, kw_only=True):
    """How many recipients the page reached, how many of them were erased since or have a full balance, and what was given: {currency:
    smallest units, item id: count}."""

    reached: int
    skipped: int
    total: dict[str, int]


IN_PAGE = "r.tenant_id = %(tenant_id)s AND r.payout_run_id = %(run_id)s AND r.ordinal > %(after)s AND r.ordinal <= %(last)s"
# OFFSET 0: one look into the index for each row. The tables of a tenant that has just come have no statistics to plan anything else by.
IS_THERE = """EXISTS (SELECT FROM app_user AS u WHERE u.tenant_id = r.tenant_id AND u.user_id = r.user_id
            AND u.external_id <> 'erased:' || u.user_id::text OFFSET 0)"""

MAKE_ACCOUNTS = f"""
INSERT INTO account (tenant_id, account_id, user_id, currency_id, created_at)
SELECT r.tenant_id, uuidv7(), r.user_id, wallet.currency, %(now)s
FROM payout_recipient AS r
JOIN unnest(%(wallet_tiers)s::smallint[], %(wallets)s::text[]) AS wallet (tier_number, currency) USING (tier_number)
WHERE {IN_PAGE} AND {IS_THERE} AND NOT EXISTS (
    SELECT FROM account AS known
    WHERE known.tenant_id = r.tenant_id AND known.user_id = r.user_id AND known.currency_id = wallet.currency OFFSET 0)
ORDER BY r.user_id, wallet.currency
ON CONFLICT (tenant_id, user_id, currency_id) DO NOTHING
"""

PAY = f"""
WITH page AS (
    UPDATE payout_recipient AS r SET (state, reason) = (
        SELECT CASE WHEN is_there AND NOT is_full THEN 'paid' ELSE 'skipped' END,
               CASE WHEN NOT is_there THEN 'user_erased' WHEN is_full THEN 'balance_full' END
        FROM (SELECT {IS_THERE}, r.user_id = ANY(%(full)s::uuid[])) AS looked_up (is_there, is_full))
    WHERE {IN_PAGE} RETURNING r.user_id, r.tier_number, r.state
), tier_item AS (
    SELECT * FROM unnest(%(tiers)s::smallint[], %(items)s::uuid[], %(documents)s::jsonb[], %(currencies)s::text[], %(amounts)s::bigint[])
         AS tier_item (tier_number, item_id, item, currency, amount)
), granted AS (
    INSERT INTO reward_grant (tenant_id, grant_id, source_type, source_id, user_id, item_id, payout_run_id, item, currency, amount,
                              reason, granted_by, created_at)
    SELECT %(tenant_id)s, uuidv7(), %(source_type)s, %(source_id)s, user_id, item_id, %(run_id)s, item, currency, amount, %(reason)s,
           %(by)s, %(now)s
    FROM page JOIN tier_item USING (tier_number) WHERE state = 'paid' ORDER BY user_id, item_id
    ON CONFLICT (tenant_id, source_type, source_id, user_id, item_id) DO NOTHING
    RETURNING tenant_id, grant_id, user_id, item_id, item ->> 'name' AS name, currency, amount
), given AS MATERIALIZED (
    SELECT uuidv7() AS transfer_id, tenant_id, user_id, currency AS currency_id, amount, 'grant' AS kind, 'grant' AS cause_type,
           grant_id::text AS cause_id, name AS note, NULL::uuid AS debit_account_id, NULL::uuid AS reverses
    FROM granted WHERE currency IS NOT NULL
), {CREDITING}, given_of AS (
    SELECT item_id::text AS key, count(*)::bigint AS amount FROM granted GROUP BY item_id
    UNION ALL SELECT currency, sum(amount)::bigint FROM granted WHERE currency IS NOT NULL GROUP BY currency
)
SELECT (SELECT count(*) FROM page) AS reached, (SELECT count(*) FROM page WHERE state = 'skipped') AS skipped,
       (SELECT count(*) FROM given) AS credits, (SELECT count(*) FROM posted) AS transfers,
       coalesce((SELECT jsonb_object_agg(key, amount) FROM given_of), '{{}}') AS total,
       (SELECT array_agg(user_id) FROM full_ones JOIN locked USING (tenant_id, account_id)) AS full_users
"""

USERS_OF_PAGE = f"SELECT r.user_id FROM payout_recipient AS r WHERE {IN_PAGE} AND r.state = 'paid'"

GRANTS_OF_PAGE = f"""
SELECT made.grant_id, made.user_id, r.external_user_id, made.item_id FROM payout_recipient AS r CROSS JOIN LATERAL (
    SELECT grant_id, user_id, item_id FROM reward_grant AS g
    WHERE g.tenant_id = r.tenant_id AND g.source_type = %(source_type)s AND g.source_id = %(source_id)s AND g.user_id = r.user_id
      AND g.payout_run_id = r.payout_run_id OFFSET 0
) AS made WHERE {IN_PAGE} ORDER BY r.ordinal
"""


async def pay_by_us(connection: Connection, run: Run, cause: Cause, page: RecipientPage, *, now: datetime) -> PagePaid:
    """Mark the page's recipients and give them what needs nobody else; lock the run before.

    What a user had for the same cause before is left out, of the grants as of the credits. Accounts are locked in the order of their
    ids, tiers follow, `reward_granted` is told to whoever asks for it.
    """
    granted_items = [
        (number, run.config.items[item_id])
        for number, tier in enumerate(run.config.tiers)
        for item_id in tier.item_ids
        if run.config.items[item_id].fulfilment["type"] in BY_US
    ]
    named = _parameters(run, cause, page, now) | _item_parameters(granted_items)
    wallets = sorted({(number, item.currency) for number, item in granted_items if item.currency is not None})
    if wallets:
        given = {"wallet_tiers": [number for number, _ in wallets], "wallets": [currency for _, currency in wallets]}
        await connection.execute(MAKE_ACCOUNTS, named | given)
    row = await _pay(connection, named)
    if row is None or row["credits"] != row["transfers"]:
        raise RuntimeError(f"a page of {run.payout_run_id} made other transfers than credits: {row}")
    if any(currency == POINTS for _, currency in wallets):
        await _review_tiers(connection, run.tenant_id, named, now)
    if granted_items and await is_asked_for(connection, run.tenant_id, EVENT):
        cursor = await connection.execute(GRANTS_OF_PAGE, named)
        grants = {each.pop("grant_id"): GrantedItem(**each) for each in await cursor.fetchall()}
        await announce(connection, run.tenant_id, cause, grants, items=run.config.items, now=now)
    return PagePaid(reached=row["reached"], skipped=row["skipped"], total=row["total"])


class _Full(Exception):
    """Balances of these users would have more than a JSON number carries: the page is undone, and paid without them."""

    def __init__(self, users: list[UUID]) -> None:
        super().__init__()
        self.users = users


async def _pay(connection: Connection, named: dict[str, object]) -> dict[str, Any] | None:
    full: list[UUID] = []
    while True:
        try:
            async with connection.transaction():
                row = await (await connection.execute(PAY, named | {"full": full})).fetchone()
                if row is not None and row["full_users"]:
                    raise _Full(row["full_users"])
                return row
        except _Full as error:
            full += error.users


async def _review_tiers(connection: Connection, tenant_id: UUID, named: dict[str, object], now: datetime) -> None:
    known = (await tier_sets(connection, [tenant_id])).get(tenant_id)
    if known is not None and known.tiers.tiers:
        users = await (await connection.execute(USERS_OF_PAGE, named)).fetchall()
        await review_tiers(connection, tenant_id, [each["user_id"] for each in users], now, known=known)


def _parameters(run: Run, cause: Cause, page: RecipientPage, now: datetime) -> dict[str, object]:
    return {
        "tenant_id": run.tenant_id,
        "run_id": run.payout_run_id,
        "after": page.after,
        "last": page.last,
        "source_type": cause.source_type,
        "source_id": cause.source_id,
        "reason": cause.reason,
        "by": cause.by,
        "now": now,
    }


def _item_parameters(granted_items: Sequence[tuple[int, ItemCopy]]) -> dict[str, object]:
    return {
        "tiers": [number for number, _ in granted_items],
        "items": [item.item_id for _, item in granted_items],
        "documents": [Jsonb(item_document(item)) for _, item in granted_items],
        "currencies": [item.currency for _, item in granted_items],
        "amounts": [item.amount for _, item in granted_items],
    }
