"""Redemptions are moved here, by everyone in the one way.

Every move is a compare-and-set under the row's lock, a timeline row, its ledger effect, its stock and its command to the workflow,
in the caller's transaction (contract 4): a race has one winner, and points are spent or returned exactly once.
"""

from datetime import datetime
from uuid import UUID

from msgspec.structs import replace
from psycopg.types.json import Jsonb

from domain.canonical_json import canonical_json
from domain.errors import InvalidState, ValidationError
from domain.redemption.redemption import (
    FINAL,
    MAXIMUM_DATA_BYTES,
    Decision,
    Effect,
    Move,
    Moved,
    Redemption,
    RedemptionFlag,
    RedemptionState,
    TimelineRow,
    advance,
    deadline_for,
    decide_callback,
    effect_of,
    flags_after,
    workflow_id,
)
from domain.redemption.webhook_body import redemption_updated
from runtime.postgres import Connection
from storage import outbox
from storage.points import ledger
from storage.redemption.command import news_of
from storage.redemption.fulfilment import kind_of
from storage.redemption.redemption import find_redemption, lock_redemption
from storage.redemption.timeline import next_number, note_in_timeline, write_timeline
from storage.reward import reward
from storage.webhook import due_delivery


async def move_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID, move: Move, *, now: datetime) -> Moved:
    """Make one move; the row stays locked until the caller commits.

    A callback that repeats the state answers `unchanged`; one that contradicts a final state answers `refused` and stands in the
    timeline, so commit before telling the caller. Raises RedemptionNotFound, and InvalidState for any other illegal move.
    """
    present = await lock_redemption(connection, tenant_id, redemption_id)
    now = max(now, present.updated_at)  # it was read before the lock: who waited is later than whom it waited for
    identity = workflow_id(tenant_id, redemption_id)
    decision = decide_callback(present.status, move.to) if move.is_callback else Decision.MOVE
    if decision is Decision.UNCHANGED:
        await _keep_news(connection, present, move, now)
        return Moved(decision=decision, status=present.status, workflow_id=identity)
    if decision is Decision.REFUSED:
        await _note_refusal(connection, present, move, now)
        return Moved(decision=decision, status=present.status, workflow_id=identity)
    if move.only_from and present.status not in move.only_from:
        raise InvalidState(f"A redemption that is {present.status} does not allow this", present=present.status.value)
    advance(present.status, move.to)
    move = await _hand_over(connection, present, move, now)
    await _write_state(connection, present, move, now)
    number = await next_number(connection, tenant_id, redemption_id)
    row = TimelineRow(at=now, from_status=present.status.value, to_status=move.to.value, by=move.by, note=move.note)
    await write_timeline(connection, tenant_id, redemption_id, number=number, row=row)
    await _apply_effect(connection, present, move.to, now)
    await _tell_subscribers(connection, tenant_id, redemption_id, present.status, now=now)
    if move.to in FINAL:
        await supersede_fulfilment_delivery(connection, tenant_id, redemption_id, now)
    if not move.from_workflow:
        await outbox.enqueue(connection, tenant_id, news_of(present, move, number))
    return Moved(decision=decision, status=move.to, number=number, workflow_id=identity)


async def _keep_news(connection: Connection, present: Redemption, move: Move, now: datetime) -> None:
    """Keep what a partner adds while it is still at work: its 2xx has made the redemption `processing` before it called back.

    A final state's first data stay. Raises ValidationError when all of it is more than fits.
    """
    if present.status in FINAL or not move.fulfillment_data:
        return
    data = {**present.fulfillment_data, **move.fulfillment_data}
    if len(canonical_json(data)) > MAXIMUM_DATA_BYTES:
        raise ValidationError.of("fulfillment_data", f"must be at most {MAXIMUM_DATA_BYTES} bytes, including what was sent before")
    await connection.execute(
        "UPDATE redemption SET fulfillment_data = %s, updated_at = %s WHERE tenant_id = %s AND redemption_id = %s",
        (Jsonb(data), now, present.tenant_id, present.redemption_id),
    )


async def _tell_subscribers(
    connection: Connection, tenant_id: UUID, redemption_id: UUID, previous: RedemptionState, *, now: datetime
) -> None:
    moved = await find_redemption(connection, tenant_id, redemption_id)
    notice = due_delivery.Notice(event="redemption_updated", body=redemption_updated(moved, previous, now), redemption_id=redemption_id)
    await due_delivery.publish(connection, tenant_id, notice, now)


async def _hand_over(connection: Connection, present: Redemption, move: Move, now: datetime) -> Move:
    """Give what is ours to give, or take it back, before the state is written; the move with what there is to show of it."""
    kind = kind_of(present.fulfilment)
    if move.to is RedemptionState.REVERSED:
        await kind.take_back(connection, present, now)
    if move.to is not RedemptionState.FULFILLED:
        return move
    given = await kind.hand_over(connection, present, now)
    return replace(move, fulfillment_data={**(move.fulfillment_data or {}), **given}) if given else move


async def _write_state(connection: Connection, present: Redemption, move: Move, now: datetime) -> None:
    fulfilled_at = (move.fulfilled_at or now) if move.to is RedemptionState.FULFILLED else present.fulfilled_at
    await connection.execute(
        """
        UPDATE redemption SET status = %s, updated_at = %s, fulfilled_at = %s,
            fulfillment_data = CASE WHEN %s::jsonb IS NULL THEN fulfillment_data ELSE fulfillment_data || %s::jsonb END,
            flags = %s,
            failure_reason = coalesce(%s, failure_reason), fields = coalesce(%s::jsonb, fields), deadline_at = coalesce(%s, deadline_at)
        WHERE tenant_id = %s AND redemption_id = %s AND status = %s
        """,
        (
            move.to.value,
            now,
            fulfilled_at,
            None if move.fulfillment_data is None else Jsonb(move.fulfillment_data),
            None if move.fulfillment_data is None else Jsonb(move.fulfillment_data),
            flags_after(present.flags, move.to),
            move.failure_reason,
            None if move.fields is None else Jsonb(move.fields),
            deadline_for(move.to, present.fulfilment, now),
            present.tenant_id,
            present.redemption_id,
            present.status.value,
        ),
    )


async def _apply_effect(connection: Connection, present: Redemption, new: RedemptionState, now: datetime) -> None:
    effect = effect_of(new)
    if present.points_spent > 0 and effect is Effect.REFUND:
        await ledger.refund_redemption(connection, present.tenant_id, present.redemption_id, now)
    elif present.points_spent > 0 and effect is not Effect.NONE:
        capture = effect is Effect.CAPTURE
        await ledger.settle_hold(connection, present.tenant_id, present.redemption_id, capture=capture, now=now)
    if effect is not Effect.RELEASE:
        return
    await kind_of(present.fulfilment).give_back(connection, present, now)
    if present.takes_stock:  # after the account: the order of locks that everyone keeps
        is_code = present.fulfilment.get("type") == "codes"
        await reward.return_stock(connection, present.tenant_id, present.reward_id, present.stock_variant_id, is_code=is_code)


async def _note_refusal(connection: Connection, present: Redemption, move: Move, now: datetime) -> None:
    """Keep a contradicting callback in the timeline, once: a partner that repeats it for ever does not fill the table."""
    note = f"callback {move.to.value!r} refused: already {present.status.value}"
    cursor = await connection.execute(
        "SELECT 1 FROM redemption_move WHERE tenant_id = %s AND redemption_id = %s AND note = %s LIMIT 1",
        (present.tenant_id, present.redemption_id, note),
    )
    if await cursor.fetchone() is None:
        await note_in_timeline(connection, present, note, by=move.by, now=now)


async def supersede_fulfilment_delivery(connection: Connection, tenant_id: UUID, redemption_id: UUID, now: datetime) -> None:
    """End the delivery that asks for the fulfilment, when it is still being tried or is to be sent once more: the redemption is final."""
    await connection.execute(
        """
        UPDATE webhook_delivery AS delivery SET next_attempt_at = NULL, due_at = NULL, due_trigger = NULL, updated_at = %s,
            state = CASE WHEN delivery.state IN ('pending', 'held') THEN 'superseded' ELSE delivery.state END
        FROM redemption
        WHERE redemption.tenant_id = %s AND redemption.redemption_id = %s AND delivery.tenant_id = redemption.tenant_id
          AND delivery.delivery_id = (redemption.fulfilment ->> 'delivery_id')::uuid
          AND (delivery.state IN ('pending', 'held') OR delivery.due_at IS NOT NULL)
        """,
        (now, tenant_id, redemption_id),
    )


async def set_flag(connection: Connection, tenant_id: UUID, redemption_id: UUID, flag: RedemptionFlag, *, now: datetime) -> None:
    """Raise a flag on a redemption that is still open; a second time changes nothing."""
    await connection.execute(
        """
        UPDATE redemption SET flags = array_append(flags, %s), updated_at = %s
        WHERE tenant_id = %s AND redemption_id = %s AND NOT %s = ANY(flags)
          AND status IN ('pending_claim', 'pending_approval', 'pending', 'processing')
        """,
        (flag.value, now, tenant_id, redemption_id, flag.value),
    )


async def clear_flags(connection: Connection, tenant_id: UUID, redemption_id: UUID, now: datetime) -> None:
    """Take the delivery's flags away: a partner has accepted the webhook."""
    await connection.execute(
        "UPDATE redemption SET flags = '{}', updated_at = %s WHERE tenant_id = %s AND redemption_id = %s AND flags <> '{}'",
        (now, tenant_id, redemption_id),
    )


async def set_fulfilment_delivery(connection: Connection, tenant_id: UUID, redemption_id: UUID, delivery_id: UUID) -> None:
    """Remember which delivery asks for the fulfilment: only its answers move the redemption (contract 5)."""
    await connection.execute(
        "UPDATE redemption SET fulfilment = fulfilment || %s WHERE tenant_id = %s AND redemption_id = %s",
        (Jsonb({"delivery_id": str(delivery_id)}), tenant_id, redemption_id),
    )
