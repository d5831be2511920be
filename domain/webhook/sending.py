"""Whether an attempt of the fulfilment webhook is made now, and what there is to say instead: decided by values alone (contract 5)."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.webhook.webhook import Delivery, DeliveryState, Endpoint


class SendStep(StrEnum):
    """What becomes of an attempt that the workflow asks for."""

    SEND = "send"  # it is recorded, and then sent
    ANSWER = "answer"  # it was answered before our report got lost, or the delivery is over
    HOLD = "hold"  # the endpoint is disabled; no attempt is used
    DEFER = "defer"  # the endpoint is at its rate or concurrency; no attempt is used
    ABANDON = "abandon"  # the endpoint is archived; the redemption looks for another one


class SendDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The step, and what the workflow is told: `answer` in words, when to ask again, and whether the endpoint is `gone`."""

    step: SendStep
    answer: str = ""
    wait_seconds: float | None = None
    gone: bool = False


ABANDONED = SendDecision(step=SendStep.ABANDON, answer="its endpoint is archived", gone=True)
OPEN = frozenset({DeliveryState.PENDING, DeliveryState.HELD})


def shown_answer(status: int | None, error: str | None) -> str:
    """What an attempt came to, as the workflow's history says it: the error class or `http_<status>`."""
    return error or (f"http_{status}" if status is not None else "unknown")


def decide_send(delivery: Delivery, endpoint: Endpoint | None, *, recorded: str | None, now: datetime) -> SendDecision:
    """What to do about an attempt. `endpoint` is None when it is archived, `recorded` what the attempt came to if it has ended before."""
    is_open = delivery.state in OPEN
    if recorded is not None:
        return SendDecision(step=SendStep.ANSWER, answer=recorded, wait_seconds=_wait_of(delivery, now) if is_open else None)
    if not is_open:
        return SendDecision(step=SendStep.ANSWER, answer=delivery.state.value, gone=delivery.state is DeliveryState.CANCELLED)
    if endpoint is None:
        return ABANDONED
    return SendDecision(step=SendStep.SEND) if endpoint.enabled else SendDecision(step=SendStep.HOLD, answer="held")


def _wait_of(delivery: Delivery, now: datetime) -> float:
    """Until the next attempt. Without an instant it was claimed already, and its worker died, or it is held."""
    due = delivery.next_attempt_at
    return 0.0 if due is None else max(0.0, (due - now).total_seconds())
