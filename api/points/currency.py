"""Currencies (contract 4, Points ledger)."""

from typing import Any

from litestar import get, patch, post

from api.pagination import Page, part_of
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import AlreadyExists, InvalidState, LimitReached
from domain.points.ledger import CurrencyChange, CurrencyDefinition
from domain.points.ledger_wire import CurrencyAnswer, CurrencyListAnswer, currency_answer
from domain.wire import parse_client_id
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import add_currency, change_currency, currencies_of


@get("/v1/admin/currencies", rule=ADMIN)
async def list_currencies(principal: Principal, pool: Pool, page: Page) -> CurrencyListAnswer:
    """List the tenant's currencies."""
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
    shown, cursor = part_of(list(currencies.values()), page, lambda currency: currency.currency_id)
    return CurrencyListAnswer(currencies=[currency_answer(currency) for currency in shown], next_cursor=cursor)


@post("/v1/admin/currencies", rule=ADMIN, status_code=201, refusals=(AlreadyExists, LimitReached))
async def create_currency(data: CurrencyDefinition, principal: Principal, pool: Pool) -> CurrencyAnswer:
    """Create a currency. Its `decimal_places` cannot change after the first transfer."""
    parse_client_id(data.currency_id, "id")
    async with transaction(pool) as connection:
        return currency_answer(await add_currency(connection, principal.tenant_id, data, utc_now()))


@patch("/v1/admin/currencies/{currency_id:str}", rule=ADMIN, refusals=(InvalidState,))
async def update_currency(currency_id: str, data: CurrencyChange, principal: Principal, pool: Pool) -> CurrencyAnswer:
    """Change a currency.

    New waiting and expiry times apply to points credited from now on; points without a date expire counted from now.
    """
    async with transaction(pool) as connection:
        changed = await change_currency(connection, principal.tenant_id, currency_id, change=data, now=utc_now())
    return currency_answer(changed)


routes: list[Any] = [list_currencies, create_currency, update_currency]
