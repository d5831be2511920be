"""Corrections of balances by an admin, one by one and in bulk (contract 4, Points ledger)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain import limits
from domain.errors import DomainError, LimitReached, ValidationError
from domain.points.ledger import POINTS, Account, Adjustment, Currency, Transfer, TransferKind, insufficient_points
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.points.credit import Credit, make_accounts, post_credits, post_debit
from storage.points.currency import currencies_of, find_currency
from storage.points.ledger import lock_account, open_account
from storage.points.tier import review_tiers


class Adjusted(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer of a correction, and the account before and after it."""

    transfer: Transfer
    before: Account
    after: Account


async def adjust(connection: Connection, tenant_id: UUID, adjustment: Adjustment, now: datetime) -> Adjusted:
    """Correct a balance by a transfer `adjust` from or to the issue account.

    InsufficientPoints when more would be taken than is available; LimitReached when the balance would be more than a JSON number carries;
    ValidationError for an unknown currency. Does not count as earned.
    """
    currency = await find_currency(connection, tenant_id, adjustment.currency_id)
    if currency is None:
        raise ValidationError.of("currency", "is not a currency of this tenant")
    account = await open_account(connection, tenant_id, adjustment.user_id, adjustment.currency_id, now=now)
    adjusted = await _apply(connection, tenant_id, account, currency=currency, adjustment=adjustment, now=now)
    if adjustment.currency_id == POINTS:
        await review_tiers(connection, tenant_id, [adjustment.user_id], now)
    return adjusted


async def adjust_many(
    connection: Connection, tenant_id: UUID, adjustments: Sequence[Adjustment], now: datetime
) -> list[Adjusted | DomainError]:
    """Correct many balances, in the order given, each by itself: what happened to each, or why it was refused.

    All accounts are locked first, in the order of their ids, so that two such calls cannot deadlock.
    """
    currencies = await currencies_of(connection, tenant_id)
    owners = sorted({(tenant_id, each.user_id, each.currency_id) for each in adjustments})
    await make_accounts(connection, owners, now)
    await connection.execute(
        """
        SELECT FROM account WHERE tenant_id = %s AND (user_id, currency_id) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
        ORDER BY account_id FOR UPDATE
        """,
        (tenant_id, [owner[1] for owner in owners], [owner[2] for owner in owners]),
    )
    accounts: dict[tuple[UUID, str], Account] = {}
    for _, user_id, currency_id in owners:
        account = await lock_account(connection, tenant_id, user_id, currency_id, now=now)
        if account is None:
            raise RuntimeError("an account that was just made is gone")
        accounts[user_id, currency_id] = account
    outcomes: list[Adjusted | DomainError] = []
    for each in adjustments:
        key = (each.user_id, each.currency_id)
        try:
            adjusted = await _apply(connection, tenant_id, accounts[key], currency=currencies[each.currency_id], adjustment=each, now=now)
        except DomainError as refusal:
            outcomes.append(refusal)
        else:
            accounts[key] = adjusted.after
            outcomes.append(adjusted)
    moved = {each.user_id for each in adjustments if each.currency_id == POINTS}
    await review_tiers(connection, tenant_id, list(moved), now)
    return outcomes


async def _apply(
    connection: Connection, tenant_id: UUID, account: Account, *, currency: Currency, adjustment: Adjustment, now: datetime
) -> Adjusted:
    if account.available + adjustment.amount < 0:
        raise insufficient_points(account.available, -adjustment.amount, currency.decimal_places)
    most = limits.BALANCE.value
    if adjustment.amount > 0 and account.posted + account.pending + adjustment.amount > most:
        raise LimitReached(f"A balance can have at most {most} of the smallest unit, the largest exact JSON number", limit=most)
    transfer = Transfer(
        transfer_id=new_id(),
        currency_id=adjustment.currency_id,
        amount=adjustment.amount,
        kind=TransferKind.ADJUST,
        cause_type="adjustment",
        cause_id=adjustment.cause_id,
        note=adjustment.reason,
        reverses_transfer_id=None,
        created_at=now,
    )
    if adjustment.amount < 0:
        await post_debit(connection, tenant_id, account, currency=currency, transfer=transfer)
    else:
        credit = Credit(
            tenant_id=tenant_id,
            user_id=adjustment.user_id,
            currency_id=adjustment.currency_id,
            amount=adjustment.amount,
            kind=TransferKind.ADJUST,
            cause_type="adjustment",
            cause_id=adjustment.cause_id,
            note=adjustment.reason,
        )
        (transfer_id,) = await post_credits(connection, [credit], now)
        transfer = msgspec.structs.replace(transfer, transfer_id=transfer_id)
    return Adjusted(transfer=transfer, before=account, after=msgspec.structs.replace(account, posted=account.posted + adjustment.amount))
