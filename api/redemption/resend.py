"""The webhook of a redemption is sent once more, by hand (contract 4 and 5)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import post
from msgspec import Meta

from api.principal import Principal
from api.redemption.redemption import redemption_id_of
from api.rule import ADMIN
from api.webhook.delivery import send_again
from domain.errors import InvalidState
from domain.redemption.redemption import FINAL, Redemption, RedemptionFlag, workflow_id
from domain.redemption.redemption_wire import RedemptionAnswer
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage import outbox
from storage.redemption.redemption import document_of, lock_redemption
from storage.redemption.timeline import note_in_timeline
from storage.tenant.audit import record
from storage.webhook.endpoint import fulfilment_endpoint


class ResendBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a webhook is sent once more."""

    reason: Annotated[str, Meta(max_length=1000, description="For the timeline", examples=["Their server is back"])] | None = None


async def _send_at_last(connection: Connection, redemption: Redemption) -> None:
    """Let the workflow of a redemption that had no endpoint look for one again; InvalidState when there is still none."""
    tenant_id, pinned = redemption.tenant_id, redemption.fulfilment.get("endpoint_id")
    if await fulfilment_endpoint(connection, tenant_id, UUID(pinned) if pinned else None) is None:
        raise InvalidState("No enabled endpoint subscribes to `reward_redeemed`", present=RedemptionFlag.NO_ENDPOINT.value)
    identity = workflow_id(tenant_id, redemption.redemption_id)
    await outbox.enqueue(
        connection, tenant_id, outbox.OutboxCommand(kind="update", workflow_id=identity, name=f"resume:{new_id()}", argument={})
    )
    await record(connection, tenant_id, action="resend", subject="redemption", subject_id=str(redemption.redemption_id), facts={})


@post("/v1/admin/redemptions/{redemption_id:str}/resend", rule=ADMIN, status_code=200, refusals=(InvalidState,))
async def resend_redemption(redemption_id: str, data: ResendBody, principal: Principal, pool: Pool) -> RedemptionAnswer:
    """Send the webhook of an open redemption once more. Returns the redemption; its timeline shows the reason.

    A redemption without an endpoint goes to the one that exists now. 409 if it is final or has nothing to send, while its delivery
    is still being attempted, and while the endpoint is disabled or there is none.
    """
    async with transaction(pool, reason=data.reason) as connection:
        redemption = await lock_redemption(connection, principal.tenant_id, redemption_id_of(redemption_id))
        delivery_id = redemption.fulfilment.get("delivery_id")
        has_none = delivery_id is None and RedemptionFlag.NO_ENDPOINT in redemption.flags
        if redemption.status in FINAL or (delivery_id is None and not has_none):
            raise InvalidState(f"There is nothing to resend for a redemption that is {redemption.status}", present=redemption.status.value)
        if has_none:
            await _send_at_last(connection, redemption)
        else:
            await send_again(connection, principal.tenant_id, UUID(delivery_id))
        note = f"webhook resent: {data.reason}" if data.reason else "webhook resent"
        await note_in_timeline(connection, redemption, note, by=principal.actor, now=utc_now())
        return await document_of(connection, principal.tenant_id, redemption.redemption_id)


routes: list[Any] = [resend_redemption]
