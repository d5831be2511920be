"""Redemptions in lists: what people look through, and what the sweep compares with Temporal."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain.redemption.redemption import Redemption
from domain.redemption.redemption_wire import RedemptionAnswer
from runtime.postgres import Connection
from runtime.tasks import in_steps
from storage.redemption.redemption import COLUMNS, documents_of
from storage.walk import FIRST, Place, WalkPage, walk_page


class RedemptionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which redemptions a list shows; None lets everything through. `before` is the cursor: the last id of the page before."""

    user_id: UUID | None = None
    reward_id: UUID | None = None
    status: str | None = None
    source_type: str | None = None
    source_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    flag: str | None = None
    before: UUID | None = None
    limit: int = 50


async def list_redemptions(connection: Connection, tenant_id: UUID, wanted: RedemptionFilter) -> list[RedemptionAnswer]:
    """A page of redemptions as contract 4 shows them, the newest first."""
    return await documents_of(connection, tenant_id, await page_of_redemptions(connection, tenant_id, wanted))


async def page_of_redemptions(connection: Connection, tenant_id: UUID, wanted: RedemptionFilter) -> list[Redemption]:
    """The same page as it is kept, without timelines and deliveries."""
    names = ("user_id", "reward_id", "status", "source_type", "source_id")
    tests = [f"{name} = %({name})s" for name in names if getattr(wanted, name) is not None]
    more = {
        "created_from": "created_at >= %(created_from)s",
        "created_to": "created_at < %(created_to)s",
        # Said twice, so that the index of those that have a flag can be used.
        "flag": "%(flag)s = ANY(flags) AND flags <> '{}'",
        "before": "redemption_id < %(before)s",
    }
    tests += [test for name, test in more.items() if getattr(wanted, name) is not None]
    condition = " AND ".join(["tenant_id = %(tenant_id)s", *tests])
    query = f"SELECT {COLUMNS} FROM redemption WHERE {condition} ORDER BY redemption_id DESC LIMIT %(limit)s"
    cursor = await connection.execute(query, {"tenant_id": tenant_id, **msgspec.structs.asdict(wanted)})
    return await in_steps(await cursor.fetchall(), lambda row: msgspec.convert(row, Redemption))


async def open_redemptions(connection: Connection, idle_before: datetime, after: Place | None, limit: int) -> WalkPage[Redemption, Place]:
    """A page of open redemptions of all tenants, unmoved since `idle_before`: what the sweep compares with Temporal."""
    query = f"""
        SELECT {COLUMNS} FROM redemption
        WHERE status IN ('pending_claim', 'pending_approval', 'pending', 'processing') AND updated_at < %s
          AND (tenant_id, redemption_id) > (%s, %s)
        ORDER BY tenant_id, redemption_id LIMIT %s
        """
    cursor = await connection.execute(query, (idle_before, *(after or FIRST), limit))
    return walk_page(
        await cursor.fetchall(), lambda row: msgspec.convert(row, Redemption), lambda row: (row["tenant_id"], row["redemption_id"])
    )


class Overdue(NamedTuple):
    """A redemption that should have ended; the deadline and the id are its place in the list."""

    deadline_at: datetime
    redemption_id: UUID
    tenant_id: UUID


async def overdue_redemptions(
    connection: Connection, deadline_before: datetime, after: Overdue | None, limit: int
) -> WalkPage[Overdue, Overdue]:
    """A page of the redemptions of all tenants that should have ended before this instant, the oldest deadline first."""
    cursor = await connection.execute(
        """
        SELECT deadline_at, redemption_id, tenant_id FROM redemption
        WHERE status IN ('pending_claim', 'pending_approval', 'pending', 'processing') AND deadline_at < %(before)s
          AND (%(deadline)s::timestamptz IS NULL OR (deadline_at, redemption_id) > (%(deadline)s, %(last)s))
        ORDER BY deadline_at, redemption_id LIMIT %(limit)s
        """,
        {"before": deadline_before, "deadline": after and after.deadline_at, "last": after and after.redemption_id, "limit": limit},
    )
    return walk_page(await cursor.fetchall(), lambda row: Overdue(**row), lambda row: Overdue(**row))
