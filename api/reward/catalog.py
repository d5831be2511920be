"""The catalog: what is on sale, and what of it a gamer can buy (contract 4, Store)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get
from msgspec import Meta

from api.pagination import Page, encode_cursor
from api.principal import Principal
from api.reward.reward import named_reward
from api.rule import BOARD_READERS
from domain.errors import RewardNotFound
from domain.points.ledger import POINTS, Currency, amount_from_wire
from domain.reward.catalog import Buyer, can_be_bought, catalog_entry
from domain.reward.catalog_wire import CatalogEntryAnswer, CatalogListAnswer
from domain.reward.offer import is_within
from domain.reward.reward import Reward
from domain.wire import MAX_INTEGER
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import currencies_of
from storage.points.due import balances_of
from storage.points.ledger import accounts_of
from storage.reward.buyer import find_buyer
from storage.reward.reward import rewards_on_sale
from storage.tenant.user import find_user

READ_AT_ONCE = 100
"""How many rewards the catalog reads at least."""


class CatalogParams(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog is asked for."""

    balance: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_INTEGER)] | bool | None,
        Meta(description="An amount of `currency` that prices are compared with, instead of a gamer's own balance; true asks for that"),
    ] = None
    purchasable: Annotated[bool, Meta(description="Only what can be bought now, by the gamer who asks")] = False
    currency: Annotated[str, Meta(max_length=128, description="Only what has a price in this currency", examples=["points"])] | None = None


async def _balances(
    connection: Connection, principal: Principal, params: CatalogParams, currencies: dict[str, Currency]
) -> dict[str, int] | None:
    """Available amounts by currency: those that the query names, else a gamer's own; None when nobody's are known."""
    if params.balance is not None and not isinstance(params.balance, bool):
        identity = params.currency or POINTS
        places = currencies[identity].decimal_places if identity in currencies else 0
        return {identity: amount_from_wire(params.balance, places, "balance")}
    if principal.external_user_id is None or principal.role != "gamer":
        return None
    user = await find_user(connection, principal.tenant_id, principal.external_user_id)
    if user is None:
        return {}
    accounts = await accounts_of(connection, principal.tenant_id, user.user_id)
    currencies = await currencies_of(connection, principal.tenant_id)
    shown = await balances_of(connection, principal.tenant_id, accounts, currencies=currencies, now=utc_now())
    return {identity: account.available for identity, account in shown.items()}


@get("/v1/rewards/catalog", rule=BOARD_READERS)
async def list_catalog(params: CatalogParams, principal: Principal, pool: Pool, page: Page) -> CatalogListAnswer:
    """List rewards on sale, newest first.

    With `balance`, or a gamer's own balance, it shows what is affordable and how many points are missing.
    """
    now = utc_now()
    shown: list[CatalogEntryAnswer] = []
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
        balances = await _balances(connection, principal, params, currencies)
        after, read, is_over = page.after_id(), max(page.limit, READ_AT_ONCE), False
        while len(shown) < page.limit and not is_over:  # what this user cannot buy is left out, so a page may take several reads
            rewards = await rewards_on_sale(
                connection,
                principal.tenant_id,
                currency=params.currency,
                purchasable=params.purchasable,
                now=now,
                after=after,
                limit=read,
            )
            buyer = await _buyer(connection, principal, rewards, now)
            is_over = len(rewards) < read
            for place, reward in enumerate(rewards, start=1):
                entry = catalog_entry(reward, currencies, balances, currency=params.currency, buyer=buyer, now=now)
                if not params.purchasable or can_be_bought(entry):
                    shown.append(entry)
                    after = reward.reward_id
                if len(shown) == page.limit:
                    is_over = is_over and place == len(rewards)
                    break
            else:
                after = rewards[-1].reward_id if rewards else after
    return CatalogListAnswer(rewards=shown, next_cursor=None if is_over or after is None else encode_cursor(str(after)))


async def _buyer(connection: Connection, principal: Principal, rewards: Sequence[Reward], now: datetime) -> Buyer | None:
    """The gamer who asks, or None: nobody else buys for itself."""
    if principal.role != "gamer" or principal.external_user_id is None:
        return None
    return await find_buyer(connection, principal.tenant_id, principal.external_user_id, rewards, now=now)


@get("/v1/rewards/catalog/{slug:str}", rule=BOARD_READERS)
async def get_catalog_entry(slug: str, params: CatalogParams, principal: Principal, pool: Pool) -> CatalogEntryAnswer:
    """Get a reward on sale. 404 if it is inactive or not visible now."""
    async with transaction(pool) as connection:
        reward = await named_reward(connection, principal, slug)
        if not reward.active or not is_within(reward.visible_from, reward.visible_until, utc_now()):
            raise RewardNotFound("Reward not found")
        currencies = await currencies_of(connection, principal.tenant_id)
        balances = await _balances(connection, principal, params, currencies)
        now = utc_now()
        buyer = await _buyer(connection, principal, [reward], now)
    return catalog_entry(reward, currencies, balances, currency=params.currency, buyer=buyer, now=now)


routes: list[Any] = [list_catalog, get_catalog_entry]
