"""Grants: one item to one user for one cause, given in the transaction of the caller (contract 4, Grant)."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.errors import OutOfStock
from domain.points.ledger import GrantCredit
from domain.redemption.redemption import NewRedemption
from domain.reward.item import ItemCopy
from domain.webhook.body import event_body
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.points import ledger
from storage.redemption.fulfilment import codes
from storage.redemption.redeem import insert_redemptions
from storage.webhook.due_delivery import publish_many

BY_US = frozenset({"wallet", "recorded"})
"""Fulfilments that need no redemption: the wallet is credited at once, a badge is just written down."""
EVENT = "reward_granted"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is given, and who says so."""

    source_type: str
    source_id: str
    by: str
    payout_run_id: UUID | None = None
    reason: str | None = None


class GrantedItem(NamedTuple):
    """An item for a user."""

    user_id: UUID
    external_user_id: str
    item_id: UUID


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What was given now: what each grant gives, their total ({currency: smallest units, item id: count}), and what the pools lacked."""

    grants: dict[UUID, GrantedItem]
    total: dict[str, int]
    out_of_codes: list[tuple[UUID, UUID]]


INSERT = """
INSERT INTO reward_grant (tenant_id, grant_id, source_type, source_id, user_id, item_id, payout_run_id, item, currency, amount,
                          redemption_id, reason, granted_by, created_at)
SELECT %(tenant_id)s, grant_id, %(source_type)s, %(source_id)s, user_id, item_id, %(payout_run_id)s, item, currency, amount,
       redemption_id, %(reason)s, %(by)s, %(now)s
FROM unnest(%(grants)b::uuid[], %(users)b::uuid[], %(items)b::uuid[], %(redemptions)b::uuid[])
         AS given (grant_id, user_id, item_id, redemption_id)
JOIN unnest(%(known)s::uuid[], %(documents)s::jsonb[], %(currencies)s::text[], %(amounts)s::bigint[])
         AS known (item_id, item, currency, amount) USING (item_id)
ORDER BY user_id, item_id
ON CONFLICT (tenant_id, source_type, source_id, user_id, item_id) DO NOTHING
RETURNING grant_id
"""


async def give(
    connection: Connection,
    tenant_id: UUID,
    cause: Cause,
    granted_items: Sequence[GrantedItem],
    *,
    items: Mapping[UUID, ItemCopy],
    now: datetime,
    all_or_none: bool = False,
) -> Given:
    """Give each item once: what its user had for the same cause before is left out.

    A wallet is credited, a badge written down, anything else becomes a redemption without a price. All of a page's accounts are
    locked in one statement, in the order of their ids. `all_or_none`: OutOfStock when a pool has too few codes.
    """
    granted_items = list(dict.fromkeys(granted_items))
    redemptions = {granted_item: new_id() for granted_item in granted_items if items[granted_item.item_id].fulfilment["type"] not in BY_US}
    lacking = await _reserve_codes(connection, tenant_id, redemptions, items=items)
    if lacking and all_or_none:
        raise OutOfStock("This reward is out of stock")
    wanted = {new_id(): (granted_item, redemptions.get(granted_item)) for granted_item in granted_items if granted_item not in lacking}
    made = await _insert(connection, tenant_id, cause, wanted, items=items, now=now)
    await _free_codes(connection, tenant_id, [redemption for grant, (_, redemption) in wanted.items() if grant not in made and redemption])
    grants = {grant_id: granted_item for grant_id, (granted_item, _) in wanted.items() if grant_id in made}
    credited = [
        GrantCredit(user_id=granted_item.user_id, currency_id=item.currency, amount=item.amount or 0, grant_id=grant_id, note=item.name)
        for grant_id, granted_item in grants.items()
        if (item := items[granted_item.item_id]).currency is not None
    ]
    await ledger.post_grants(connection, tenant_id, credited, now)
    opened = [
        _redemption(cause, granted_item, items[granted_item.item_id], redemption_id=redemption_id, now=now)
        for grant_id, granted_item in grants.items()
        if (redemption_id := wanted[grant_id][1]) is not None
    ]
    await insert_redemptions(connection, tenant_id, opened, now)
    await announce(connection, tenant_id, cause, grants, items=items, now=now)
    return Given(
        grants=grants, total=_total(grants, items), out_of_codes=[(granted_item.user_id, granted_item.item_id) for granted_item in lacking]
    )


async def announce(
    connection: Connection,
    tenant_id: UUID,
    cause: Cause,
    grants: Mapping[UUID, GrantedItem],
    *,
    items: Mapping[UUID, ItemCopy],
    now: datetime,
) -> None:
    """Tell whoever asks for `reward_granted` of these grants."""

    def bodies() -> list[tuple[UUID, bytes]]:
        return [(each.user_id, _body(cause, items[each.item_id], grant_id, each, now=now)) for grant_id, each in grants.items()]

    await publish_many(connection, tenant_id, EVENT, bodies, now=now)


async def _reserve_codes(
    connection: Connection, tenant_id: UUID, redemptions: Mapping[GrantedItem, UUID], *, items: Mapping[UUID, ItemCopy]
) -> set[GrantedItem]:
    """Set codes apart for those items that are codes, the first ones first; those that the pools have none for."""
    lacking: set[GrantedItem] = set()
    wanted: dict[UUID, list[GrantedItem]] = {}
    for granted_item in redemptions:
        if items[granted_item.item_id].fulfilment["type"] == "codes":
            wanted.setdefault(granted_item.item_id, []).append(granted_item)
    for item_id, those in wanted.items():
        served = await codes.reserve_many(connection, tenant_id, item_id, [redemptions[granted_item] for granted_item in those])
        lacking |= set(those[served:])
    return lacking


def _total(grants: Mapping[UUID, GrantedItem], items: Mapping[UUID, ItemCopy]) -> dict[str, int]:
    total: dict[str, int] = {}
    for granted_item in grants.values():
        item = items[granted_item.item_id]
        total[str(granted_item.item_id)] = total.get(str(granted_item.item_id), 0) + 1
        if item.currency is not None:
            total[item.currency] = total.get(item.currency, 0) + (item.amount or 0)
    return total


async def _insert(
    connection: Connection,
    tenant_id: UUID,
    cause: Cause,
    wanted: Mapping[UUID, tuple[GrantedItem, UUID | None]],
    *,
    items: Mapping[UUID, ItemCopy],
    now: datetime,
) -> set[UUID]:
    """Write the grants; the ids of those that are new."""
    if not wanted:
        return set()
    known = list({granted_item.item_id for granted_item, _ in wanted.values()})
    cursor = await connection.execute(
        INSERT,
        {
            "tenant_id": tenant_id,
            "source_type": cause.source_type,
            "source_id": cause.source_id,
            "payout_run_id": cause.payout_run_id,
            "reason": cause.reason,
            "by": cause.by,
            "now": now,
            "grants": list(wanted),
            "users": [granted_item.user_id for granted_item, _ in wanted.values()],
            "items": [granted_item.item_id for granted_item, _ in wanted.values()],
            "redemptions": [redemption_id for _, redemption_id in wanted.values()],
            "known": known,
            "documents": [Jsonb(item_document(items[item_id])) for item_id in known],
            "currencies": [items[item_id].currency for item_id in known],
            "amounts": [items[item_id].amount for item_id in known],
        },
    )
    return {row["grant_id"] for row in await cursor.fetchall()}


async def _free_codes(connection: Connection, tenant_id: UUID, redemptions: Sequence[UUID]) -> None:
    """Put back the codes of items that their users had already."""
    if redemptions:
        await connection.execute(
            "UPDATE reward_code SET redemption_id = NULL WHERE tenant_id = %s AND redemption_id = ANY(%s)", (tenant_id, list(redemptions))
        )


def item_document(item: ItemCopy) -> dict[str, Any]:
    """What a grant keeps of its item."""
    return {
        "name": item.name,
        "reward_type": item.reward_type,
        "reward_value": item.reward_value,
        "payload": item.payload,
        "fulfilment": item.fulfilment["type"],
    }


def _redemption(cause: Cause, granted_item: GrantedItem, item: ItemCopy, *, redemption_id: UUID, now: datetime) -> NewRedemption:
    """The redemption of an item that a partner, a pool of codes or a person gives. Its payload is what a user would have filled in."""
    return NewRedemption(
        redemption_id=redemption_id,
        user_id=granted_item.user_id,
        external_user_id=granted_item.external_user_id,
        reward_id=item.item_id,
        reward={"id": str(item.item_id), "slug": None, "name": item.name, "type": item.reward_type, "value": item.reward_value},
        points_spent=0,
        by=cause.by,
        fulfilment=item.fulfilment,
        source_type=cause.source_type,
        source_id=cause.source_id,
        fields=item.payload,
        deadline_at=now + timedelta(seconds=item.fulfilment["deadline_seconds"]),
        note=cause.reason,
    )


def _body(cause: Cause, item: ItemCopy, grant_id: UUID, granted_item: GrantedItem, *, now: datetime) -> bytes:
    facts = {
        "grant_id": str(grant_id),
        "user_id": str(granted_item.user_id),
        "external_user_id": granted_item.external_user_id,
        "item_id": str(granted_item.item_id),
        "reward_type": item.reward_type,
        "reward_value": item.reward_value,
        "source_type": cause.source_type,
        "source_id": cause.source_id,
    }
    return event_body(EVENT, facts, now)
