"""One HTTP try of a delivery, whoever makes it: the redemption's workflow or the endpoint's pump (contract 5)."""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from domain.errors import DomainError, NotFound
from domain.redemption.redemption import Decision, Move, Redemption, RedemptionFlag, RedemptionState, read_callback
from domain.webhook.webhook import (
    AnswerVerdict,
    Delivery,
    DeliveryState,
    Endpoint,
    Ladder,
    error_class,
    judge,
    next_delay,
    request_headers,
    retry_after_seconds,
    signatures,
)
from domain.wire import holds_nul
from runtime.crypto import Vault
from runtime.http import ExchangeOutcome, Sender
from runtime.ids import utc_now
from runtime.postgres import Connection
from storage.redemption.move import clear_flags, move_redemption, set_flag
from storage.webhook.delivery import Attempt, AttemptResult
from storage.webhook.endpoint import SECRET_PURPOSE, disable_endpoint, live_secrets

log = logging.getLogger(__name__)

BY_WORKFLOW = "workflow"
BY_ANSWER = "webhook answer"
GONE = 410


class AttemptClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one request needs, read when its attempt was recorded."""

    delivery: Delivery
    endpoint: Endpoint
    secrets: list[str]
    attempt: Attempt


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how long to wait after a failed attempt. `jitter` is in -1..1."""

    delays: tuple[float, ...]
    jitter: float
    deadline_at: datetime | None = None


async def open_secrets(connection: Connection, vault: Vault, tenant_id: UUID, endpoint_id: UUID) -> list[str]:
    """The secrets that sign now, the newest first."""
    return [vault.open(each, SECRET_PURPOSE) for each in await live_secrets(connection, tenant_id, endpoint_id, utc_now())]


async def exchange(sender: Sender, claim: AttemptClaim) -> ExchangeOutcome:
    """Sign with the time of this moment, send, and wait for the answer."""
    timestamp = int(utc_now().timestamp())
    signed = signatures(claim.secrets, str(claim.delivery.delivery_id), timestamp, claim.delivery.body)
    headers = request_headers(claim.delivery, claim.attempt.number, timestamp, signed)
    return await sender.post(claim.endpoint.url, headers, claim.delivery.body, claim.endpoint.timeout_seconds)


def result_of(outcome: ExchangeOutcome, number: int, waits: Waits, now: datetime) -> AttemptResult:
    """What this scheduled attempt makes of its delivery: delivered, to be tried again at an instant, or exhausted."""
    verdict = judge(outcome.status, outcome.error)
    wait = None
    if verdict is AnswerVerdict.RETRY:
        remaining = None if waits.deadline_at is None else (waits.deadline_at - now).total_seconds()
        asked = retry_after_seconds(outcome.retry_after, now)
        wait = next_delay(number, Ladder(delays=waits.delays), waits.jitter, retry_after=asked, remaining=remaining)
    return AttemptResult(
        state=_state_after(verdict, wait),
        status=outcome.status,
        error=error_class(outcome.status, outcome.error),
        next_attempt_at=None if wait is None else now + timedelta(seconds=wait),
    )


def _state_after(verdict: AnswerVerdict, wait: float | None) -> DeliveryState:
    if verdict is AnswerVerdict.DELIVERED:
        return DeliveryState.DELIVERED
    return DeliveryState.PENDING if wait is not None else DeliveryState.EXHAUSTED


def is_gone(outcome: ExchangeOutcome) -> bool:
    """Whether the partner says that this endpoint is no more, which disables it."""
    return outcome.status == GONE and outcome.error is None


async def switch_off(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> bool:
    """Disable the endpoint that answered 410; False when it was archived during the send, which says the same."""
    try:
        await disable_endpoint(connection, tenant_id, endpoint_id, "the endpoint answered 410 Gone", now=now)
    except NotFound:
        return False
    return True


async def move_on(
    connection: Connection, redemption: Redemption, state: DeliveryState, outcome: ExchangeOutcome, *, from_workflow: bool
) -> None:
    """What the new state of its fulfilment delivery does to a redemption, in the same transaction."""
    now = utc_now()
    tenant_id, redemption_id = redemption.tenant_id, redemption.redemption_id
    if state is DeliveryState.EXHAUSTED:
        await set_flag(connection, tenant_id, redemption_id, RedemptionFlag.DELIVERY_EXHAUSTED, now=now)
    if state is not DeliveryState.DELIVERED:
        return
    await clear_flags(connection, tenant_id, redemption_id, now)
    if redemption.status is RedemptionState.PENDING:
        accepted = Move(
            to=RedemptionState.PROCESSING, by=BY_WORKFLOW, note=f"webhook accepted with {outcome.status}", from_workflow=from_workflow
        )
        await move_redemption(connection, tenant_id, redemption_id, accepted, now=now)
    callback = _callback_in(outcome.head) if redemption.fulfilment.get("answer_is_callback") else None
    if callback is not None:
        callback = msgspec.structs.replace(callback, from_workflow=from_workflow)
        try:
            async with connection.transaction():
                moved = await move_redemption(connection, tenant_id, redemption_id, callback, now=now)
        except psycopg.OperationalError:
            raise  # ours: the attempt is recorded later
        except (DomainError, psycopg.Error, ValueError, OverflowError, RecursionError, TypeError) as refusal:
            # Whatever stands in an answer, the attempt that it answers is recorded.
            log.warning("the answer's status %s was refused: %s", callback.to, refusal)
            return
        if moved.decision is not Decision.MOVE:
            log.info("the answer's status %s changed nothing: %s", callback.to, moved.status)


def _callback_in(head: bytes) -> Move | None:
    """The callback in a partner's answer, or None when the answer holds none that we understand."""
    try:
        body: Any = msgspec.json.decode(head)
        if not isinstance(body, dict) or body.get("status") not in (RedemptionState.FULFILLED, RedemptionState.FAILED) or holds_nul(body):
            return None
        return read_callback(body, BY_ANSWER)
    except (msgspec.MsgspecError, UnicodeError, DomainError, RecursionError):
        return None
