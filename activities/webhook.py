"""One attempt of a webhook: claim it, send it, record what came of it (contract 5).

At least once: the attempt is recorded and committed before it is sent. A worker that dies in between leaves a record without an end, and
the same number and id are sent again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
from temporalio import activity

from activities.failure import refusals_are_final
from domain.errors import NotFound
from domain.redemption.messages import SendInput, SendResult
from domain.redemption.redemption import FINAL, Redemption
from domain.webhook.webhook import Delivery, DeliveryState, Endpoint, error_class
from loops.webhook.attempt import AttemptClaim, Waits, exchange, is_gone, move_on, open_secrets, result_of, switch_off
from loops.webhook.send_slot import Throttle
from runtime.crypto import Vault
from runtime.http import ExchangeOutcome, Sender
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.move import find_redemption, last_number, lock_redemption
from storage.redemption.without_endpoint import abandon_delivery, lock_endpoints
from storage.webhook import delivery as deliveries
from storage.webhook.due_delivery import reserve_send_slots
from storage.webhook.endpoint import find_endpoint

HEARTBEAT_SECONDS = 3.0
TURN_PATIENCE_SECONDS = 0.1
"""A turn this near is not worth a wait in the workflow: the rate is kept on average."""
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
            async with _heartbeats():
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
        now = utc_now()
        async with transaction(self._pool) as connection:
            if is_held:
                await lock_endpoints(connection, given.tenant_id, shared=True)
            redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
            delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
            if delivery.attempts >= given.attempt or delivery.state not in (DeliveryState.PENDING, DeliveryState.HELD):
                known = await self._known_answer(connection, given, redemption, delivery)
                if known is not None:
                    return known
            try:
                endpoint = await find_endpoint(connection, given.tenant_id, delivery.endpoint_id)
            except NotFound:
                return await self._abandon(connection, given, redemption)
            if not endpoint.enabled and not is_held:
                return None
            if not endpoint.enabled:
                await deliveries.hold_delivery(connection, given.tenant_id, given.delivery_id, now)
                return await self._answer(connection, redemption, "held", held=True)
            wait = await self._turn(connection, given, endpoint)
            if wait > TURN_PATIENCE_SECONDS:
                answer = await self._answer(connection, redemption, "its turn is later", wait_seconds=wait)
                return msgspec.structs.replace(answer, deferred=True)
            attempt = await deliveries.claim_attempt(
                connection, given.tenant_id, given.delivery_id, given.attempt, url=endpoint.url, now=now
            )
            secrets = await open_secrets(connection, self._vault, given.tenant_id, endpoint.endpoint_id)
            return AttemptClaim(delivery=delivery, endpoint=endpoint, secrets=secrets, attempt=attempt)

    async def _turn(self, connection: Connection, given: SendInput, endpoint: Endpoint) -> float:
        """Seconds until this send may go: above its rate or concurrency sends are told their turns and hold no slot till then."""
        full = self._throttle.room(given.tenant_id, endpoint.endpoint_id) == 0
        if given.turn_reserved and not full:
            return 0.0
        spacing, now = timedelta(seconds=self._throttle.spacing_seconds(endpoint)), utc_now()
        slot_at = await reserve_send_slots(connection, given.tenant_id, endpoint.endpoint_id, 1, spacing=spacing, now=now)
        return max((slot_at - now).total_seconds(), FULL_SECONDS if full else 0.0)

    async def _known_answer(
        self, connection: Connection, given: SendInput, redemption: Redemption, delivery: Delivery
    ) -> SendResult | None:
        """What is known already: this attempt was answered before our report got lost, or the delivery is over."""
        recorded = await deliveries.attempts_of(connection, given.tenant_id, given.delivery_id)
        mine = next((each for each in recorded if each.number == given.attempt), None)
        if mine is not None and mine.ended_at is not None:
            wait = None
            if delivery.state in (DeliveryState.PENDING, DeliveryState.HELD):
                # Without an instant the next attempt was claimed already, and its worker died, or it is held.
                due = delivery.next_attempt_at
                wait = 0.0 if due is None else max(0.0, (due - utc_now()).total_seconds())
            return await self._answer(connection, redemption, _shown(mine.status, mine.error_class), wait_seconds=wait)
        if delivery.state is DeliveryState.PENDING or delivery.state is DeliveryState.HELD:
            return None
        answer = await self._answer(connection, redemption, delivery.state.value)
        return msgspec.structs.replace(answer, gone=delivery.state is DeliveryState.CANCELLED)

    async def _record(self, connection: Connection, given: SendInput, claim: AttemptClaim, outcome: ExchangeOutcome) -> SendResult:
        """Log the answer and let it move delivery and redemption, unless a callback has ended them meanwhile."""
        now = utc_now()
        shown = error_class(outcome.status, outcome.error)
        redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
        delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
        await deliveries.end_attempt(connection, given.tenant_id, given.delivery_id, given.attempt, outcome=outcome, shown=shown, now=now)
        if delivery.state is not DeliveryState.PENDING or redemption.status in FINAL:
            return await self._answer(connection, redemption, _shown(outcome.status, shown))
        waits = Waits(delays=given.retry_delays_seconds, jitter=given.jitter, deadline_at=given.deadline_at)
        result = result_of(outcome, given.attempt, waits, now)
        wait = None if result.next_attempt_at is None else (result.next_attempt_at - now).total_seconds()
        if is_gone(outcome) and not await switch_off(connection, given.tenant_id, delivery.endpoint_id, now):
            return await self._abandon(connection, given, redemption)
        await deliveries.record_result(connection, given.tenant_id, given.delivery_id, result, now=now)
        await move_on(connection, redemption, result.state, outcome, from_workflow=True)
        return await self._answer(connection, redemption, _shown(outcome.status, shown), wait_seconds=wait)

    async def _abandon(self, connection: Connection, given: SendInput, redemption: Redemption) -> SendResult:
        """Its endpoint is archived: the redemption looks for another one."""
        await abandon_delivery(connection, given.tenant_id, given.redemption_id, given.delivery_id)
        return msgspec.structs.replace(await self._answer(connection, redemption, "its endpoint is archived"), gone=True)

    async def _answer(
        self, connection: Connection, redemption: Redemption, answer: str, *, wait_seconds: float | None = None, held: bool = False
    ) -> SendResult:
        present = await find_redemption(connection, redemption.tenant_id, redemption.redemption_id)
        number = await last_number(connection, redemption.tenant_id, redemption.redemption_id)
        return SendResult(
            status=present.status, number=number, answer=answer, wait_seconds=wait_seconds, held=held, flags=list(present.flags)
        )


def _shown(status: int | None, shown: str | None) -> str:
    return shown or (f"http_{status}" if status is not None else "unknown")


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal that the worker lives, so that a dead one's attempt is taken over within seconds."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
