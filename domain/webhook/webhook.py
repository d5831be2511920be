"""Webhooks (contract 5): how a request is signed, what an answer means, and when the next attempt is due."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from domain.errors import ValidationError

SECRET_PREFIX = "whsec_"  # noqa: S105 - a public prefix
SECRET_BYTES = 32


class WebhookEvent(StrEnum):
    """What webhooks tell of."""

    REWARD_REDEEMED = "reward_redeemed"
    REDEMPTION_UPDATED = "redemption_updated"
    TIER_CHANGE = "tier_change"
    REWARD_GRANTED = "reward_granted"
    POINTS_EXPIRING = "points.expiring"
    WINDOW_CLOSED = "leaderboard.window_closed"
    PAYOUT_COMPLETED = "payout.completed"
    LOW_STOCK = "reward.low_stock"
    TEST = "webhook.test"


EVENTS = tuple(event.value for event in WebhookEvent)
DEFAULT_RETRY_DELAYS = (15.0, 120.0, 900.0)
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_RATE_PER_SECOND = 50.0
JITTER = 0.2
RETRY_AFTER_MAXIMUM_SECONDS = 1800.0
USER_AGENT = "Laurel-Webhooks/1"


class AnswerVerdict(StrEnum):
    """What an answer means for the delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PERMANENT = "permanent"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    SUPERSEDED = "superseded"
    HELD = "held"
    CANCELLED = "cancelled"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's address and how we may call it."""

    endpoint_id: UUID
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    description: str | None
    rate_per_second: float
    timeout_seconds: float
    retry_delays_seconds: list[float]
    created_at: datetime
    updated_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one endpoint. `body` is what every attempt sends."""

    delivery_id: UUID
    endpoint_id: UUID
    event: str
    redemption_id: UUID | None
    body: bytes
    state: DeliveryState
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def redeemed(self) -> UUID | None:
        """The redemption whose `reward_redeemed` this is; None for every other event."""
        return self.redemption_id if self.event == "reward_redeemed" else None


class EndpointInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoint a workflow is about."""

    tenant_id: UUID
    endpoint_id: UUID
    failing: bool = False
    """What Temporal's UI says of its deliveries (`Shift.failing`)."""


class Shift(msgspec.Struct, kw_only=True):
    """What a pump did in one shift; `archived` ends its endpoint's workflow."""

    sent: int = 0
    delivered: int = 0
    archived: bool = False
    failing: bool | None = None
    """Whether the last delivery that came to an end was given up after all its attempts; None in histories from before this was told."""


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """The two schemes' values; `standard` is None when no live secret has the prefix."""

    seed: str
    standard: str | None


def endpoint_workflow_id(tenant_id: UUID, endpoint_id: UUID) -> str:
    """The id of the workflow that sends an endpoint's deliveries."""
    return f"endpoint:{tenant_id}:{endpoint_id}"


def make_secret(random: bytes) -> str:
    """A secret as it is shown once: `whsec_` and base64 of 32 random bytes."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a secret needs {SECRET_BYTES} random bytes")
    return SECRET_PREFIX + base64.b64encode(random).decode()


def check_secret(secret: str) -> None:
    """Raise ValidationError unless a partner may bring this secret: 16 to 255 printable characters, base64 after a prefix."""
    if not 16 <= len(secret) <= 255 or not secret.isascii() or not secret.isprintable():
        raise ValidationError.of("secret", "must have 16 to 255 printable ASCII characters")
    if secret.startswith(SECRET_PREFIX) and standard_key(secret) is None:
        raise ValidationError.of("secret", f"must be base64 after {SECRET_PREFIX}")


def standard_key(secret: str) -> bytes | None:
    """The key of the Standard Webhooks scheme, or None for a secret without the prefix."""
    if not secret.startswith(SECRET_PREFIX):
        return None
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    return key or None


def signatures(secrets: Sequence[str], delivery_id: str, timestamp: int, body: bytes) -> Signatures:
    """Sign a body by both schemes; `secrets` newest first, a second one only during a rotation.

    The seed header has one value and stays with the old secret until the overlap ends; its key is the secret as shown, prefix and
    all. The standard header lists one signature for each secret.
    """
    seed = hmac.new(secrets[-1].encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    content = f"{delivery_id}.{timestamp}.".encode() + body
    keys = [key for secret in secrets if (key := standard_key(secret)) is not None]
    listed = [f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}" for key in keys]
    return Signatures(seed=seed, standard=" ".join(listed) or None)


def request_headers(delivery: Delivery, attempt: int, timestamp: int, signed: Signatures) -> list[tuple[str, str]]:
    """The headers of one attempt (contract 5); `timestamp` in Unix seconds, new for each attempt."""
    headers = [
        ("Content-Type", "application/json"),
        ("User-Agent", USER_AGENT),
        ("X-GamifyEngine-Timestamp", str(timestamp)),
        ("X-GamifyEngine-Signature", signed.seed),
        ("X-GamifyEngine-Event", delivery.event),
        ("X-GamifyEngine-Delivery", str(delivery.delivery_id)),
        ("X-GamifyEngine-Attempt", str(attempt)),
    ]
    if signed.standard is not None:
        headers += [
            ("webhook-id", str(delivery.delivery_id)),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", signed.standard),
        ]
    return headers


def judge(status: int | None, error: str | None) -> AnswerVerdict:
    """What the partner's answer, or the lack of one, means (contract 5's table).

    `error` is one of `dns refused reset timeout tls blocked_address bad_url`, and wins over a status.
    """
    if error is not None or status is None:
        return AnswerVerdict.PERMANENT if error in ("blocked_address", "bad_url") else AnswerVerdict.RETRY
    if 200 <= status < 300:
        return AnswerVerdict.DELIVERED
    if 300 <= status < 400 or status == 410:
        return AnswerVerdict.PERMANENT
    return AnswerVerdict.RETRY


def error_class(status: int | None, error: str | None) -> str | None:
    """How the attempt's failure is shown: the network's class, `redirect`, `http_<n>`, or None after a 2xx."""
    if error is not None:
        return error
    if status is None or 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else f"http_{status}"


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """What a `Retry-After` asks for, seconds or HTTP date; None without one, when it is malformed, or when it lies in the past."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), 1e9) or None
    try:
        moment = parsedate_to_datetime(text)
        wait = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):  # what the parser lets out depends on the text
        return None
    return wait if wait > 0 else None


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """The waits before the retries, in seconds: at most three, so at most four scheduled attempts."""

    delays: Sequence[float] = DEFAULT_RETRY_DELAYS

    @property
    def attempts(self) -> int:
        """How many scheduled attempts there are in all."""
        return 1 + len(self.delays[:3])


def next_delay(
    attempt: int, ladder: Ladder, jitter: float, *, retry_after: float | None = None, remaining: float | None = None
) -> float | None:
    """Seconds to wait after this failed attempt (from 1), or None when it was the last one.

    `jitter` is in -1..1 and spreads the delay by 20 %. A `Retry-After` lengthens the wait to at most the delay or 30 minutes,
    whichever is more; `remaining` seconds to the deadline cut it.
    """
    if attempt >= ladder.attempts:
        return None
    delay = ladder.delays[attempt - 1] * (1 + JITTER * jitter)
    if retry_after is not None:
        delay = min(max(retry_after, delay), max(delay, RETRY_AFTER_MAXIMUM_SECONDS))
    return delay if remaining is None else max(0.0, min(delay, remaining))


def check_url(url: str, *, https_only: bool) -> None:
    """Raise ValidationError unless the address may be an endpoint's, as far as its text tells; addresses are checked when dialled."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValidationError.of("url", "is not a URL") from None
    if len(url) > 2048 or not url.isascii() or any(character <= " " or character in "\x7f\\" for character in url):
        raise ValidationError.of("url", "must be at most 2048 ASCII characters without spaces")
    if parts.scheme not in ("https", "http") or (https_only and parts.scheme != "https"):
        raise ValidationError.of("url", "must start with https://" if https_only else "must start with https:// or http://")
    if not parts.hostname or port == 0:
        raise ValidationError.of("url", "has no host")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ValidationError.of("url", "must not contain a user name or password")
    if "#" in url:
        raise ValidationError.of("url", "must not contain a fragment")
