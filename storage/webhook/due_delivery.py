"""What the endpoints' pumps send: due deliveries, written in the transaction of their cause, and how a pump takes them.

The fulfilment webhook is not among them until somebody resends it: the redemption's workflow sends it (contract 5).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from domain.webhook.webhook import Delivery, DeliveryState, Endpoint, endpoint_workflow_id
from runtime.ids import new_id
from runtime.postgres import Connection, notify
from storage import outbox
from storage.walk import FIRST, Place, WalkPage, walk_page
from storage.webhook.delivery import COLUMNS, Attempt, Trigger, claim_attempt, delivery_in

CHANNEL = "laurel_deliveries"
WORKFLOW = "EndpointWorkflow"
PRIORITY = 1
"""Ahead of everybody's orders, which would keep a new endpoint from its pump for as long as they queue. It takes a moment in 11 hours."""
LEASE = timedelta(seconds=30)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An event for whoever asks for it. `user_id` is whom it is about, where that is no redemption; `except_endpoint` gets its own by
    another way."""

    event: str
    body: bytes
    redemption_id: UUID | None = None
    user_id: UUID | None = None
    except_endpoint: UUID | None = None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that a pump has taken, with the record of the attempt it is about to make."""

    delivery: Delivery
    trigger: Trigger
    attempt: Attempt


async def publish(connection: Connection, tenant_id: UUID, notice: Notice, now: datetime) -> list[UUID]:
    """Make a due delivery for each endpoint that asks for the event, held where the endpoint is disabled; answers their ids."""
    cursor = await connection.execute(
        """
        SELECT endpoint_id, enabled FROM webhook_endpoint
        WHERE tenant_id = %s AND archived_at IS NULL AND events && ARRAY['*', %s] AND endpoint_id IS DISTINCT FROM %s
        ORDER BY endpoint_id
        """,
        (tenant_id, notice.event, notice.except_endpoint),
    )
    made = []
    for row in await cursor.fetchall():
        state = DeliveryState.PENDING if row["enabled"] else DeliveryState.HELD
        made.append(await _insert(connection, tenant_id, (row["endpoint_id"], state, "scheduled"), notice, now=now))
    return made


async def is_asked_for(connection: Connection, tenant_id: UUID, event: str) -> bool:
    """Whether an endpoint of the tenant asks for the event."""
    cursor = await connection.execute(
        "SELECT FROM webhook_endpoint WHERE tenant_id = %s AND archived_at IS NULL AND events && ARRAY['*', %s] LIMIT 1", (tenant_id, event)
    )
    return await cursor.fetchone() is not None


async def publish_many(
    connection: Connection, tenant_id: UUID, event: str, bodies: Callable[[], list[tuple[UUID, bytes]]], *, now: datetime
) -> None:
    """The same for many events of one kind, in a statement for each endpoint. `bodies`, each with the user it is about, is asked only when
    somebody listens."""
    cursor = await connection.execute(
        """
        SELECT endpoint_id, enabled FROM webhook_endpoint
        WHERE tenant_id = %s AND archived_at IS NULL AND events && ARRAY['*', %s] ORDER BY endpoint_id
        """,
        (tenant_id, event),
    )
    endpoints = await cursor.fetchall()
    made = bodies() if endpoints else []
    for row in endpoints if made else ():
        await connection.execute(
            """
            INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, user_id, body, state, due_at, due_trigger,
                created_at, updated_at)
            SELECT %(tenant_id)s, delivery_id, %(endpoint_id)s, %(event)s, user_id, body, %(state)s, %(now)s, 'scheduled', %(now)s, %(now)s
            FROM unnest(%(ids)b::uuid[], %(users)b::uuid[], %(bodies)b::bytea[]) AS given (delivery_id, user_id, body)
            """,
            {
                "tenant_id": tenant_id,
                "endpoint_id": row["endpoint_id"],
                "event": event,
                "state": (DeliveryState.PENDING if row["enabled"] else DeliveryState.HELD).value,
                "now": now,
                "ids": [new_id() for _ in made],
                "users": [user_id for user_id, _ in made],
                "bodies": [body for _, body in made],
            },
        )
        await wake_pump(connection, tenant_id, row["endpoint_id"])


async def was_published(connection: Connection, tenant_id: UUID, redemption_id: UUID, event: str) -> bool:
    """Whether the redemption has a delivery of this event already."""
    cursor = await connection.execute(
        "SELECT 1 FROM webhook_delivery WHERE tenant_id = %s AND redemption_id = %s AND event = %s LIMIT 1",
        (tenant_id, redemption_id, event),
    )
    return await cursor.fetchone() is not None


async def publish_test(connection: Connection, tenant_id: UUID, endpoint_id: UUID, body: bytes, *, now: datetime) -> UUID:
    """Make a due `webhook.test` for this endpoint, whatever it asks for; answers the delivery's id."""
    notice = Notice(event="webhook.test", body=body)
    return await _insert(connection, tenant_id, (endpoint_id, DeliveryState.PENDING, "test"), notice, now=now)


async def _insert(
    connection: Connection, tenant_id: UUID, target: tuple[UUID, DeliveryState, Trigger], notice: Notice, *, now: datetime
) -> UUID:
    delivery_id = new_id()
    endpoint_id, state, trigger = target
    await connection.execute(
        """
        INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, redemption_id, user_id, body, state, due_at, due_trigger,
            created_at, updated_at)
        VALUES (%(tenant_id)s, %(delivery_id)s, %(endpoint_id)s, %(event)s, %(redemption_id)s, %(user_id)s, %(body)s, %(state)s, %(now)s,
            %(trigger)s, %(now)s, %(now)s)
        """,
        {
            "tenant_id": tenant_id,
            "delivery_id": delivery_id,
            "endpoint_id": endpoint_id,
            "event": notice.event,
            "redemption_id": notice.redemption_id,
            "user_id": notice.user_id,
            "body": notice.body,
            "state": state.value,
            "now": now,
            "trigger": trigger,
        },
    )
    await wake_pump(connection, tenant_id, endpoint_id)
    return delivery_id


async def wake_pump(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> None:
    """Behind the commit: the endpoint has its workflow, and its pump looks at what is due."""
    await outbox.enqueue_once(connection, tenant_id, pump_entry(tenant_id, endpoint_id))
    await notify(connection, CHANNEL, str(endpoint_id))


def pump_entry(tenant_id: UUID, endpoint_id: UUID) -> outbox.OutboxCommand:
    """The command that starts an endpoint's workflow; a second one changes nothing."""
    return outbox.OutboxCommand(
        kind="start",
        workflow_id=endpoint_workflow_id(tenant_id, endpoint_id),
        name=WORKFLOW,
        argument={
            "argument": {"tenant_id": str(tenant_id), "endpoint_id": str(endpoint_id)},
            "attributes": {"TenantId": str(tenant_id), "EndpointId": str(endpoint_id)},
            "page": f"/console/webhooks/{endpoint_id}",
            "summary": "Deliveries to one endpoint",
            "task_queue": "endpoints",
            "priority": PRIORITY,
        },
    )


async def lock_due(connection: Connection, tenant_id: UUID, endpoint_id: UUID, limit: int, *, now: datetime) -> list[UUID]:
    """Up to `limit` due deliveries of an enabled endpoint, those that wait longest first, locked until commit.

    What somebody else has locked is left out. One that is `held` is due like any other: its cause may have committed behind the enabling.
    """
    cursor = await connection.execute(
        """
        SELECT delivery_id FROM webhook_delivery WHERE tenant_id = %s AND endpoint_id = %s AND due_at <= %s
        ORDER BY due_at, delivery_id LIMIT %s FOR UPDATE SKIP LOCKED
        """,
        (tenant_id, endpoint_id, now, limit),
    )
    return [row["delivery_id"] for row in await cursor.fetchall()]


async def claim_due(
    connection: Connection,
    tenant_id: UUID,
    endpoint: Endpoint,
    locked: Sequence[UUID],
    *,
    now: datetime,
    spare: timedelta = timedelta(0),
) -> list[Claimed]:
    """Take these deliveries, which `lock_due` gave, and record their attempts.

    A claim is taken over when its worker has not answered in time; the same number is sent again then. `spare` is the time that the
    sends wait for their turns.
    """
    lease = timedelta(seconds=endpoint.timeout_seconds) + LEASE + spare
    cursor = await connection.execute(
        f"""
        UPDATE webhook_delivery SET due_at = %(until)s, updated_at = %(now)s
        WHERE tenant_id = %(tenant_id)s AND delivery_id = ANY(%(locked)s)
        RETURNING {COLUMNS}, due_trigger
        """,
        {"until": now + lease, "now": now, "tenant_id": tenant_id, "locked": list(locked)},
    )
    taken = [(row.pop("due_trigger"), delivery_in(row)) for row in await cursor.fetchall()]
    claimed = []
    for trigger, delivery in sorted(taken, key=lambda each: each[1].delivery_id):
        number = await _number_of_next(connection, tenant_id, delivery.delivery_id)
        attempt = await claim_attempt(connection, tenant_id, delivery.delivery_id, number, url=endpoint.url, now=now, trigger=trigger)
        claimed.append(Claimed(delivery=delivery, trigger=trigger, attempt=attempt))
    return claimed


async def _number_of_next(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> int:
    """The number of the attempt whose worker died, else one more than the last."""
    cursor = await connection.execute(
        """
        SELECT max(number) FILTER (WHERE ended_at IS NULL) AS lost, coalesce(max(number), 0) AS last FROM webhook_attempt
        WHERE tenant_id = %s AND delivery_id = %s
        """,
        (tenant_id, delivery_id),
    )
    row = await cursor.fetchone()
    return 1 if row is None else row["lost"] or row["last"] + 1


async def withdraw_claim(connection: Connection, tenant_id: UUID, claimed: tuple[Delivery, Attempt], due_at: datetime | None) -> None:
    """Take back a claim of which nothing was sent, so that it is no attempt; `due_at` None when it is never to be sent.

    An attempt that a dead worker left behind stays in the log: it may have been sent.
    """
    delivery, attempt = claimed
    if attempt.started_at == delivery.updated_at:
        await connection.execute(
            "DELETE FROM webhook_attempt WHERE tenant_id = %s AND delivery_id = %s AND number = %s AND ended_at IS NULL",
            (tenant_id, delivery.delivery_id, attempt.number),
        )
    await connection.execute(
        """
        UPDATE webhook_delivery AS delivery SET due_at = %(due)s::timestamptz, updated_at = clock_timestamp(),
            due_trigger = CASE WHEN %(due)s::timestamptz IS NULL THEN NULL ELSE due_trigger END,
            state = CASE WHEN %(due)s::timestamptz IS NULL AND state IN ('pending', 'held') THEN 'superseded' ELSE state END,
            attempts = (SELECT coalesce(max(number), 0) FROM webhook_attempt AS attempt
                        WHERE attempt.tenant_id = delivery.tenant_id AND attempt.delivery_id = delivery.delivery_id)
        WHERE tenant_id = %(tenant_id)s AND delivery_id = %(delivery_id)s AND due_at IS NOT NULL
        """,
        {"due": due_at, "tenant_id": tenant_id, "delivery_id": delivery.delivery_id},
    )


async def next_due(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> datetime | None:
    """When the next delivery of an enabled endpoint is due, None when nothing is."""
    cursor = await connection.execute(
        "SELECT min(due_at) AS due FROM webhook_delivery WHERE tenant_id = %s AND endpoint_id = %s AND due_at IS NOT NULL",
        (tenant_id, endpoint_id),
    )
    row = await cursor.fetchone()
    return None if row is None else row["due"]


async def reserve_send_slots(
    connection: Connection, tenant_id: UUID, endpoint_id: UUID, count: int, *, spacing: timedelta, now: datetime
) -> datetime:
    """The instant of the first of `count` sends, each `spacing` after the one before; reserved for the caller alone."""
    cursor = await connection.execute(
        """
        UPDATE webhook_endpoint SET next_turn_at = greatest(coalesce(next_turn_at, %(now)s), %(now)s) + %(taken)s
        WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s RETURNING next_turn_at - %(taken)s AS turn
        """,
        {"now": now, "taken": spacing * count, "tenant_id": tenant_id, "endpoint_id": endpoint_id},
    )
    row = await cursor.fetchone()
    return now if row is None else row["turn"]


async def make_due(connection: Connection, tenant_id: UUID, endpoint_id: UUID, delivery_ids: Sequence[UUID], *, now: datetime) -> None:
    """Have these deliveries sent once more by hand; their states stay until the answer is there. What is due already stays as it is."""
    await connection.execute(
        """
        UPDATE webhook_delivery SET due_at = %s, due_trigger = 'manual', updated_at = %s
        WHERE tenant_id = %s AND delivery_id = ANY(%s) AND due_at IS NULL
        """,
        (now, now, tenant_id, list(delivery_ids)),
    )
    await wake_pump(connection, tenant_id, endpoint_id)


async def exhausted_since(connection: Connection, tenant_id: UUID, endpoint_id: UUID, since: datetime) -> list[UUID]:
    """The endpoint's deliveries made since this instant that have failed and are not being sent again.

    Tests are not among them, nor what comes too late (`domain.redemption.redemption.is_too_late`): what was refunded must not be fulfilled.
    """
    cursor = await connection.execute(
        """
        SELECT delivery_id FROM webhook_delivery AS delivery
        WHERE tenant_id = %s AND endpoint_id = %s AND state = 'exhausted' AND created_at >= %s AND due_at IS NULL
          AND event <> 'webhook.test'
          AND NOT (event = 'reward_redeemed' AND EXISTS (
            SELECT 1 FROM redemption WHERE redemption.tenant_id = delivery.tenant_id AND redemption.redemption_id = delivery.redemption_id
              AND redemption.status NOT IN ('pending_claim', 'pending_approval', 'pending', 'processing')
              AND (redemption.status <> 'fulfilled' OR redemption.fulfilment ->> 'delivery_id' = delivery.delivery_id::text)))
        ORDER BY delivery_id FOR UPDATE
        """,
        (tenant_id, endpoint_id, since),
    )
    return [row["delivery_id"] for row in await cursor.fetchall()]


async def hurry_waiting(connection: Connection, tenant_id: UUID, endpoint_id: UUID, since: datetime, *, now: datetime) -> int:
    """Let the deliveries made since this instant that wait for their next attempt have it now; answers how many.

    No attempt is added to any: those that a redemption's workflow sends are told to go on, the others are due.
    """
    copies = await connection.execute(
        """
        UPDATE webhook_delivery SET due_at = %(now)s, next_attempt_at = %(now)s, updated_at = %(now)s
        WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s AND state = 'pending' AND created_at >= %(since)s
          AND due_trigger = 'scheduled' AND due_at > %(now)s AND next_attempt_at > %(now)s RETURNING 1
        """,
        {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "since": since, "now": now},
    )
    told = await connection.execute(
        """
        INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, created_at, due_at)
        SELECT tenant_id, 'update', 'redemption:' || tenant_id || ':' || redemption_id, 'resume:' || gen_random_uuid(), '{}',
               clock_timestamp(), clock_timestamp()
        FROM webhook_delivery
        WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s AND state = 'pending' AND created_at >= %(since)s
          AND event = 'reward_redeemed' AND due_at IS NULL AND next_attempt_at > %(now)s
        ORDER BY delivery_id RETURNING 1
        """,
        {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "since": since, "now": now},
    )
    await notify(connection, outbox.CHANNEL)
    await wake_pump(connection, tenant_id, endpoint_id)
    return len(await copies.fetchall()) + len(await told.fetchall())


async def tests_since(connection: Connection, tenant_id: UUID, endpoint_id: UUID, since: datetime) -> int:
    """How many tests of the endpoint were asked for since this instant; the endpoint's row is locked, so that the count holds."""
    await connection.execute(
        "SELECT 1 FROM webhook_endpoint WHERE tenant_id = %s AND endpoint_id = %s FOR NO KEY UPDATE", (tenant_id, endpoint_id)
    )
    cursor = await connection.execute(
        """
        SELECT count(*) AS tests FROM webhook_delivery
        WHERE tenant_id = %s AND endpoint_id = %s AND event = 'webhook.test' AND created_at >= %s
        """,
        (tenant_id, endpoint_id, since),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["tests"])


async def overdue_endpoints(connection: Connection, due_before: datetime, after: Place | None, limit: int) -> WalkPage[Place, Place]:
    """A page of the enabled endpoints of all tenants, as (tenant, endpoint), with a delivery that nobody took: is their workflow lost?"""
    cursor = await connection.execute(
        """
        SELECT DISTINCT delivery.tenant_id, delivery.endpoint_id FROM webhook_delivery AS delivery
        JOIN webhook_endpoint AS endpoint USING (tenant_id, endpoint_id)
        WHERE delivery.due_at < %s AND endpoint.enabled AND endpoint.archived_at IS NULL
          AND (delivery.tenant_id, delivery.endpoint_id) > (%s, %s)
        ORDER BY delivery.tenant_id, delivery.endpoint_id LIMIT %s
        """,
        (due_before, *(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), _place, _place)


async def archived_with_due(connection: Connection, due_before: datetime, after: Place | None, limit: int) -> WalkPage[Place, Place]:
    """A page of the archived endpoints of all tenants to which something is due: its cause committed after the archiving."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT delivery.tenant_id, delivery.endpoint_id FROM webhook_delivery AS delivery
        JOIN webhook_endpoint AS endpoint USING (tenant_id, endpoint_id)
        WHERE delivery.due_at < %s AND endpoint.archived_at IS NOT NULL AND (delivery.tenant_id, delivery.endpoint_id) > (%s, %s)
        ORDER BY delivery.tenant_id, delivery.endpoint_id LIMIT %s
        """,
        (due_before, *(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), _place, _place)


def _place(row: dict[str, Any]) -> Place:
    return row["tenant_id"], row["endpoint_id"]
