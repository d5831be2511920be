"""What becomes of an attempt that the workflow of a redemption asks for, by what is known of delivery and endpoint."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.webhook.sending import ABANDONED, OPEN, SendDecision, SendStep, decide_send, shown_answer
from domain.webhook.webhook import Delivery, DeliveryState, Endpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OVER = sorted(set(DeliveryState) - OPEN)


def delivery(state: DeliveryState = DeliveryState.PENDING, *, due_in: float | None = None) -> Delivery:
    return Delivery(
        delivery_id=uuid4(),
        endpoint_id=uuid4(),
        event="reward_redeemed",
        redemption_id=uuid4(),
        body=b"{}",
        state=state,
        attempts=1,
        last_status=None,
        last_error=None,
        next_attempt_at=None if due_in is None else NOW + timedelta(seconds=due_in),
        created_at=NOW,
        updated_at=NOW,
    )


def endpoint(*, enabled: bool = True) -> Endpoint:
    return Endpoint(
        endpoint_id=uuid4(),
        url="https://partner.example/hook",
        events=["reward_redeemed"],
        enabled=enabled,
        disabled_reason=None,
        description=None,
        rate_per_second=100.0,
        timeout_seconds=10.0,
        retry_delays_seconds=[5.0],
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize("state", sorted(OPEN))
def test_an_open_delivery_is_sent_held_or_abandoned_as_its_endpoint_is(state: DeliveryState) -> None:
    assert decide_send(delivery(state), endpoint(), recorded=None, now=NOW).step is SendStep.SEND
    held = decide_send(delivery(state), endpoint(enabled=False), recorded=None, now=NOW)
    assert (held.step, held.answer, held.gone) == (SendStep.HOLD, "held", False)
    assert decide_send(delivery(state), None, recorded=None, now=NOW) == ABANDONED


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize("there", [True, False])
def test_a_delivery_that_is_over_is_not_sent_again_whatever_its_endpoint_is(state: DeliveryState, there: bool) -> None:
    said = decide_send(delivery(state), endpoint() if there else None, recorded=None, now=NOW)
    assert said == SendDecision(step=SendStep.ANSWER, answer=state.value, gone=state is DeliveryState.CANCELLED)


@pytest.mark.parametrize(("due_in", "wait"), [(None, 0.0), (30.0, 30.0), (-5.0, 0.0)])
def test_an_attempt_that_was_answered_before_says_the_same_again(due_in: float | None, wait: float) -> None:
    said = decide_send(delivery(due_in=due_in), endpoint(enabled=False), recorded="http_500", now=NOW)
    assert said == SendDecision(step=SendStep.ANSWER, answer="http_500", wait_seconds=wait)


@pytest.mark.parametrize("state", OVER)
def test_the_last_answer_of_a_delivery_that_is_over_asks_for_no_other_attempt(state: DeliveryState) -> None:
    said = decide_send(delivery(state, due_in=30), endpoint(), recorded="http_200", now=NOW)
    assert said == SendDecision(step=SendStep.ANSWER, answer="http_200")


def test_an_answer_is_shown_by_its_error_or_its_status() -> None:
    assert [shown_answer(200, None), shown_answer(500, "http_500"), shown_answer(None, "timeout"), shown_answer(None, None)] == [
        "http_200",
        "http_500",
        "timeout",
        "unknown",
    ]
