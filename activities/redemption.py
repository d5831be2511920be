"""What a redemption's workflow does to the world: prepare the delivery, end what nobody fulfilled."""

from datetime import datetime
from uuid import UUID

import msgspec
from temporalio import activity

from activities.failure import refusals_are_final
from domain.errors import DomainError
from domain.redemption.messages import BeginResult, RedemptionInput, SettleInput, SettleResult
from domain.redemption.redemption import FINAL, WAITING, Move, Redemption, RedemptionFlag, RedemptionState, flags_after
from domain.redemption.webhook_body import reward_redeemed
from domain.webhook.webhook import DeliveryState
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.command import untold_news
from storage.redemption.fulfilment import kind_of
from storage.redemption.move import move_redemption, set_flag, set_fulfilment_delivery
from storage.redemption.redemption import lock_redemption
from storage.redemption.timeline import last_number
from storage.redemption.without_endpoint import found_endpoint, lock_endpoints
from storage.reward.low_stock import tell_low_stock
from storage.webhook.delivery import NewDelivery, find_delivery, insert_delivery
from storage.webhook.due_delivery import Notice, publish, was_published
from storage.webhook.endpoint import delays_of, fulfilment_endpoint

BY_WORKFLOW = "workflow"


class RedemptionActivities:
    """Activities in one transaction each, safe to run twice."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @activity.defn(name="begin_redemption")
    async def begin(self, given: RedemptionInput) -> BeginResult:
        """Look where the redemption stands and begin its fulfilment, by its kind.

        A webhook's delivery is made, or a flag says that there is no endpoint; what is ours to give is given at once.
        """
        with refusals_are_final():
            async with transaction(self._pool) as connection:
                redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
                number = await last_number(connection, given.tenant_id, given.redemption_id)
                news = await untold_news(connection, given.tenant_id, given.redemption_id)
                begun = BeginResult(status=redemption.status, number=number, deadline_at=redemption.deadline_at, news=news)
                if redemption.takes_stock:
                    await tell_low_stock(connection, utc_now(), tenant_id=given.tenant_id, reward_id=redemption.reward_id)
                if redemption.status in WAITING:
                    return begun
                begins = kind_of(redemption.fulfilment).begins
                if begins != "delivery":
                    await publish_copies(connection, redemption, None, utc_now())
                if redemption.status in FINAL or begins == "by_hand":
                    return begun
                if begins == "at_once":
                    return await _fulfil(connection, redemption, begun)
                return await self._with_delivery(connection, redemption, begun)

    async def _with_delivery(self, connection: Connection, redemption: Redemption, begun: BeginResult) -> BeginResult:
        found = await prepare_delivery(connection, redemption, utc_now())
        if found is None:
            await set_flag(connection, redemption.tenant_id, redemption.redemption_id, RedemptionFlag.NO_ENDPOINT, now=utc_now())
            return msgspec.structs.replace(begun, has_endpoint=False, flags=sorted({*redemption.flags, RedemptionFlag.NO_ENDPOINT.value}))
        delivery_id, delays = found
        flags = [flag for flag in redemption.flags if flag != RedemptionFlag.NO_ENDPOINT]
        return msgspec.structs.replace(begun, delivery_id=delivery_id, retry_delays_seconds=delays, flags=flags)

    @activity.defn(name="settle_redemption")
    async def settle(self, given: SettleInput) -> SettleResult:
        """Give the points back, unless someone was faster: then nothing changes and the answer says how it stands."""
        with refusals_are_final():
            async with transaction(self._pool) as connection:
                redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
                if redemption.status in FINAL or given.only_from not in (None, redemption.status):
                    number = await last_number(connection, given.tenant_id, given.redemption_id)
                    news = await untold_news(connection, given.tenant_id, given.redemption_id)
                    return SettleResult(status=redemption.status, number=number, news=news)
                move = Move(to=given.to, by=BY_WORKFLOW, note=given.note, from_workflow=True)
                moved = await move_redemption(connection, given.tenant_id, given.redemption_id, move, now=utc_now())
                return SettleResult(status=moved.status, number=moved.number or 0, flags=flags_after(redemption.flags, moved.status))


async def _fulfil(connection: Connection, redemption: Redemption, begun: BeginResult) -> BeginResult:
    """Give what is ours to give; when that is refused, the redemption has failed and the points go back."""
    tenant_id, redemption_id = redemption.tenant_id, redemption.redemption_id
    try:
        async with connection.transaction():
            move = Move(to=RedemptionState.FULFILLED, by=BY_WORKFLOW, from_workflow=True)
            moved = await move_redemption(connection, tenant_id, redemption_id, move, now=utc_now())
    except DomainError as refusal:
        failed = Move(to=RedemptionState.FAILED, by=BY_WORKFLOW, note=refusal.message, failure_reason=refusal.message, from_workflow=True)
        moved = await move_redemption(connection, tenant_id, redemption_id, failed, now=utc_now())
    return msgspec.structs.replace(begun, status=moved.status, number=moved.number or begun.number)


async def prepare_delivery(connection: Connection, redemption: Redemption, now: datetime) -> tuple[UUID, tuple[float, ...]] | None:
    """The delivery that asks for the fulfilment, made once, and its endpoint's waits before a retry; None when there is no endpoint."""
    tenant_id = redemption.tenant_id
    known = redemption.fulfilment.get("delivery_id")
    if known is not None:
        delivery = await find_delivery(connection, tenant_id, UUID(known))
        return delivery.delivery_id, await delays_of(connection, tenant_id, delivery.endpoint_id)
    pinned = redemption.fulfilment.get("endpoint_id")
    endpoint = await fulfilment_endpoint(connection, tenant_id, UUID(pinned) if pinned else None)
    if endpoint is None:
        await lock_endpoints(connection, tenant_id, shared=True)  # one may just be coming
        endpoint = await fulfilment_endpoint(connection, tenant_id, UUID(pinned) if pinned else None)
    await publish_copies(connection, redemption, None if endpoint is None else endpoint.endpoint_id, now)
    if endpoint is None:
        return None
    new = NewDelivery(
        endpoint_id=endpoint.endpoint_id,
        event="reward_redeemed",
        redemption_id=redemption.redemption_id,
        body=reward_redeemed(redemption),
        state=DeliveryState.PENDING if endpoint.enabled else DeliveryState.HELD,
    )
    delivery_id = await insert_delivery(connection, tenant_id, new, now)
    await set_fulfilment_delivery(connection, tenant_id, redemption.redemption_id, delivery_id)
    await found_endpoint(connection, tenant_id, redemption.redemption_id)
    return delivery_id, tuple(endpoint.retry_delays_seconds)


async def publish_copies(connection: Connection, redemption: Redemption, fulfilment_endpoint_id: UUID | None, now: datetime) -> None:
    """Tell everybody else who asks for `reward_redeemed`, once, in the transaction that settles who is to fulfil it."""
    tenant_id, redemption_id = redemption.tenant_id, redemption.redemption_id
    if not await was_published(connection, tenant_id, redemption_id, "reward_redeemed"):
        body = reward_redeemed(redemption)
        notice = Notice(event="reward_redeemed", body=body, redemption_id=redemption_id, except_endpoint=fulfilment_endpoint_id)
        await publish(connection, tenant_id, notice, now)
