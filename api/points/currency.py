"""Currencies (contract 4, Points ledger)."""

from typing import Any

from litestar import get, patch, post

from api.auth import Principal, allow
from api.pagination import Page, part_of
from domain.points.ledger import CurrencyChange, CurrencyDefinition, currency_wire
from domain.wire import parse_client_id
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import change_currency, create_currency, currencies_of

ADMIN = [allow("admin")]


@get("/v1/admin/currencies", guards=ADMIN)
async def list_currencies(principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List the tenant's currencies."""
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
    shown, cursor = part_of(list(currencies.values()), page, lambda currency: currency.currency_id)
    return {"currencies": [currency_wire(currency) for currency in shown], "next_cursor": cursor}


@post("/v1/admin/currencies", guards=ADMIN, status_code=201)
async def add_currency(data: CurrencyDefinition, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Create a currency. Its `decimal_places` cannot change after the first transfer."""
    parse_client_id(data.currency_id, "id")
    async with transaction(pool) as connection:
        return currency_wire(await create_currency(connection, principal.tenant_id, data, utc_now()))


@patch("/v1/admin/currencies/{currency_id:str}", guards=ADMIN)
async def edit_currency(currency_id: str, data: CurrencyChange, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Change a currency.

    New waiting and expiry times apply to points credited from now on; points without a date expire counted from now.
    """
    async with transaction(pool) as connection:
        changed = await change_currency(connection, principal.tenant_id, currency_id, change=data, now=utc_now())
    return currency_wire(changed)


routes: list[Any] = [list_currencies, add_currency, edit_currency]
