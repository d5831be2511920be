"""Redemptions are read here: one of them, locked or not, and what contract 4 shows of it."""

from uuid import UUID

import msgspec

from domain.errors import RedemptionNotFound
from domain.redemption.redemption import DeliveryLine, Redemption, TimelineRow
from domain.redemption.redemption_wire import RedemptionAnswer, redemption_answer
from runtime.postgres import Connection
from runtime.tasks import in_steps

COLUMNS = """tenant_id, redemption_id, user_id, external_user_id, reward_id, reward, variant_id, source_type, source_id, status, flags,
    points_spent, currency, decimal_places, takes_stock, stock_variant_id, fields, fulfillment_data, failure_reason, fulfilment,
    created_at, updated_at, fulfilled_at, deadline_at"""


async def lock_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> Redemption:
    """The redemption, its row locked until commit; raises RedemptionNotFound."""
    return await _read(connection, tenant_id, redemption_id, "FOR UPDATE")


async def find_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> Redemption:
    """The redemption as it is; raises RedemptionNotFound, also for another tenant's id."""
    return await _read(connection, tenant_id, redemption_id, "")


async def _read(connection: Connection, tenant_id: UUID, redemption_id: UUID, lock: str) -> Redemption:
    query = f"SELECT {COLUMNS} FROM redemption WHERE tenant_id = %s AND redemption_id = %s {lock}"
    cursor = await connection.execute(query, (tenant_id, redemption_id))
    row = await cursor.fetchone()
    if row is None:
        raise RedemptionNotFound("Redemption not found")
    return msgspec.convert(row, Redemption)


async def document_of(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> RedemptionAnswer:
    """The redemption as contract 4 shows it, with its timeline and deliveries; raises RedemptionNotFound."""
    redemption = await find_redemption(connection, tenant_id, redemption_id)
    return (await documents_of(connection, tenant_id, [redemption]))[0]


async def documents_of(connection: Connection, tenant_id: UUID, redemptions: list[Redemption]) -> list[RedemptionAnswer]:
    """These redemptions as contract 4 shows them, in their order."""
    ids = [redemption.redemption_id for redemption in redemptions]
    cursor = await connection.execute(
        """
        SELECT redemption_id, at, from_status, to_status, by, note FROM redemption_move
        WHERE tenant_id = %s AND redemption_id = ANY(%s) ORDER BY redemption_id, number
        """,
        (tenant_id, ids),
    )
    timelines: dict[UUID, list[TimelineRow]] = {identity: [] for identity in ids}
    for row in await cursor.fetchall():
        timelines[row.pop("redemption_id")].append(TimelineRow(**row))
    cursor = await connection.execute(
        """
        SELECT redemption_id, delivery_id, state, attempts, last_status, next_attempt_at FROM webhook_delivery
        WHERE tenant_id = %s AND delivery_id = ANY(%s) ORDER BY delivery_id
        """,
        (tenant_id, [UUID(each.fulfilment["delivery_id"]) for each in redemptions if "delivery_id" in each.fulfilment]),
    )
    deliveries: dict[UUID, list[DeliveryLine]] = {identity: [] for identity in ids}
    for row in await cursor.fetchall():
        deliveries[row.pop("redemption_id")].append(DeliveryLine(**row))
    return await in_steps(redemptions, lambda each: redemption_answer(each, timelines[each.redemption_id], deliveries[each.redemption_id]))
