"""Undoing a transfer: nothing is changed or deleted, a transfer in the other direction names the first (contract 4, Points ledger)."""

from datetime import datetime
from uuid import UUID

import msgspec

from domain.errors import InvalidState, NotFound
from domain.points.ledger import POINTS, Account, Currency, Transfer, TransferKind, insufficient_points
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.points.credit import Credit, post_credits, post_debit
from storage.points.currency import find_currency
from storage.points.ledger import lock_account
from storage.points.tier import review_tiers


class First(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer to reverse: `amount` > 0, `is_credit` when the user got it; `waiting` is the state of a credit that had to wait."""

    transfer_id: UUID
    user_id: UUID
    external_id: str
    currency_id: str
    amount: int
    kind: TransferKind
    cause_type: str
    cause_id: str
    is_credit: bool
    waiting: str | None
    reversed_by: UUID | None


class Reversal(msgspec.Struct, frozen=True, kw_only=True):
    """What was undone, the transfer that undid it, and the account before and after."""

    first: First
    transfer: Transfer
    currency: Currency
    before: Account
    after: Account


async def find_first(connection: Connection, tenant_id: UUID, transfer_id: UUID) -> First:
    """The transfer with what became of it; NotFound for none."""
    cursor = await connection.execute(
        """
        SELECT transfer.transfer_id, user_id, external_id, transfer.currency_id, transfer.amount, transfer.kind, transfer.cause_type,
               transfer.cause_id, transfer.credit_account_id = account.account_id AS is_credit, waiting.state AS waiting,
               later.transfer_id AS reversed_by
        FROM transfer JOIN account ON account.tenant_id = transfer.tenant_id AND account.account_id = transfer.user_account_id
        JOIN app_user USING (user_id)
        LEFT JOIN pending_credit AS waiting ON waiting.tenant_id = transfer.tenant_id AND waiting.transfer_id = transfer.transfer_id
        LEFT JOIN transfer AS later ON later.tenant_id = transfer.tenant_id AND later.reverses_transfer_id = transfer.transfer_id
        WHERE transfer.tenant_id = %(tenant_id)s AND app_user.tenant_id = %(tenant_id)s AND transfer.transfer_id = %(transfer_id)s
        """,
        {"tenant_id": tenant_id, "transfer_id": transfer_id},
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Transfer not found")
    return msgspec.convert(row, First)


async def undo_transfer(connection: Connection, tenant_id: UUID, transfer_id: UUID, *, reason: str, now: datetime) -> Reversal:
    """Undo a transfer by one of kind `reverse`, once.

    InsufficientPoints when the points are spent or held; InvalidState when it was reversed before (`reversed_by`), is itself a
    reversal, or belongs to a redemption, which is reversed as a whole.
    """
    named = await find_first(connection, tenant_id, transfer_id)
    if named.kind in (TransferKind.REVERSE, TransferKind.REFUND):
        raise InvalidState("A reversal cannot be reversed; adjust the balance instead", present=named.kind.value)
    if named.cause_type == "redemption":
        raise InvalidState(
            "This transfer belongs to a redemption; reverse the redemption instead", present=named.kind.value, redemption_id=named.cause_id
        )
    return await undo(connection, tenant_id, named, reason=reason, cause=("transfer", str(transfer_id)), now=now)


async def undo(
    connection: Connection, tenant_id: UUID, named: First, *, reason: str | None, cause: tuple[str, str], now: datetime
) -> Reversal:
    """The same without asking whose the transfer is. `cause` (type, id) makes the reversal unique."""
    before = await lock_account(connection, tenant_id, named.user_id, named.currency_id, now=now)
    currency = await find_currency(connection, tenant_id, named.currency_id)
    first = await find_first(connection, tenant_id, named.transfer_id)  # as it is under the lock
    if before is None or currency is None:
        raise RuntimeError("a transfer without an account")
    if first.reversed_by is not None:
        raise InvalidState("This transfer has already been reversed", present="reversed", reversed_by=str(first.reversed_by))
    if first.is_credit:
        transfer, after = await _take(connection, tenant_id, before, currency=currency, first=first, note=reason, cause=cause, now=now)
    else:
        transfer, after = await _give(connection, tenant_id, before, first=first, note=reason, cause=cause, now=now)
    if named.currency_id == POINTS:
        await review_tiers(connection, tenant_id, [named.user_id], now)
    return Reversal(first=first, transfer=transfer, currency=currency, before=before, after=after)


async def _take(
    connection: Connection,
    tenant_id: UUID,
    account: Account,
    *,
    currency: Currency,
    first: First,
    note: str | None,
    cause: tuple[str, str],
    now: datetime,
) -> tuple[Transfer, Account]:
    is_pending = first.waiting == "pending"
    if not is_pending and account.available < first.amount:
        raise insufficient_points(account.available, first.amount, currency.decimal_places)
    transfer = _reversal(new_id(), first, amount=-first.amount, note=note, cause=cause, now=now)
    earned = first.amount if first.kind in (TransferKind.EARN, TransferKind.GRANT) else 0
    await post_debit(
        connection, tenant_id, account, currency=currency, transfer=transfer, cancels_pending=is_pending, no_longer_earned=earned
    )
    after = msgspec.structs.replace(
        account,
        posted=account.posted - (0 if is_pending else first.amount),
        pending=account.pending - (first.amount if is_pending else 0),
        lifetime_earned=account.lifetime_earned - earned,
    )
    return transfer, after


async def _give(
    connection: Connection, tenant_id: UUID, account: Account, *, first: First, note: str | None, cause: tuple[str, str], now: datetime
) -> tuple[Transfer, Account]:
    credit = Credit(
        tenant_id=tenant_id,
        user_id=first.user_id,
        currency_id=first.currency_id,
        amount=first.amount,
        kind=TransferKind.REVERSE,
        cause_type=cause[0],
        cause_id=cause[1],
        note=note,
        reverses_transfer_id=first.transfer_id,
    )
    (transfer_id,) = await post_credits(connection, [credit], now)
    transfer = _reversal(transfer_id, first, amount=first.amount, note=note, cause=cause, now=now)
    return transfer, msgspec.structs.replace(account, posted=account.posted + first.amount)


def _reversal(transfer_id: UUID, first: First, *, amount: int, note: str | None, cause: tuple[str, str], now: datetime) -> Transfer:
    return Transfer(
        transfer_id=transfer_id,
        currency_id=first.currency_id,
        amount=amount,
        kind=TransferKind.REVERSE,
        cause_type=cause[0],
        cause_id=cause[1],
        note=note,
        reverses_transfer_id=first.transfer_id,
        created_at=now,
    )
