"""The reversal of a fulfilled redemption, for those who look in Temporal's UI: that it happened, by whom, and why (contract 4)."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.redemption.messages import RedemptionOutcome, ReversalInput
    from domain.redemption.redemption import RedemptionState


@workflow.defn
class RedemptionReversalWorkflow:
    r"""fulfilled ── reversed by staff ──▶ done

    The points were returned in the transaction that started this; the redemption's own workflow had ended when it was fulfilled. So the
    reversal has a history of its own, which the search attributes `RedemptionId` and `RedemptionStatus` find.
    """

    @workflow.run
    async def run(self, reversal: ReversalInput) -> RedemptionOutcome:
        """Show what happened."""
        why = f": {reversal.note}" if reversal.note else ""
        workflow.set_current_details(
            f"Status: **{RedemptionState.REVERSED.value}** by {reversal.by or 'staff'}{why}\n\n"
            f"Row {reversal.number} of the timeline of `redemption:{reversal.tenant_id}:{reversal.redemption_id}`"
        )
        return RedemptionOutcome(status=RedemptionState.REVERSED)
