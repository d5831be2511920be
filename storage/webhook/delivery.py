"""Deliveries (event x endpoint) and their attempts. An attempt is recorded before it is sent."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.errors import NotFound
from domain.webhook.webhook import AnswerVerdict, Delivery, DeliveryState, judge
from runtime.http import ExchangeOutcome
from runtime.ids import new_id
from runtime.postgres import Connection

Trigger = Literal["scheduled", "manual", "test"]

NETWORK_ERRORS = frozenset({"dns", "refused", "reset", "timeout", "tls", "blocked_address", "bad_url"})

STUCK = (DeliveryState.EXHAUSTED.value, DeliveryState.HELD.value)
ENDED_OTHERWISE = (DeliveryState.SUPERSEDED.value, DeliveryState.CANCELLED.value)

COLUMNS = """delivery_id, endpoint_id, event, redemption_id, body, state, attempts, last_status, last_error, next_attempt_at,
    created_at, updated_at"""


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event that an endpoint is to get. `body` is made once and sent unchanged on every attempt."""

    endpoint_id: UUID
    event: str
    redemption_id: UUID | None
    body: bytes
    state: DeliveryState = DeliveryState.PENDING


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP try. Without `ended_at` it is under way, or its worker died."""

    number: int
    trigger: Trigger
    url: str
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    status: int | None
    error_class: str | None
    answer_head: bytes | None
    remote_address: str | None

    @property
    def verdict(self) -> AnswerVerdict:
        """What the recorded answer meant."""
        return judge(self.status, self.error_class if self.error_class in NETWORK_ERRORS else None)


ATTEMPT_COLUMNS = "number, trigger, url, started_at, ended_at, duration_ms, status, error_class, answer_head, remote_address"


async def insert_delivery(connection: Connection, tenant_id: UUID, new: NewDelivery, now: datetime) -> UUID:
    """Keep a delivery and answer its id, which is `webhook-id` on every attempt."""
    delivery_id = new_id()
    await connection.execute(
        """
        INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, redemption_id, body, state, created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (tenant_id, delivery_id, new.endpoint_id, new.event, new.redemption_id, new.body, new.state.value, now, now),
    )
    return delivery_id


async def lock_delivery(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> Delivery:
    """The delivery, locked until commit; raises NotFound. Lock the redemption first where both are needed."""
    return await _read(connection, tenant_id, delivery_id, "FOR UPDATE")


async def find_delivery(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> Delivery:
    """The delivery; raises NotFound."""
    return await _read(connection, tenant_id, delivery_id, "")


async def _read(connection: Connection, tenant_id: UUID, delivery_id: UUID, lock: str) -> Delivery:
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_delivery WHERE tenant_id = %s AND delivery_id = %s {lock}", (tenant_id, delivery_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Delivery not found")
    return delivery_in(row)


def delivery_in(row: dict[str, Any]) -> Delivery:
    """The delivery in a row of `COLUMNS`."""
    return Delivery(**{**row, "body": bytes(row["body"]), "state": DeliveryState(row["state"])})


async def claim_attempt(
    connection: Connection, tenant_id: UUID, delivery_id: UUID, number: int, *, url: str, now: datetime, trigger: Trigger = "scheduled"
) -> Attempt:
    """Record that this attempt is about to be sent, or answer the record of it that exists already.

    One with `ended_at` has been answered and must not be sent again; one without was lost with its worker and is sent again.
    """
    await connection.execute(
        """
        INSERT INTO webhook_attempt (tenant_id, delivery_id, number, trigger, url, started_at)
        VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        (tenant_id, delivery_id, number, trigger, url, now),
    )
    await connection.execute(
        """
        UPDATE webhook_delivery SET attempts = greatest(attempts, %s), next_attempt_at = NULL, updated_at = %s,
            state = CASE WHEN state = 'held' THEN 'pending' ELSE state END
        WHERE tenant_id = %s AND delivery_id = %s AND (attempts < %s OR state = 'held')
        """,
        (number, now, tenant_id, delivery_id, number),
    )
    cursor = await connection.execute(
        f"SELECT {ATTEMPT_COLUMNS} FROM webhook_attempt WHERE tenant_id = %s AND delivery_id = %s AND number = %s",
        (tenant_id, delivery_id, number),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Attempt not found")
    return Attempt(**row)


async def end_attempt(
    connection: Connection, tenant_id: UUID, delivery_id: UUID, number: int, *, outcome: ExchangeOutcome, shown: str | None, now: datetime
) -> None:
    """Log what the attempt gave; `shown` is its error class. An attempt that has an end keeps it."""
    await connection.execute(
        """
        UPDATE webhook_attempt SET ended_at = %s, duration_ms = %s, status = %s, error_class = %s, answer_head = %s, remote_address = %s
        WHERE tenant_id = %s AND delivery_id = %s AND number = %s AND ended_at IS NULL
        """,
        (
            now,
            outcome.duration_ms,
            outcome.status,
            shown,
            outcome.head,
            outcome.remote_address,
            tenant_id,
            delivery_id,
            number,
        ),
    )


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt made of its delivery. `due_at` is for the endpoint's pump; a redemption's workflow keeps its own time."""

    state: DeliveryState
    status: int | None
    error: str | None
    next_attempt_at: datetime | None = None
    due_at: datetime | None = None


async def record_result(connection: Connection, tenant_id: UUID, delivery_id: UUID, result: AttemptResult, *, now: datetime) -> None:
    """Move the delivery on."""
    await connection.execute(
        """
        UPDATE webhook_delivery SET state = %(state)s, last_status = %(status)s, last_error = %(error)s, next_attempt_at = %(next)s,
            due_at = %(due)s, due_trigger = CASE WHEN %(due)s::timestamptz IS NULL THEN NULL ELSE 'scheduled' END, updated_at = %(now)s
        WHERE tenant_id = %(tenant_id)s AND delivery_id = %(delivery_id)s
        """,
        {
            "state": result.state.value,
            "status": result.status,
            "error": result.error,
            "next": result.next_attempt_at,
            "due": result.due_at,
            "now": now,
            "tenant_id": tenant_id,
            "delivery_id": delivery_id,
        },
    )


async def hold_delivery(connection: Connection, tenant_id: UUID, delivery_id: UUID, now: datetime) -> None:
    """Keep the delivery until its endpoint is enabled again."""
    await connection.execute(
        """
        UPDATE webhook_delivery SET state = 'held', next_attempt_at = NULL, updated_at = %s
        WHERE tenant_id = %s AND delivery_id = %s AND state = 'pending'
        """,
        (now, tenant_id, delivery_id),
    )


async def release_held(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> list[tuple[UUID, UUID | None]]:
    """Make the endpoint's held deliveries pending again; answers those that a redemption's workflow sends, as (delivery, redemption)."""
    cursor = await connection.execute(
        """
        UPDATE webhook_delivery SET state = 'pending', updated_at = %s
        WHERE tenant_id = %s AND endpoint_id = %s AND state = 'held' RETURNING delivery_id, redemption_id, due_at
        """,
        (now, tenant_id, endpoint_id),
    )
    return [(row["delivery_id"], row["redemption_id"]) for row in await cursor.fetchall() if row["due_at"] is None]


async def hold_due(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> None:
    """Keep what the endpoint's pump has yet to send until the endpoint is enabled again.

    Rows that somebody has locked are left to the pump, so that two answers of 410 at once do not wait for each other.
    """
    await connection.execute(
        """
        UPDATE webhook_delivery SET state = 'held', next_attempt_at = NULL, updated_at = %s
        WHERE (tenant_id, delivery_id) IN (
            SELECT tenant_id, delivery_id FROM webhook_delivery
            WHERE tenant_id = %s AND endpoint_id = %s AND due_at IS NOT NULL AND state = 'pending' FOR UPDATE SKIP LOCKED
        )
        """,
        (now, tenant_id, endpoint_id),
    )


async def cancel_due(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> None:
    """End what the endpoint's pump has yet to send: the endpoint is archived."""
    await connection.execute(
        """
        UPDATE webhook_delivery SET state = CASE WHEN state IN ('pending', 'held') THEN 'cancelled' ELSE state END,
            next_attempt_at = NULL, due_at = NULL, due_trigger = NULL, updated_at = %s
        WHERE tenant_id = %s AND endpoint_id = %s AND due_at IS NOT NULL
        """,
        (now, tenant_id, endpoint_id),
    )


async def forget_deliveries(connection: Connection, before: datetime, limit: int) -> int:
    """Delete deliveries of all tenants, with their attempts, that were made before this instant; answers how many went.

    What is still to be sent stays, and so does every delivery of a redemption that is open.
    """
    cursor = await connection.execute(
        """
        SELECT tenant_id, delivery_id FROM webhook_delivery AS delivery
        WHERE created_at < %s AND state NOT IN ('pending', 'held') AND due_at IS NULL
          AND NOT EXISTS (
              SELECT FROM redemption WHERE redemption.tenant_id = delivery.tenant_id AND redemption.redemption_id = delivery.redemption_id
                AND redemption.status IN ('pending_claim', 'pending_approval', 'pending', 'processing')
          )
        ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED
        """,
        (before, limit),
    )
    old = [(row["tenant_id"], row["delivery_id"]) for row in await cursor.fetchall()]
    keys = ([each[0] for each in old], [each[1] for each in old])
    for table in ("webhook_attempt", "webhook_delivery"):
        await connection.execute(
            f"DELETE FROM {table} WHERE (tenant_id, delivery_id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))".encode(), keys
        )
    return len(old)


async def attempts_of(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> list[Attempt]:
    """Every attempt of the delivery, the first one first."""
    cursor = await connection.execute(
        f"SELECT {ATTEMPT_COLUMNS} FROM webhook_attempt WHERE tenant_id = %s AND delivery_id = %s ORDER BY number",
        (tenant_id, delivery_id),
    )
    return [Attempt(**row) for row in await cursor.fetchall()]


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries a list shows; None lets everything through. `before` is the cursor: the last id of the page before."""

    endpoint_id: UUID | None = None
    event: str | None = None
    state: str | None = None
    redemption_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    before: UUID | None = None
    limit: int = 50


async def list_deliveries(connection: Connection, tenant_id: UUID, wanted: DeliveryFilter) -> list[Delivery]:
    """A page of deliveries, the newest first."""
    tests = {
        "endpoint_id": "endpoint_id = %(endpoint_id)s",
        "event": "event = %(event)s",
        "state": "state = %(state)s",
        "redemption_id": "redemption_id = %(redemption_id)s",
        "created_from": "created_at >= %(created_from)s",
        "created_to": "created_at < %(created_to)s",
        "before": "delivery_id < %(before)s",
    }
    if wanted.state in STUCK:
        tests["state"] += " AND state IN ('exhausted', 'held')"  # said twice, so that the index of these few can be used
    if wanted.state in ENDED_OTHERWISE:
        tests["state"] += " AND state IN ('superseded', 'cancelled')"
    if wanted.event not in (None, "reward_redeemed"):
        tests["event"] += " AND event <> 'reward_redeemed'"  # the same, for the index of all but the many
    condition = " AND ".join(["tenant_id = %(tenant_id)s", *(test for name, test in tests.items() if getattr(wanted, name) is not None)])
    values: dict[str, Any] = {"tenant_id": tenant_id, **msgspec.structs.asdict(wanted)}
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_delivery WHERE {condition} ORDER BY delivery_id DESC LIMIT %(limit)s", values
    )
    return [delivery_in(row) for row in await cursor.fetchall()]
