"""The log of deliveries, and what people can do about them: test, resend, recover (contract 5)."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from msgspec import Meta

from api.auth import Principal, allow
from api.pagination import Page
from api.query import instant_in, uuid_in
from api.webhook.endpoint import id_of
from domain.errors import InvalidState, NotFound, RateLimited, ValidationFault
from domain.redemption.redemption import is_too_late
from domain.webhook.body import event_body
from domain.webhook.webhook import EVENTS, Delivery, DeliveryState
from domain.wire import optional_rfc3339, rfc3339
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.move import lock_redemption
from storage.tenant.audit import record
from storage.webhook.delivery import Attempt, DeliveryFilter, attempts_of, find_delivery, list_deliveries, lock_delivery
from storage.webhook.due_delivery import exhausted_since, hurry_waiting, make_due, publish_test, tests_since
from storage.webhook.endpoint import find_endpoint

ADMIN = [allow("admin")]
AnyRequest = Request[Any, Any, Any]

TESTS_PER_MINUTE = 10


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From when on what failed is sent again."""

    since: Annotated[datetime, Meta(tz=True)]


def delivery_wire(delivery: Delivery) -> dict[str, Any]:
    """The delivery as a list shows it."""
    return {
        "delivery_id": str(delivery.delivery_id),
        "endpoint_id": str(delivery.endpoint_id),
        "event": delivery.event,
        "redemption_id": None if delivery.redemption_id is None else str(delivery.redemption_id),
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "next_attempt_at": optional_rfc3339(delivery.next_attempt_at),
        "created_at": rfc3339(delivery.created_at),
        "updated_at": rfc3339(delivery.updated_at),
    }


def attempt_wire(attempt: Attempt) -> dict[str, Any]:
    """The attempt as the delivery's page shows it; what of the answer is not UTF-8 is replaced."""
    return {
        "number": attempt.number,
        "trigger": attempt.trigger,
        "url": attempt.url,
        "started_at": rfc3339(attempt.started_at),
        "ended_at": optional_rfc3339(attempt.ended_at),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error_class": attempt.error_class,
        "answer_head": None if attempt.answer_head is None else bytes(attempt.answer_head).decode("utf-8", "replace"),
        "remote_address": attempt.remote_address,
    }


@get("/v1/admin/deliveries", guards=ADMIN, operation_id="list_deliveries")
async def show_deliveries(request: AnyRequest, principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List deliveries, newest first. Filters: `endpoint_id`, `event`, `state`, `redemption_id`, `from`, `to`."""
    state = request.query_params.get("state")
    if state is not None and state not in set(DeliveryState):
        raise ValidationFault.of("state", "is not a delivery state")
    event = request.query_params.get("event")
    if event is not None and event not in EVENTS:
        raise ValidationFault.of("event", "is not a webhook event")
    wanted = DeliveryFilter(
        endpoint_id=uuid_in(request, "endpoint_id"),
        event=event,
        state=state,
        redemption_id=uuid_in(request, "redemption_id"),
        created_from=instant_in(request, "from"),
        created_to=instant_in(request, "to"),
        before=page.after_id(),
        limit=page.limit,
    )
    async with transaction(pool) as connection:
        found = await list_deliveries(connection, principal.tenant_id, wanted)
    return {"deliveries": [delivery_wire(each) for each in found], "next_cursor": page.cursor_of(found, "delivery_id")}


@get("/v1/admin/deliveries/{delivery_id:str}", guards=ADMIN, operation_id="read_delivery")
async def read_delivery(delivery_id: str, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Get a delivery with its body and its attempts."""
    async with transaction(pool) as connection:
        identity = id_of(delivery_id, "delivery")
        delivery = await find_delivery(connection, principal.tenant_id, identity)
        attempts = await attempts_of(connection, principal.tenant_id, identity)
    shown = {**delivery_wire(delivery), "body": delivery.body.decode()}
    return {**shown, "attempt_count": delivery.attempts, "attempts": [attempt_wire(each) for each in attempts]}


@post("/v1/admin/deliveries/{delivery_id:str}/resend", guards=ADMIN, status_code=202, operation_id="resend_delivery")
async def resend(delivery_id: str, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Make one more attempt: the same id and bytes, the next number, a new timestamp, no new retries.

    409 while its endpoint is disabled, while it is still being attempted, and for a `reward_redeemed` whose redemption is final.
    """
    identity = id_of(delivery_id, "delivery")
    async with transaction(pool) as connection:
        await _check_in_time(connection, principal.tenant_id, identity)
        return delivery_wire(await send_again(connection, principal.tenant_id, identity))


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
    await make_due(connection, tenant_id, delivery.endpoint_id, [delivery_id], utc_now())
    facts = {"endpoint_id": str(delivery.endpoint_id), "event": delivery.event, "attempts": delivery.attempts}
    await record(connection, tenant_id, action="resend", subject="webhook_delivery", subject_id=str(delivery_id), facts=facts)
    return delivery


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/recover", guards=ADMIN, status_code=202, operation_id="recover_deliveries")
async def recover(endpoint_id: str, data: Recovery, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Send all failed deliveries of the endpoint since an instant again. Returns how many. 409 while the endpoint is disabled.

    Deliveries without attempts left get one more; those waiting for their next attempt get it now.
    """
    identity = id_of(endpoint_id, "webhook endpoint")
    async with transaction(pool) as connection:
        await find_endpoint(connection, principal.tenant_id, identity)
        await check_enabled(connection, principal.tenant_id, identity)
        failed = await exhausted_since(connection, principal.tenant_id, identity, data.since)
        await make_due(connection, principal.tenant_id, identity, failed, utc_now())
        recovered = len(failed) + await hurry_waiting(connection, principal.tenant_id, identity, data.since, utc_now())
        facts = {"since": rfc3339(data.since), "recovered": recovered}
        await record(connection, principal.tenant_id, action="recover", subject="webhook_endpoint", subject_id=str(identity), facts=facts)
    return {"recovered": recovered}


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/test", guards=ADMIN, status_code=202, operation_id="test_webhook_endpoint")
async def send_test(endpoint_id: str, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Send one `webhook.test`, like a real webhook. 409 while the endpoint is disabled, 429 above ten per minute."""
    identity, now = id_of(endpoint_id, "webhook endpoint"), utc_now()
    async with transaction(pool) as connection:
        await find_endpoint(connection, principal.tenant_id, identity)
        await check_enabled(connection, principal.tenant_id, identity)
        if await tests_since(connection, principal.tenant_id, identity, now - timedelta(minutes=1)) >= TESTS_PER_MINUTE:
            raise RateLimited(f"At most {TESTS_PER_MINUTE} test webhooks per minute", retry_after=60)
        body = event_body("webhook.test", {"endpoint_id": str(identity)}, now)
        delivery_id = await publish_test(connection, principal.tenant_id, identity, body, now)
        facts = {"delivery_id": str(delivery_id)}
        await record(connection, principal.tenant_id, action="test", subject="webhook_endpoint", subject_id=str(identity), facts=facts)
        return delivery_wire(await find_delivery(connection, principal.tenant_id, delivery_id))


async def check_enabled(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> None:
    """Raise InvalidState unless the endpoint may be sent to."""
    try:
        endpoint = await find_endpoint(connection, tenant_id, endpoint_id)
    except NotFound:
        raise InvalidState("The webhook endpoint is archived", present="archived") from None
    if not endpoint.enabled:
        raise InvalidState("The webhook endpoint is disabled", present="disabled")


routes = [show_deliveries, read_delivery, resend, recover, send_test]
