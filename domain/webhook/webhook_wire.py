"""Webhook endpoints and deliveries as admins see them (contract 5)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.webhook.webhook import Delivery, DeliveryState, Endpoint
from domain.wire import Id, Instant, NextCursor, optional_rfc3339, rfc3339

Seconds = Annotated[int | float, Meta(examples=[10])]


class WebhookEndpointAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's address, and how it is called."""

    endpoint_id: Id
    url: Annotated[str, Meta(examples=["https://partner.example/webhooks/laurel"])]
    events: Annotated[list[str], Meta(description="Which events go there; * for all", examples=[["*"]])]
    enabled: bool
    disabled_reason: Annotated[str | None, Meta(description="Why it was disabled, by Laurel or by a person")]
    description: str | None
    rate_per_second: Annotated[int | float, Meta(description="Most requests in a second", examples=[50])]
    timeout_seconds: Seconds
    retry_delays_seconds: Annotated[list[int | float], Meta(description="Waits before the retries", examples=[[15, 120, 900]])]
    created_at: Instant
    updated_at: Instant


class WebhookEndpointListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Webhook endpoints, oldest first."""

    webhook_endpoints: list[WebhookEndpointAnswer]
    next_cursor: NextCursor


class WebhookEndpointSecret(WebhookEndpointAnswer, frozen=True, kw_only=True):
    """An endpoint with its secret, which is shown only where it has just been made."""

    secret: Annotated[str, Meta(examples=["whsec_…"])]


class SetWebhook(WebhookEndpointAnswer, frozen=True, kw_only=True):
    """The endpoint of the short form; the secret is there when it was made now."""

    secret: str | UnsetType = UNSET


class RotatedSecret(WebhookEndpointSecret, frozen=True, kw_only=True):
    """An endpoint with its new secret, and until when the old one signs along."""

    old_secret_expires_at: Instant


class DeliverySummary(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one endpoint."""

    delivery_id: Id
    endpoint_id: Id
    event: Annotated[str, Meta(examples=["reward_redeemed"])]
    redemption_id: Id | None
    state: DeliveryState
    last_status: Annotated[int | None, Meta(description="HTTP status of the latest answer", examples=[200])]
    last_error: Annotated[str | None, Meta(examples=["timeout"])]
    next_attempt_at: Instant | None
    created_at: Instant
    updated_at: Instant


class DeliveryAnswer(DeliverySummary, frozen=True, kw_only=True):
    """A delivery as lists show it."""

    attempts: Annotated[int, Meta(description="How often it was sent", examples=[1])]


class DeliveryListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, newest first."""

    deliveries: list[DeliveryAnswer]
    next_cursor: NextCursor


class AttemptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request of a delivery. Without `ended_at` it is in progress, or its worker died."""

    number: Annotated[int, Meta(examples=[1])]
    trigger: Annotated[str, Meta(description="scheduled, or manual for one that was asked for", examples=["scheduled"])]
    url: str
    started_at: Instant
    ended_at: Instant | None
    duration_ms: float | None
    status: Annotated[int | None, Meta(examples=[200])]
    error_class: Annotated[str | None, Meta(examples=["timeout"])]
    answer_head: Annotated[str | None, Meta(description="The beginning of the answer's body")]
    remote_address: str | None


class DeliveryDetails(DeliverySummary, frozen=True, kw_only=True):
    """A delivery with its body and its attempts."""

    body: Annotated[str, Meta(description="The bytes that every attempt sends, as text")]
    attempt_count: Annotated[int, Meta(examples=[1])]
    attempts: list[AttemptAnswer]


def endpoint_answer(endpoint: Endpoint) -> WebhookEndpointAnswer:
    """The endpoint, without its secret."""
    return WebhookEndpointAnswer(
        endpoint_id=endpoint.endpoint_id,
        url=endpoint.url,
        events=endpoint.events,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        description=endpoint.description,
        rate_per_second=_number(endpoint.rate_per_second),
        timeout_seconds=_number(endpoint.timeout_seconds),
        retry_delays_seconds=[_number(delay) for delay in endpoint.retry_delays_seconds],
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


def delivery_summary(delivery: Delivery) -> DeliverySummary:
    """What lists and details have in common."""
    return DeliverySummary(
        delivery_id=delivery.delivery_id,
        endpoint_id=delivery.endpoint_id,
        event=delivery.event,
        redemption_id=delivery.redemption_id,
        state=delivery.state,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        next_attempt_at=optional_rfc3339(delivery.next_attempt_at),
        created_at=rfc3339(delivery.created_at),
        updated_at=rfc3339(delivery.updated_at),
    )


def delivery_answer(delivery: Delivery) -> DeliveryAnswer:
    """The delivery as lists show it."""
    return DeliveryAnswer(**msgspec.structs.asdict(delivery_summary(delivery)), attempts=delivery.attempts)


def delivery_details(delivery: Delivery, attempts: list[AttemptAnswer]) -> DeliveryDetails:
    """The delivery as its page shows it."""
    return DeliveryDetails(
        **msgspec.structs.asdict(delivery_summary(delivery)),
        body=delivery.body.decode(),
        attempt_count=delivery.attempts,
        attempts=attempts,
    )


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
