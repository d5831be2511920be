"""Currencies, and corrections of balances by an admin (contract 4, Points ledger)."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from msgspec import Meta

from api.auth import Principal, allow
from api.idempotency import once, write_of
from api.user import user_for
from domain.error import ValidationFault
from domain.ledger import POINTS, Adjustment, CurrencyDefinition, amount_from_wire, balance_wire, currency_wire, transfer_wire
from domain.wire import parse_client_id
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.ledger import adjust, create_currency, currencies_of, find_currency

ADMIN = [allow("admin")]


class AdjustmentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A correction: `amount` is signed and not 0."""

    amount: int | float
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    currency: str = POINTS
    idempotency_key: str | None = None


@get("/v1/admin/currencies", guards=ADMIN)
async def list_currencies(principal: Principal, pool: Pool) -> dict[str, Any]:
    """The tenant's currencies: few, so always one page."""
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
    return {"currencies": [currency_wire(currency) for currency in currencies.values()], "next_cursor": None}


@post("/v1/admin/currencies", guards=ADMIN, status_code=201)
async def add_currency(data: CurrencyDefinition, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Make a currency. Points that wait or expire are not built yet, so they are refused rather than ignored."""
    parse_client_id(data.currency_id, "id")
    if data.expires_after_days is not None:
        raise ValidationFault.of("expires_after_days", "expiry is not available yet")
    if data.pending_seconds != 0:
        raise ValidationFault.of("pending_seconds", "pending points are not available yet")
    async with transaction(pool) as connection:
        return currency_wire(await create_currency(connection, principal.tenant_id, data, utc_now()))


@post("/v1/admin/users/{external_id:str}/adjustments", guards=ADMIN, status_code=201)
async def adjust_balance(
    external_id: str, data: AdjustmentBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[bytes]:
    """Correct a user's balance; answers the transfer and the balance after it. The points do not count as earned."""
    write = write_of(request, principal, data, data.idempotency_key)

    async def effect(connection: Connection) -> dict[str, Any]:
        user = await user_for(connection, principal, external_id)
        currency = await find_currency(connection, principal.tenant_id, data.currency)
        if currency is None:
            raise ValidationFault.of("currency", "is not a currency of this tenant")
        amount = amount_from_wire(data.amount, currency.decimal_places, "amount")
        if amount == 0:
            raise ValidationFault.of("amount", "cannot be 0")
        adjustment = Adjustment(user_id=user.user_id, currency_id=data.currency, amount=amount, reason=data.reason, cause_id=str(new_id()))
        transfer, account = await adjust(connection, principal.tenant_id, adjustment, utc_now())
        return {
            **transfer_wire(transfer, currency.decimal_places),
            "user_id": str(user.user_id),
            "external_user_id": user.external_id,
            "reason": data.reason,
            "balance": balance_wire(currency, account),
        }

    return await once(pool, write, effect)


routes: list[Any] = [list_currencies, add_currency, adjust_balance]
