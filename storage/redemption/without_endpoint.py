"""Redemptions that wait for an endpoint: nobody took `reward_redeemed` when they were to be sent (flag `no_endpoint`).

An endpoint that comes and a redemption that finds none may meet: who looks once more holds the tenant's lock shared, who brings an
endpoint holds it alone, so one of the two sees the other.
"""

from uuid import UUID

from domain.redemption.redemption import RedemptionFlag
from domain.webhook.webhook import Endpoint
from runtime.postgres import Connection, count_changed, notify
from storage import outbox

LOCK = "hashtextextended('endpoints:' || %s::text, 0)"


async def lock_endpoints(connection: Connection, tenant_id: UUID, *, shared: bool = False) -> None:
    """Until commit: alone to bring an endpoint, shared to say that there is none. Take it before the endpoint's row."""
    kind = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    await connection.execute(f"SELECT {kind}({LOCK})".encode(), (tenant_id,))


async def resume_without_endpoint(connection: Connection, tenant_id: UUID, endpoint: Endpoint) -> int:
    """Tell the workflows of the redemptions that this endpoint can take now; answers how many. Hold the lock."""
    if not endpoint.enabled:
        return 0
    changed = await count_changed(
        connection,
        """
        INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, created_at, due_at)
        SELECT tenant_id, 'update', 'redemption:' || tenant_id || ':' || redemption_id, 'resume:' || gen_random_uuid(), '{}',
               clock_timestamp(), clock_timestamp()
        FROM redemption
        WHERE tenant_id = %(tenant_id)s AND flags <> '{}' AND %(flag)s = ANY (flags) AND status IN ('pending', 'processing')
          AND CASE WHEN fulfilment ->> 'endpoint_id' IS NULL THEN %(takes_all)s ELSE fulfilment ->> 'endpoint_id' = %(endpoint_id)s END
        ORDER BY redemption_id
        """,
        {
            "tenant_id": tenant_id,
            "flag": RedemptionFlag.NO_ENDPOINT.value,
            "takes_all": not {"*", "reward_redeemed"}.isdisjoint(endpoint.events),
            "endpoint_id": str(endpoint.endpoint_id),
        },
    )
    if changed > 0:
        await notify(connection, outbox.CHANNEL)
    return changed


async def found_endpoint(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> None:
    """Take the flag away: the redemption has an endpoint to be sent to."""
    await connection.execute(
        "UPDATE redemption SET flags = array_remove(flags, %(flag)s) WHERE tenant_id = %(tenant_id)s AND redemption_id = %(id)s"
        " AND %(flag)s = ANY (flags)",
        {"flag": RedemptionFlag.NO_ENDPOINT.value, "tenant_id": tenant_id, "id": redemption_id},
    )


async def abandon_delivery(connection: Connection, tenant_id: UUID, redemption_id: UUID, delivery_id: UUID) -> None:
    """End the delivery whose endpoint is archived, so that the redemption is sent to another one, or flagged. Lock both before."""
    await connection.execute(
        """
        UPDATE webhook_delivery SET state = 'cancelled', next_attempt_at = NULL, updated_at = clock_timestamp()
        WHERE tenant_id = %s AND delivery_id = %s AND state IN ('pending', 'held')
        """,
        (tenant_id, delivery_id),
    )
    await connection.execute(
        "UPDATE redemption SET fulfilment = fulfilment - 'delivery_id' WHERE tenant_id = %s AND redemption_id = %s"
        " AND fulfilment ->> 'delivery_id' = %s",
        (tenant_id, redemption_id, str(delivery_id)),
    )
