"""Currencies, balances and transfers as they are shown (contract 4, Points ledger)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.points.ledger import Account, Currency, Transfer, TransferKind
from domain.wire import Id, Instant, NextCursor, Number, amount_number, optional_rfc3339, rfc3339

CurrencyId = Annotated[str, Meta(description="The `id` of a currency of the tenant", examples=["points"])]


class CurrencyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A currency of the tenant. Every tenant has `points`."""

    id: CurrencyId
    name: Annotated[str, Meta(examples=["Points"])]
    symbol: Annotated[str | None, Meta(examples=["pts"])]
    decimal_places: Annotated[int, Meta(description="Of amounts; 0 to 4", examples=[0])]
    is_spendable: Annotated[bool, Meta(description="Whether rewards may be priced in it")]
    expires_after_days: Annotated[int | None, Meta(description="null: points never expire", examples=[365])]
    pending_seconds: Annotated[int, Meta(description="How long earned points wait until they can be spent", examples=[0])]
    created_at: Instant


class CurrencyListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's currencies."""

    currencies: list[CurrencyAnswer]
    next_cursor: NextCursor


class NextExpiryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The points that expire next."""

    at: Instant
    amount: Number


class BalanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A user's balance in one currency."""

    currency: CurrencyId
    available: Annotated[Number, Meta(description="What can be spent now")]
    held: Annotated[Number, Meta(description="Reserved for open redemptions", examples=[0])]
    pending: Annotated[Number, Meta(description="Earned, and not to be spent yet", examples=[0])]
    lifetime_earned: Number
    lifetime_spent: Annotated[Number, Meta(examples=[0])]
    next_expiry: NextExpiryAnswer | None


class CauseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What caused a transfer. `event_id` and `rule_id` are there when an event earned the points."""

    type: Annotated[str, Meta(description="event, redemption, grant, adjustment, …", examples=["event"])]
    id: Annotated[str, Meta(examples=["8123:0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10"])]
    event_id: Annotated[str | None, Meta(description="null once retention has dropped the event")] | UnsetType = UNSET
    rule_id: Annotated[str, Meta(description="The earning rule")] | UnsetType = UNSET


class TransferAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A movement of points into or out of a user's account. It never changes; a correction is another transfer."""

    transfer_id: Id
    kind: TransferKind
    amount: Annotated[Number, Meta(description="Negative for points that left the account")]
    currency: CurrencyId
    cause: CauseAnswer
    note: Annotated[str | None, Meta(description="Name of the rule or item, or the reason that staff gave")]
    reverses_transfer_id: Id | None
    created_at: Instant
    available_at: Annotated[Instant | None, Meta(description="When the points can be spent; null: at once")]
    expires_at: Annotated[Instant | None, Meta(description="null: never")]


class TransactionListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A user's transfers, newest first."""

    transactions: list[TransferAnswer]
    next_cursor: NextCursor


class UserPoints(msgspec.Struct, frozen=True, kw_only=True):
    """A user's balance in every currency of the tenant."""

    user_id: Id
    external_id: str
    balances: list[BalanceAnswer]


class AdjustedAnswer(TransferAnswer, frozen=True, kw_only=True):
    """A transfer that an admin made, and the balance after it."""

    user_id: Id
    external_user_id: str
    reason: str | None
    balance: BalanceAnswer


class AdjustmentError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a correction among many was not made; `available` and `required` are there when the balance is too small."""

    code: Annotated[str, Meta(examples=["USER_NOT_FOUND"])]
    message: str
    available: Number | UnsetType = UNSET
    required: Number | UnsetType = UNSET
    limit: int | UnsetType = UNSET


def currency_answer(currency: Currency) -> CurrencyAnswer:
    """The currency as admins see it."""
    return CurrencyAnswer(
        id=currency.currency_id,
        name=currency.name,
        symbol=currency.symbol,
        decimal_places=currency.decimal_places,
        is_spendable=currency.is_spendable,
        expires_after_days=currency.expires_after_days,
        pending_seconds=currency.pending_seconds,
        created_at=rfc3339(currency.created_at),
    )


def balance_answer(currency: Currency, account: Account | None) -> BalanceAnswer:
    """A user's balance in one currency; all zero where the user never had any."""
    places = currency.decimal_places
    expiry = account.next_expiry if account else None
    return BalanceAnswer(
        currency=currency.currency_id,
        available=amount_number(account.available, places) if account else 0,
        held=amount_number(account.held, places) if account else 0,
        pending=amount_number(account.pending, places) if account else 0,
        lifetime_earned=amount_number(account.lifetime_earned, places) if account else 0,
        lifetime_spent=amount_number(account.lifetime_spent, places) if account else 0,
        next_expiry=None if expiry is None else NextExpiryAnswer(at=rfc3339(expiry.at), amount=amount_number(expiry.amount, places)),
    )


def cause_answer(transfer: Transfer, event_id: str | None = None) -> CauseAnswer:
    """What caused the transfer; of what was earned, the event (where it is known) and the rule, whose name is the transfer's note."""
    is_event = transfer.cause_type == "event"
    return CauseAnswer(
        type=transfer.cause_type,
        id=transfer.cause_id,
        event_id=event_id if is_event else UNSET,
        rule_id=transfer.cause_id.partition(":")[2] if is_event else UNSET,
    )


def transfer_answer(transfer: Transfer, decimal_places: int, event_id: str | None = None) -> TransferAnswer:
    """A line of a user's transactions. `event_id` is that of the event that caused it."""
    return TransferAnswer(
        transfer_id=transfer.transfer_id,
        kind=transfer.kind,
        amount=amount_number(transfer.amount, decimal_places),
        currency=transfer.currency_id,
        cause=cause_answer(transfer, event_id),
        note=transfer.note,
        reverses_transfer_id=transfer.reverses_transfer_id,
        created_at=rfc3339(transfer.created_at),
        available_at=optional_rfc3339(transfer.available_at),
        expires_at=optional_rfc3339(transfer.expires_at),
    )


def adjusted_answer(transfer: Transfer, currency: Currency, account: Account, *, user_id: UUID, external_user_id: str) -> AdjustedAnswer:
    """A transfer that an admin made, with the balance after it, which `account` shows."""
    shown: dict[str, Any] = msgspec.structs.asdict(transfer_answer(transfer, currency.decimal_places))
    return AdjustedAnswer(
        **shown, user_id=user_id, external_user_id=external_user_id, reason=transfer.note, balance=balance_answer(currency, account)
    )
