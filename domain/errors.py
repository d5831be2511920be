"""Every refusal that Laurel gives, with its wire code and HTTP status (contract 1, table of errors).

Keyword facts become extra members of the error body (`available`, `required`, `present` …); `details` names fields.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType


class DomainError(Exception):
    """A refusal that a caller can understand. Never carries a secret, an SQL text or a stack trace."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, details: list[dict[str, str]] | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.facts = facts


class ValidationError(DomainError):
    """The request is malformed, or a field is missing, extra, mistyped or out of range."""

    code, status = "VALIDATION_ERROR", 400

    @classmethod
    def of(cls, field: str, message: str) -> "ValidationError":
        """An error of one field: `message` is shown for the whole and in `details`."""
        return cls(f"{field}: {message}", details=[{"field": field, "message": message}])

    @classmethod
    def of_many(cls, errors: Sequence[tuple[str, str]]) -> "ValidationError":
        """Errors of several fields at once; one of no field stands for the whole body."""
        said = "; ".join(f"{field}: {message}" if field else message for field, message in errors)
        return cls(said, details=[{"field": field, "message": message} for field, message in errors if field] or None)


class EventTypeNotDeclared(DomainError):
    """The tenant runs in declared mode and the event's type is unknown or its attrs do not fit the schema."""

    code, status = "EVENT_TYPE_NOT_DECLARED", 400


class Unauthorized(DomainError):
    """The token is malformed, expired or not trusted, or an event, board, snapshot, reward or order route got no credential."""

    code, status = "UNAUTHORIZED", 401


class MissingKey(DomainError):
    """No credential was sent."""

    code, status = "AUTH_MISSING_KEY", 401


class InvalidKey(DomainError):
    """The API key is unknown, revoked or expired."""

    code, status = "AUTH_INVALID_KEY", 401


class Forbidden(DomainError):
    """The credential is good but may not do this: role too small, tenant suspended, or a gamer acting for another user."""

    code, status = "FORBIDDEN", 403


class TenantQueryMismatch(DomainError):
    """`tenant_id`, `tenant` or `X-Tenant-Id` differs from the credential's tenant."""

    code, status = "TENANT_QUERY_MISMATCH", 403


class CorsNotAllowed(DomainError):
    """The browser's Origin is not in the tenant's list."""

    code, status = "CORS_NOT_ALLOWED_FOR_TENANT", 403


class NotFound(DomainError):
    """There is no such thing in this tenant."""

    code, status = "NOT_FOUND", 404


class UserNotFound(NotFound):
    """There is no such user in this tenant, or it has no entry on the named board."""

    code = "USER_NOT_FOUND"


class LeaderboardNotFound(NotFound):
    """There is no such leaderboard in this tenant."""

    code = "LEADERBOARD_NOT_FOUND"


class RewardNotFound(NotFound):
    """There is no such reward in this tenant."""

    code = "REWARD_NOT_FOUND"


class RedemptionNotFound(NotFound):
    """There is no such redemption in this tenant."""

    code = "REDEMPTION_NOT_FOUND"


class Conflict(DomainError):
    """The request is well formed but the present state does not allow it."""

    code, status = "INVALID_STATE", 409


class InvalidState(Conflict):
    """The object is in a state that does not allow this move; `present` names the state."""


class InsufficientPoints(Conflict):
    """The account holds fewer points than needed; `available` and `required` say how many."""

    code = "INSUFFICIENT_POINTS"


class OutOfStock(Conflict):
    """The last piece is taken."""

    code = "OUT_OF_STOCK"


class UserLimitReached(Conflict):
    """The user has had as many of this reward as the period allows."""

    code = "USER_LIMIT_REACHED"


class NotEligible(Conflict):
    """The user does not belong to those who may have this reward, or it is not available now."""

    code = "NOT_ELIGIBLE"


class IdempotencyConflict(Conflict):
    """The same idempotency key came with another body."""

    code = "IDEMPOTENCY_CONFLICT"


class RedemptionAlreadyFinal(Conflict):
    """The redemption has another final state; `present` names it."""

    code = "REDEMPTION_ALREADY_FINAL"


class AlreadyExists(Conflict):
    """The chosen id is taken."""

    code = "ALREADY_EXISTS"


class VersionConflict(Conflict):
    """Someone changed the object since the version in If-Match."""

    code = "VERSION_CONFLICT"


class LimitReached(Conflict):
    """The tenant has as many of these as it may have (`limit`); archive or revoke one, or ask for less."""

    code = "LIMIT_REACHED"


class EventsExpired(Conflict):
    """Retention has dropped events that this needs."""

    code = "EVENTS_EXPIRED"


class PayloadTooLarge(DomainError):
    """The body is larger than 1 048 576 bytes."""

    code, status = "PAYLOAD_TOO_LARGE", 413


class RateLimited(DomainError):
    """Too many requests; `Retry-After` says when to try again."""

    code, status = "RATE_LIMITED", 429


class Unavailable(DomainError):
    """PostgreSQL cannot be reached or the write queue is full: nothing was accepted, a retry is safe."""

    code, status = "UNAVAILABLE", 503


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field."""

    field: Annotated[str, Meta(examples=["limit"])]
    message: Annotated[str, Meta(examples=["must be a whole number from 1 to 500"])]


class ErrorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused. Some codes add members with facts, such as `available` and `required`."""

    code: Annotated[str, Meta(description="Stays the same for ever: what programs go by", examples=["VALIDATION_ERROR"])]
    message: Annotated[str, Meta(description="For people; it may change")]
    status: Annotated[int, Meta(description="The HTTP status", examples=[400])]
    details: list[ErrorDetail] | UnsetType = UNSET
    request_id: Annotated[str, Meta(description="Stands in the log")] | UnsetType = UNSET


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal."""

    error: ErrorFacts
