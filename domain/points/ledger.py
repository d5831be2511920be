"""Points: accounts, immutable transfers and holds. Amounts are integers of the currency's smallest unit (contract 4, Points ledger)."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import InsufficientPoints, ValidationError
from domain.wire import amount_number

POINTS = "points"
"""The currency that every tenant has."""

MAX_WIRE_INTEGER = 2**53 - 1


class TransferKind(StrEnum):
    """Why points moved."""

    EARN = "earn"  # an earning rule matched an event
    GRANT = "grant"  # an item that was given
    REDEEM = "redeem"  # a hold was captured: the points are spent
    REFUND = "refund"  # a fulfilled redemption was reversed
    ADJUST = "adjust"  # an admin corrected the balance, with a reason
    EXPIRE = "expire"  # the points grew too old
    REVERSE = "reverse"  # the opposite of an earlier transfer, which it names


class HoldState(StrEnum):
    """The life of a reservation."""

    HELD = "held"  # reserved for an open redemption
    CAPTURED = "captured"  # spent
    RELEASED = "released"  # given back
    EXPIRED = "expired"  # given back, because the time was up


class CurrencyDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant says of a currency. `expires_after_days` None: never; `pending_seconds`: how long earned points wait."""

    currency_id: Annotated[str, Meta(description="Your id of the currency", examples=["gems"])] = msgspec.field(name="id")
    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Gems"])]
    symbol: Annotated[str, Meta(max_length=16, examples=["💎"])] | None = None
    decimal_places: Annotated[int, Meta(ge=0, le=4)] = 0
    is_spendable: bool = True
    expires_after_days: Annotated[int, Meta(ge=1, le=36_500)] | None = None
    pending_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 0


POINTS_CURRENCY = CurrencyDefinition(currency_id=POINTS, name="Points")


class Currency(msgspec.Struct, frozen=True, kw_only=True):
    """A currency with its two system accounts: points come out of `issue`, spent points go into `redemption`."""

    currency_id: str
    name: str
    symbol: str | None
    decimal_places: int
    is_spendable: bool
    expires_after_days: int | None
    pending_seconds: int
    issue_account_id: UUID
    redemption_account_id: UUID
    created_at: datetime
    expiry_from: datetime | None = None
    undated_expires_at: datetime | None = None


class CurrencyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an admin changes of a currency; what is not given stays. It holds for what is credited from then on.

    `decimal_places` are fixed with the first transfer, and while anything is counted in the smallest unit.
    """

    name: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET
    symbol: Annotated[str, Meta(max_length=16)] | UnsetType | None = UNSET
    decimal_places: Annotated[int, Meta(ge=0, le=4)] | UnsetType = UNSET
    is_spendable: bool | UnsetType = UNSET
    expires_after_days: Annotated[int, Meta(ge=1, le=36_500)] | UnsetType | None = UNSET
    pending_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] | UnsetType = UNSET


class NextExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When points of an account expire next, and how many, if nothing is spent until then."""

    at: datetime
    amount: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user's account in one currency, with its balances. `next_expiry` is filled in where balances are shown."""

    account_id: UUID
    user_id: UUID
    currency_id: str
    posted: int
    held: int
    lifetime_earned: int
    lifetime_spent: int
    pending: int = 0
    next_expiry: NextExpiry | None = None

    @property
    def available(self) -> int:
        """What can be spent now: posted − held, never below 0. What is pending is not posted yet."""
        return self.posted - self.held

    @property
    def liquid(self) -> int:
        """What may expire one day: all but what is held."""
        return self.posted - self.held + self.pending


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Points reserved for one redemption."""

    hold_id: UUID
    account_id: UUID
    redemption_id: UUID
    amount: int
    created_at: datetime


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of points as the user sees it: `amount` is signed, positive when the user received it."""

    transfer_id: UUID
    currency_id: str
    amount: int
    kind: TransferKind
    cause_type: str
    cause_id: str
    note: str | None
    reverses_transfer_id: UUID | None
    created_at: datetime
    available_at: datetime | None = None
    expires_at: datetime | None = None


class Earning(msgspec.Struct, frozen=True, kw_only=True):
    """Points that one rule gives for one event, which stands at `position` of the event log. `amount` > 0."""

    tenant_id: UUID
    user_id: UUID
    currency_id: str
    amount: int
    position: int
    rule_id: UUID
    note: str | None = None


class GrantCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Points that a grant gives. `amount` > 0."""

    user_id: UUID
    currency_id: str
    amount: int
    grant_id: UUID
    note: str | None = None


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A correction by an admin: `amount` is signed and not 0. `cause_id` makes it unique."""

    user_id: UUID
    currency_id: str
    amount: int
    reason: str
    cause_id: str


def place_hold(account: Account | None, amount: int, *, hold_id: UUID, redemption_id: UUID, decimal_places: int, now: datetime) -> Hold:
    """Reserve points, or raise InsufficientPoints with `available` and `required` as the wire shows them. No account has no points."""
    if account is None or amount > account.available:
        raise insufficient_points(0 if account is None else account.available, amount, decimal_places)
    return Hold(hold_id=hold_id, account_id=account.account_id, redemption_id=redemption_id, amount=amount, created_at=now)


def insufficient_points(available: int, required: int, decimal_places: int) -> InsufficientPoints:
    """The refusal, with its facts as JSON numbers."""
    has, needs = amount_number(available, decimal_places), amount_number(required, decimal_places)
    return InsufficientPoints(f"Not enough points: {has} available, {needs} required", available=has, required=needs)


def amount_from_wire(number: int | float, decimal_places: int, field: str) -> int:
    """The amount in the smallest unit; ValidationError of `field` when it has more places than the currency, or is out of range."""
    exact = Decimal(repr(number))
    if not exact.is_finite() or abs(exact) > MAX_WIRE_INTEGER:
        raise ValidationError.of(field, "is out of range")
    units = exact.scaleb(decimal_places)
    if units != units.to_integral_value():
        places = "no decimal places" if decimal_places == 0 else f"at most {decimal_places} decimal places"
        raise ValidationError.of(field, f"must have {places}")
    if abs(units) > MAX_WIRE_INTEGER:
        raise ValidationError.of(field, "is out of range")
    return int(units)


def event_position(transfer: Transfer) -> int | None:
    """Where the event that caused the transfer stands in the log; None for another cause."""
    return int(transfer.cause_id.partition(":")[0]) if transfer.cause_type == "event" else None
