"""The commands to the workflows of redemptions: what starts them, and what they are told."""

from typing import Any
from uuid import UUID

import msgspec

from domain.redemption.messages import RedemptionUpdate
from domain.redemption.redemption import (
    Move,
    Redemption,
    RedemptionState,
    flags_after,
    reversal_workflow_id,
    told_by,
    told_why,
    workflow_id,
)
from runtime.postgres import Connection
from storage import outbox

WORKFLOW = "RedemptionWorkflow"
REVERSAL = "RedemptionReversalWorkflow"
PURCHASE_PRIORITY = 2
GRANT_PRIORITY = 4


def start_entry(
    tenant_id: UUID,
    redemption_id: UUID,
    *,
    external_user_id: str,
    reward: dict[str, Any],
    status: RedemptionState,
    source_type: str = "purchase",
) -> outbox.OutboxCommand:
    """The command that starts a redemption's workflow: ids only, and what its line in Temporal's UI shows.

    What was granted waits behind what users have just bought: a payout to many must not hold them up.
    """
    slug = str(reward.get("slug") or "")
    return outbox.OutboxCommand(
        kind="start",
        workflow_id=workflow_id(tenant_id, redemption_id),
        name=WORKFLOW,
        argument={
            "argument": {"tenant_id": str(tenant_id), "redemption_id": str(redemption_id)},
            "attributes": {
                "TenantId": str(tenant_id),
                "RedemptionId": str(redemption_id),
                "ExternalUserId": external_user_id,
                "RewardSlug": slug,
                "RedemptionStatus": status.value,
            },
            "page": f"/console/redemptions/{redemption_id}",
            "summary": f"{slug or reward.get('name') or 'reward'} for {external_user_id}"[:180],
            "priority": PURCHASE_PRIORITY if source_type == "purchase" else GRANT_PRIORITY,
        },
    )


def news_of(present: Redemption, move: Move, number: int) -> outbox.OutboxCommand:
    """What Temporal is told of a move that its workflow has not made itself. The workflow of what was fulfilled is over: its reversal has
    one of its own, which is found by the same attributes."""
    told = {"number": number, "by": told_by(move.by), "note": told_why(move)}
    if move.to is not RedemptionState.REVERSED:
        argument = {"status": move.to.value, "flags": flags_after(present.flags, move.to), **told}
        identity = workflow_id(present.tenant_id, present.redemption_id)
        return outbox.OutboxCommand(kind="update", workflow_id=identity, name=f"moved:{number}", argument=argument)
    start = start_entry(
        present.tenant_id,
        present.redemption_id,
        external_user_id=present.external_user_id,
        reward=present.reward,
        status=move.to,
        source_type=present.source_type,
    )
    argument = {"tenant_id": str(present.tenant_id), "redemption_id": str(present.redemption_id), **told}
    return outbox.OutboxCommand(
        kind="start",
        workflow_id=reversal_workflow_id(present.tenant_id, present.redemption_id),
        name=REVERSAL,
        argument={**start.argument, "argument": argument, "summary": f"reversed: {start.argument['summary']}"[:180]},
    )


async def untold_news(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> list[RedemptionUpdate]:
    """The moves that the redemption's workflow has not been told yet."""
    untold = await outbox.unsent_updates(connection, tenant_id, workflow_id(tenant_id, redemption_id), "moved")
    return [msgspec.convert(each, RedemptionUpdate) for each in untold]


async def tell_attempted(connection: Connection, tenant_id: UUID, redemption_id: UUID, *, attempt: int, answer: str) -> None:
    """Let the redemption's history show an attempt that was made by hand."""
    identity = workflow_id(tenant_id, redemption_id)
    entry = outbox.OutboxCommand(
        kind="update", workflow_id=identity, name=f"attempted:{attempt}", argument={"attempt": attempt, "answer": answer}
    )
    await outbox.enqueue(connection, tenant_id, entry)
