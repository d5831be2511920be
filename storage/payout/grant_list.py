"""Grants in lists: what users got, and for what."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.payout.grant import Grant
from runtime.postgres import Connection

COLUMNS = """grant_id, source_type, source_id, reward_grant.user_id, app_user.external_id AS external_user_id, item_id, payout_run_id, item,
    currency, amount, redemption_id, reason, granted_by, reward_grant.created_at"""


class GrantFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which grants a list shows; None lets everything through. `before` is the cursor: the last id of the page before.

    `without_redemption`: only those that are complete in themselves, for lists that show redemptions beside them.
    """

    user_id: UUID | None = None
    source_type: str | None = None
    source_id: str | None = None
    item_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    without_redemption: bool = False
    grant_id: UUID | None = None
    before: UUID | None = None
    limit: int = 50


async def list_grants(connection: Connection, tenant_id: UUID, wanted: GrantFilter) -> list[Grant]:
    """A page of grants, the newest first."""
    names = ("user_id", "source_type", "source_id", "item_id", "grant_id")
    tests = ["reward_grant.tenant_id = %(tenant_id)s"]
    tests += [f"reward_grant.{name} = %({name})s" for name in names if getattr(wanted, name) is not None]
    more = {
        "created_from": "reward_grant.created_at >= %(created_from)s",
        "created_to": "reward_grant.created_at < %(created_to)s",
        "before": "grant_id < %(before)s",
    }
    tests += [test for name, test in more.items() if getattr(wanted, name) is not None]
    if wanted.without_redemption:
        tests.append("redemption_id IS NULL")
    parameters: dict[str, Any] = {"tenant_id": tenant_id, **msgspec.structs.asdict(wanted)}
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward_grant JOIN app_user USING (tenant_id, user_id)
        WHERE {" AND ".join(tests)} ORDER BY grant_id DESC LIMIT %(limit)s
        """,
        parameters,
    )
    return [msgspec.convert(row, Grant) for row in await cursor.fetchall()]
