"""The log of deliveries, and what people can do about them: test, resend, recover (contract 5)."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from litestar import get, post

from api.pagination import Page
from api.principal import Principal
from api.query import Between
from api.rule import ADMIN
from api.webhook.endpoint import id_of
from domain.errors import InvalidState, NotFound, RateLimited
from domain.redemption.redemption import is_too_late
from domain.webhook.body import event_body
from domain.webhook.webhook import Delivery, DeliveryState, WebhookEvent
from domain.webhook.webhook_wire import (
    AttemptAnswer,
    DeliveryAnswer,
    DeliveryDetails,
    DeliveryListAnswer,
    delivery_answer,
    delivery_details,
)
from domain.wire import GivenInstant, optional_rfc3339, rfc3339
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.redemption import lock_redemption
from storage.tenant.audit import record
from storage.webhook.delivery import Attempt, DeliveryFilter, attempts_of, find_delivery, lock_delivery
from storage.webhook.delivery import list_deliveries as deliveries_of
from storage.webhook.due_delivery import exhausted_since, hurry_waiting, make_due, publish_test, tests_since
from storage.webhook.endpoint import find_endpoint

TESTS_PER_MINUTE = 10


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From when on what failed is sent again."""

    since: GivenInstant


class RecoveredDeliveries(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    recovered: int


class DeliveryParams(Between, frozen=True, kw_only=True):
    """Which deliveries."""

    state: DeliveryState | None = None
    event: WebhookEvent | None = None
    endpoint_id: UUID | None = None
    redemption_id: UUID | None = None


def attempt_answer(attempt: Attempt) -> AttemptAnswer:
    """The attempt as the delivery's page shows it; what of the answer is not UTF-8 is replaced."""
    return AttemptAnswer(
        number=attempt.number,
        trigger=attempt.trigger,
        url=attempt.url,
        started_at=rfc3339(attempt.started_at),
        ended_at=optional_rfc3339(attempt.ended_at),
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error_class=attempt.error_class,
        answer_head=None if attempt.answer_head is None else bytes(attempt.answer_head).decode("utf-8", "replace"),
        remote_address=attempt.remote_address,
    )


@get("/v1/admin/deliveries", rule=ADMIN)
async def list_deliveries(params: DeliveryParams, principal: Principal, pool: Pool, page: Page) -> DeliveryListAnswer:
    """List deliveries, newest first."""
    wanted = DeliveryFilter(
        endpoint_id=params.endpoint_id,
        event=params.event,
        state=params.state,
        redemption_id=params.redemption_id,
        created_from=params.since,
        created_to=params.until,
        before=page.after_id(),
        limit=page.limit,
    )
    async with transaction(pool) as connection:
        found = await deliveries_of(connection, principal.tenant_id, wanted)
    shown = [delivery_answer(each) for each in found]
    return DeliveryListAnswer(deliveries=shown, next_cursor=page.cursor_of(found, "delivery_id"))


@get("/v1/admin/deliveries/{delivery_id:str}", rule=ADMIN)
async def get_delivery(delivery_id: str, principal: Principal, pool: Pool) -> DeliveryDetails:
    """Get a delivery with its body and its attempts."""
    async with transaction(pool) as connection:
        identity = id_of(delivery_id, "delivery")
        delivery = await find_delivery(connection, principal.tenant_id, identity)
        attempts = await attempts_of(connection, principal.tenant_id, identity)
    return delivery_details(delivery, [attempt_answer(each) for each in attempts])


@post("/v1/admin/deliveries/{delivery_id:str}/resend", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def resend_delivery(delivery_id: str, principal: Principal, pool: Pool) -> DeliveryAnswer:
    """Make one more attempt: the same id and bytes, the next number, a new timestamp, no new retries.

    409 while its endpoint is disabled, while it is still being attempted, and for a `reward_redeemed` whose redemption is final.
    """
    identity = id_of(delivery_id, "delivery")
    async with transaction(pool) as connection:
        await _check_in_time(connection, principal.tenant_id, identity)
        return delivery_answer(await send_again(connection, principal.tenant_id, identity))


async def _check_in_time(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> None:
    """Raise InvalidState for the `reward_redeemed` of a redemption that is final: what was refunded must not be fulfilled.

    Locks the redemption, so that it cannot end meanwhile.
    """
    delivery = await find_delivery(connection, tenant_id, delivery_id)
    if delivery.redeemed is None:
        return
    redemption = await lock_redemption(connection, tenant_id, delivery.redeemed)
    if is_too_late(redemption, delivery_id, by_hand=True):
        raise InvalidState(f"The redemption is {redemption.status} and must no longer be fulfilled", present=redemption.status.value)


async def send_again(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> Delivery:
    """Make the delivery due once more; InvalidState while it is still being attempted or its endpoint must not be sent to."""
    delivery = await lock_delivery(connection, tenant_id, delivery_id)
    await check_enabled(connection, tenant_id, delivery.endpoint_id)
    if delivery.state in (DeliveryState.PENDING, DeliveryState.HELD):
        raise InvalidState("The delivery is still being attempted", present=delivery.state.value)
    await make_due(connection, tenant_id, delivery.endpoint_id, [delivery_id], now=utc_now())
    facts = {"endpoint_id": str(delivery.endpoint_id), "event": delivery.event, "attempts": delivery.attempts}
    await record(connection, tenant_id, action="resend", subject="webhook_delivery", subject_id=str(delivery_id), facts=facts)
    return delivery


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/recover", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def recover_deliveries(endpoint_id: str, data: Recovery, principal: Principal, pool: Pool) -> RecoveredDeliveries:
    """Send all failed deliveries of the endpoint since an instant again. Returns how many. 409 while the endpoint is disabled.

    Deliveries without attempts left get one more; those waiting for their next attempt get it now.
    """
    identity = id_of(endpoint_id, "webhook endpoint")
    async with transaction(pool) as connection:
        await find_endpoint(connection, principal.tenant_id, identity)
        await check_enabled(connection, principal.tenant_id, identity)
        failed = await exhausted_since(connection, principal.tenant_id, identity, data.since)
        await make_due(connection, principal.tenant_id, identity, failed, now=utc_now())
        recovered = len(failed) + await hurry_waiting(connection, principal.tenant_id, identity, data.since, now=utc_now())
        facts = {"since": rfc3339(data.since), "recovered": recovered}
        await record(connection, principal.tenant_id, action="recover", subject="webhook_endpoint", subject_id=str(identity), facts=facts)
    return RecoveredDeliveries(recovered=recovered)


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/test", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def test_webhook_endpoint(endpoint_id: str, principal: Principal, pool: Pool) -> DeliveryAnswer:
    """Send one `webhook.test`, like a real webhook. 409 while the endpoint is disabled, 429 above ten per minute."""
    identity, now = id_of(endpoint_id, "webhook endpoint"), utc_now()
    async with transaction(pool) as connection:
        await find_endpoint(connection, principal.tenant_id, identity)
        await check_enabled(connection, principal.tenant_id, identity)
        if await tests_since(connection, principal.tenant_id, identity, now - timedelta(minutes=1)) >= TESTS_PER_MINUTE:
            raise RateLimited(f"At most {TESTS_PER_MINUTE} test webhooks per minute", retry_after=60)
        body = event_body("webhook.test", {"endpoint_id": str(identity)}, now)
        delivery_id = await publish_test(connection, principal.tenant_id, identity, body, now=now)
        facts = {"delivery_id": str(delivery_id)}
        await record(connection, principal.tenant_id, action="test", subject="webhook_endpoint", subject_id=str(identity), facts=facts)
        return delivery_answer(await find_delivery(connection, principal.tenant_id, delivery_id))


async def check_enabled(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> None:
    """Raise InvalidState unless the endpoint may be sent to."""
    try:
        endpoint = await find_endpoint(connection, tenant_id, endpoint_id)
    except NotFound:
        raise InvalidState("The webhook endpoint is archived", present="archived") from None
    if not endpoint.enabled:
        raise InvalidState("The webhook endpoint is disabled", present="disabled")


routes: list[Any] = [list_deliveries, get_delivery, resend_delivery, recover_deliveries, test_webhook_endpoint]
