"""One attempt of a webhook: claim it, send it, record what came of it (contract 5).

At least once: the attempt is recorded and committed before it is sent. A worker that dies in between leaves a record without an end, and
the same number and id are sent again.
"""

from datetime import timedelta
from uuid import UUID

from temporalio import activity

from activities.failure import refusals_are_final
from activities.heartbeat import heartbeats
from domain.errors import NotFound
from domain.redemption.messages import SendInput, SendResult
from domain.redemption.redemption import FINAL, Redemption
from domain.webhook.sending import ABANDONED, SendDecision, SendStep, decide_send, shown_answer
from domain.webhook.webhook import Delivery, DeliveryState, Endpoint, error_class
from loops.webhook.attempt import AttemptClaim, Waits, exchange, is_gone, move_on, open_secrets, result_of, switch_off
from loops.webhook.send_slot import Throttle
from runtime.crypto import Vault
from runtime.http import ExchangeOutcome, Sender
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.command import untold_news
from storage.redemption.redemption import find_redemption, lock_redemption
from storage.redemption.timeline import last_number
from storage.redemption.without_endpoint import abandon_delivery, lock_endpoints
from storage.webhook import delivery as deliveries
from storage.webhook.due_delivery import reserve_send_slots
from storage.webhook.endpoint import find_endpoint

SLOT_PATIENCE_SECONDS = 0.1
"""A slot this near is not worth a wait in the workflow: the rate is kept on average."""
FULL_SECONDS = 0.5


class WebhookActivities:
    """Sends webhooks. Raises only for our own faults, which cost no attempt."""

    def __init__(self, pool: Pool, vault: Vault, sender: Sender) -> None:
        self._pool = pool
        self._vault = vault
        self._sender = sender
        self._throttle = Throttle()

    @activity.defn(name="send_webhook")
    async def send(self, given: SendInput) -> SendResult:
        """Make one attempt of the ladder, unless it was answered before or the delivery is over."""
        with refusals_are_final():
            async with heartbeats():
                claim = await self._claim(given)
                if isinstance(claim, SendResult):
                    return claim
                with self._throttle.taken(given.tenant_id, claim.endpoint.endpoint_id):
                    outcome = await exchange(self._sender, claim)
                async with transaction(self._pool) as connection:
                    return await self._record(connection, given, claim, outcome)

    async def _claim(self, given: SendInput) -> AttemptClaim | SendResult:
        """The attempt, recorded, or what there is to say instead of it."""
        claim = await self._claim_once(given)
        if claim is None:
            claim = await self._claim_once(given, is_held=True)
        assert claim is not None
        return claim

    async def _claim_once(self, given: SendInput, *, is_held: bool = False) -> AttemptClaim | SendResult | None:
        """None when the endpoint is disabled. `is_held` is the second look, which nobody can enable or archive the endpoint beside:
        whoever does so waits for this transaction, and then finds the delivery held."""
        async with transaction(self._pool) as connection:
            if is_held:
                await lock_endpoints(connection, given.tenant_id, shared=True)
            redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
            delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
            endpoint = await _endpoint_of(connection, given.tenant_id, delivery)
            recorded = await _recorded(connection, given.tenant_id, delivery, given.attempt)
            now = utc_now()
            decision = decide_send(delivery, endpoint, recorded=recorded, now=now)
            match decision.step:
                case SendStep.SEND if endpoint is not None:
                    return await self._begin(connection, given, redemption, delivery, endpoint=endpoint)
                case SendStep.HOLD if not is_held:
                    return None
                case SendStep.HOLD:
                    await deliveries.hold_delivery(connection, given.tenant_id, given.delivery_id, now)
                case SendStep.ABANDON:
                    await abandon_delivery(connection, given.tenant_id, given.redemption_id, given.delivery_id)
            return await _answer(connection, redemption, decision)

    async def _begin(
        self, connection: Connection, given: SendInput, redemption: Redemption, delivery: Delivery, *, endpoint: Endpoint
    ) -> AttemptClaim | SendResult:
        """Record the attempt, unless its slot is later: above an endpoint's rate or concurrency the workflow waits, not the worker."""
        wait = await self._wait_for_slot(connection, given, endpoint)
        if wait > SLOT_PATIENCE_SECONDS:
            return await _answer(connection, redemption, SendDecision(step=SendStep.DEFER, answer="its turn is later", wait_seconds=wait))
        attempt = await deliveries.claim_attempt(
            connection, given.tenant_id, given.delivery_id, given.attempt, url=endpoint.url, now=utc_now()
        )
        secrets = await open_secrets(connection, self._vault, given.tenant_id, endpoint.endpoint_id)
        return AttemptClaim(delivery=delivery, endpoint=endpoint, secrets=secrets, attempt=attempt)

    async def _wait_for_slot(self, connection: Connection, given: SendInput, endpoint: Endpoint) -> float:
        """Seconds until this send may go: above its rate or concurrency sends are told their slots and wait for them in Temporal."""
        full = self._throttle.room(given.tenant_id, endpoint.endpoint_id) == 0
        if given.turn_reserved and not full:
            return 0.0
        spacing, now = timedelta(seconds=self._throttle.spacing_seconds(endpoint)), utc_now()
        slot_at = await reserve_send_slots(connection, given.tenant_id, endpoint.endpoint_id, 1, spacing=spacing, now=now)
        return max((slot_at - now).total_seconds(), FULL_SECONDS if full else 0.0)

    async def _record(self, connection: Connection, given: SendInput, claim: AttemptClaim, outcome: ExchangeOutcome) -> SendResult:
        """Log the answer and let it move delivery and redemption, unless a callback has ended them meanwhile."""
        now = utc_now()
        error = error_class(outcome.status, outcome.error)
        answer = shown_answer(outcome.status, error)
        redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
        delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
        await deliveries.end_attempt(connection, given.tenant_id, given.delivery_id, given.attempt, outcome=outcome, shown=error, now=now)
        if delivery.state is not DeliveryState.PENDING or redemption.status in FINAL:
            return await _answer(connection, redemption, SendDecision(step=SendStep.ANSWER, answer=answer))
        if is_gone(outcome) and not await switch_off(connection, given.tenant_id, delivery.endpoint_id, now):
            await abandon_delivery(connection, given.tenant_id, given.redemption_id, given.delivery_id)
            return await _answer(connection, redemption, ABANDONED)
        waits = Waits(delays=given.retry_delays_seconds, jitter=given.jitter, deadline_at=given.deadline_at)
        result = result_of(outcome, given.attempt, waits, now)
        await deliveries.record_result(connection, given.tenant_id, given.delivery_id, result, now=now)
        await move_on(connection, redemption, result.state, outcome, from_workflow=True)
        wait = None if result.next_attempt_at is None else (result.next_attempt_at - now).total_seconds()
        return await _answer(connection, redemption, SendDecision(step=SendStep.ANSWER, answer=answer, wait_seconds=wait))


async def _endpoint_of(connection: Connection, tenant_id: UUID, delivery: Delivery) -> Endpoint | None:
    """The delivery's endpoint, or None once it is archived."""
    try:
        return await find_endpoint(connection, tenant_id, delivery.endpoint_id)
    except NotFound:
        return None


async def _recorded(connection: Connection, tenant_id: UUID, delivery: Delivery, number: int) -> str | None:
    """What the attempt of that number came to; None when it has not ended, or was never made."""
    if delivery.attempts < number:
        return None
    recorded = await deliveries.attempts_of(connection, tenant_id, delivery.delivery_id)
    mine = next((each for each in recorded if each.number == number), None)
    return None if mine is None or mine.ended_at is None else shown_answer(mine.status, mine.error_class)


async def _answer(connection: Connection, redemption: Redemption, decision: SendDecision) -> SendResult:
    """What the workflow is told, with the redemption as it is now: what was decided may have moved it."""
    present = await find_redemption(connection, redemption.tenant_id, redemption.redemption_id)
    number = await last_number(connection, redemption.tenant_id, redemption.redemption_id)
    return SendResult(
        status=present.status,
        number=number,
        answer=decision.answer,
        wait_seconds=decision.wait_seconds,
        held=decision.step is SendStep.HOLD,
        deferred=decision.step is SendStep.DEFER,
        gone=decision.gone,
        flags=list(present.flags),
        news=await untold_news(connection, redemption.tenant_id, redemption.redemption_id),
    )
