"""One attempt of a webhook: claim it, send it, record what came of it (contract 5).

At least once: the attempt is recorded and committed before it is sent. A worker that dies in between leaves a record without an end, and
the same number and id are sent again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
from temporalio import activity

from activities.failure import refusals_are_final
from domain.error import DomainError, NotFound
from domain.fulfilment import SendInput, Sent
from domain.redemption import FINAL, Decision, Flag, Move, Redemption, State, read_callback
from domain.webhook import (
    Delivery,
    DeliveryState,
    Endpoint,
    Ladder,
    Verdict,
    error_class,
    judge,
    next_delay,
    request_headers,
    retry_after_seconds,
    signatures,
)
from runtime.crypto import Vault
from runtime.http import Outcome, Sender
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage import delivery as deliveries
from storage.delivery import Attempt, Result
from storage.redemption import clear_flags, find_redemption, last_number, lock_redemption, move_redemption, set_flag
from storage.webhook import SECRET_PURPOSE, disable_endpoint, find_endpoint, live_secrets

BY_WORKFLOW = "workflow"
BY_ANSWER = "webhook answer"
HEARTBEAT_SECONDS = 3.0
GONE = 410


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one request needs, read when its attempt was recorded. `earlier`: it has been answered before."""

    delivery: Delivery
    endpoint: Endpoint
    secrets: list[str]
    attempt: Attempt


class WebhookActivities:
    """Sends webhooks. Raises only for our own faults, which cost no attempt."""

    def __init__(self, pool: Pool, vault: Vault, sender: Sender) -> None:
        self._pool = pool
        self._vault = vault
        self._sender = sender

    @activity.defn(name="send_webhook")
    async def send(self, given: SendInput) -> Sent:
        """Make one attempt of the ladder, unless it was answered before or the delivery is over."""
        with refusals_are_final():
            async with _heartbeats():
                claim = await self._claim(given)
                if isinstance(claim, Sent):
                    return claim
                outcome = await self._exchange(claim)
                async with transaction(self._pool) as connection:
                    return await self._record(connection, given, claim, outcome)

    async def _claim(self, given: SendInput) -> Claim | Sent:
        now = utc_now()
        async with transaction(self._pool) as connection:
            redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
            delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
            if delivery.attempts >= given.attempt or delivery.state not in (DeliveryState.PENDING, DeliveryState.HELD):
                known = await self._known_answer(connection, given, redemption, delivery)
                if known is not None:
                    return known
            try:
                endpoint = await find_endpoint(connection, given.tenant_id, delivery.endpoint_id)
            except NotFound:
                endpoint = None
            if endpoint is None or not endpoint.enabled:
                await deliveries.hold_delivery(connection, given.tenant_id, given.delivery_id, now)
                return await self._answer(connection, redemption, "held", held=True)
            attempt = await deliveries.claim_attempt(
                connection, given.tenant_id, given.delivery_id, given.attempt, url=endpoint.url, now=now
            )
            sealed = await live_secrets(connection, given.tenant_id, endpoint.endpoint_id, now)
            secrets = [self._vault.open(each, SECRET_PURPOSE) for each in sealed]
            return Claim(delivery=delivery, endpoint=endpoint, secrets=secrets, attempt=attempt)

    async def _known_answer(self, connection: Connection, given: SendInput, redemption: Redemption, delivery: Delivery) -> Sent | None:
        """What is known already: this attempt was answered before our report got lost, or the delivery is over."""
        recorded = await deliveries.attempts_of(connection, given.tenant_id, given.delivery_id)
        mine = next((each for each in recorded if each.number == given.attempt), None)
        if mine is not None and mine.ended_at is not None:
            wait = None
            if delivery.state is DeliveryState.PENDING and delivery.next_attempt_at is not None:
                wait = max(0.0, (delivery.next_attempt_at - utc_now()).total_seconds())
            return await self._answer(connection, redemption, _shown(mine.status, mine.error_class), wait_seconds=wait)
        if delivery.state is DeliveryState.PENDING or delivery.state is DeliveryState.HELD:
            return None
        return await self._answer(connection, redemption, delivery.state.value)

    async def _exchange(self, claim: Claim) -> Outcome:
        timestamp = int(utc_now().timestamp())
        signed = signatures(claim.secrets, str(claim.delivery.delivery_id), timestamp, claim.delivery.body)
        headers = request_headers(claim.delivery, claim.attempt.number, timestamp, signed)
        return await self._sender.post(claim.endpoint.url, headers, claim.delivery.body, claim.endpoint.timeout_seconds)

    async def _record(self, connection: Connection, given: SendInput, claim: Claim, outcome: Outcome) -> Sent:
        """Log the answer and let it move delivery and redemption, unless a callback has ended them meanwhile."""
        now = utc_now()
        shown = error_class(outcome.status, outcome.error)
        redemption = await lock_redemption(connection, given.tenant_id, given.redemption_id)
        delivery = await deliveries.lock_delivery(connection, given.tenant_id, given.delivery_id)
        await deliveries.end_attempt(connection, given.tenant_id, given.delivery_id, given.attempt, outcome=outcome, shown=shown, now=now)
        if delivery.state is not DeliveryState.PENDING or redemption.status in FINAL:
            return await self._answer(connection, redemption, _shown(outcome.status, shown))
        verdict = judge(outcome.status, outcome.error)
        wait = None
        if verdict is Verdict.RETRY:
            remaining = None if given.deadline_at is None else (given.deadline_at - now).total_seconds()
            asked = retry_after_seconds(outcome.retry_after, now)
            ladder = Ladder(delays=given.retry_delays_seconds)
            wait = next_delay(given.attempt, ladder, given.jitter, retry_after=asked, remaining=remaining)
        result = Result(
            state=_state_after(verdict, wait),
            status=outcome.status,
            error=shown,
            next_attempt_at=None if wait is None else now + timedelta(seconds=wait),
        )
        await deliveries.record_result(connection, given.tenant_id, given.delivery_id, result, now)
        if outcome.status == GONE and outcome.error is None:
            await disable_endpoint(connection, given.tenant_id, delivery.endpoint_id, "the endpoint answered 410 Gone", now)
        await _move_on(connection, redemption, result.state, outcome)
        return await self._answer(connection, redemption, _shown(outcome.status, shown), wait_seconds=wait)

    async def _answer(
        self, connection: Connection, redemption: Redemption, answer: str, *, wait_seconds: float | None = None, held: bool = False
    ) -> Sent:
        present = await find_redemption(connection, redemption.tenant_id, redemption.redemption_id)
        number = await last_number(connection, redemption.tenant_id, redemption.redemption_id)
        return Sent(status=present.status, number=number, answer=answer, wait_seconds=wait_seconds, held=held)


async def _move_on(connection: Connection, redemption: Redemption, state: DeliveryState, outcome: Outcome) -> None:
    """What the delivery's new state does to its redemption, in the same transaction."""
    now = utc_now()
    tenant_id, redemption_id = redemption.tenant_id, redemption.redemption_id
    if state is DeliveryState.EXHAUSTED:
        await set_flag(connection, tenant_id, redemption_id, Flag.DELIVERY_EXHAUSTED, now)
    if state is not DeliveryState.DELIVERED:
        return
    await clear_flags(connection, tenant_id, redemption_id, now)
    if redemption.status is State.PENDING:
        accepted = Move(to=State.PROCESSING, by=BY_WORKFLOW, note=f"webhook accepted with {outcome.status}", from_workflow=True)
        await move_redemption(connection, tenant_id, redemption_id, accepted, now)
    callback = _callback_in(outcome.head) if redemption.fulfilment.get("answer_is_callback") else None
    if callback is not None:
        moved = await move_redemption(connection, tenant_id, redemption_id, callback, now)
        if moved.decision is not Decision.MOVE:
            activity.logger.info("the answer's status %s changed nothing: %s", callback.to, moved.status)


def _callback_in(head: bytes) -> Move | None:
    """The callback in a partner's answer, or None when the answer holds none that we understand."""
    try:
        body: Any = msgspec.json.decode(head)
        if not isinstance(body, dict) or body.get("status") not in (State.FULFILLED, State.FAILED):
            return None
        return msgspec.structs.replace(read_callback(body, BY_ANSWER), from_workflow=True)
    except (msgspec.MsgspecError, UnicodeError, DomainError):
        return None


def _state_after(verdict: Verdict, wait: float | None) -> DeliveryState:
    if verdict is Verdict.DELIVERED:
        return DeliveryState.DELIVERED
    return DeliveryState.PENDING if wait is not None else DeliveryState.EXHAUSTED


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
