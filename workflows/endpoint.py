"""One workflow for each endpoint: its pump has exactly one owner, and a place in Temporal's UI."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.endpoint import EndpointActivities
    from domain.webhook.webhook import EndpointInput, Shift
    from workflows.queues import queue

KIND = "endpoints"
FLAGS = SearchAttributeKey.for_keyword_list("Flags")
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
SHIFT_TIMEOUT = timedelta(hours=12)
FOREVER = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))


@workflow.defn(name="EndpointWorkflow")
class EndpointWorkflow:
    r"""served ── shift over, worker gone ──▶ served again, by whichever worker takes it first ── endpoint archived ──▶ ended

    The activity is the pump over what is due in PostgreSQL. It sleeps while nothing is due, and a notification wakes it.
    """

    @workflow.run
    async def run(self, endpoint: EndpointInput) -> None:
        """Keep the endpoint served; ends when it is archived."""
        sent = delivered = 0
        while not workflow.info().is_continue_as_new_suggested():
            shift: Shift = await workflow.execute_activity_method(
                EndpointActivities.pump,
                endpoint,
                task_queue=queue(KIND),
                start_to_close_timeout=SHIFT_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=FOREVER,
                summary="Send what is due",
            )
            sent, delivered = sent + shift.sent, delivered + shift.delivered
            if shift.failing is not None and shift.failing is not endpoint.failing and workflow.patched("tells-of-failures"):
                # 2026-12: replays histories in which workers of before took part
                endpoint = msgspec.structs.replace(endpoint, failing=shift.failing)
                workflow.upsert_search_attributes([FLAGS.value_set(["deliveries_failing"] if shift.failing else [])])
            workflow.set_current_details(f"{sent} attempts, {delivered} deliveries in the shifts that are over.")
            if shift.archived:
                return
            await workflow.sleep(timedelta(milliseconds=200), summary="Leave room for another worker")
        workflow.continue_as_new(endpoint, task_queue=queue(KIND))  # also for those that began in the core queue
