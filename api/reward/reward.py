"""The rewards store: the admin's side, and the catalog (contract 4, Store)."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post, put

from api.auth import Principal, allow
from api.if_match import check_version
from api.pagination import Page, encode_cursor
from domain.errors import NotFound, RewardNotFound, ValidationError
from domain.points.ledger import POINTS, Currency, amount_from_wire
from domain.reward.catalog import Buyer, can_be_bought, catalog_entry
from domain.reward.offer import check_wallet, is_within
from domain.reward.reward import Reward, RewardBody, body_wire, parse_reward, reward_wire
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import currencies_of
from storage.points.due import balances_of
from storage.points.ledger import accounts_of
from storage.reward.buyer import find_buyer
from storage.reward.reward import archive_reward, find_reward, list_rewards, rewards_on_sale, write_reward
from storage.tenant.user import find_user
from storage.webhook.endpoint import find_endpoint

ADMIN = [allow("admin")]
CATALOG_READERS = [allow("server", "read", "gamer", "member")]
AnyRequest = Request[Any, Any, Any]
CATALOG_READ = 100
"""How many rewards the catalog reads at least at once."""


async def named_reward(connection: Connection, principal: Principal, named: str, *, lock: bool = False) -> Reward:
    """The reward of that id or slug; RewardNotFound."""
    try:
        found = await find_reward(connection, principal.tenant_id, reward_id=UUID(named), lock=lock)
    except ValueError:
        found = await find_reward(connection, principal.tenant_id, slug=named, lock=lock)
    if found is None:
        raise RewardNotFound("Reward not found")
    return found


async def _write(connection: Connection, principal: Principal, reward_id: UUID, value: Any) -> dict[str, Any]:
    body = parse_reward(value)
    currencies = await currencies_of(connection, principal.tenant_id)
    check_wallet(body, currencies)
    await _check_endpoint(connection, principal, body)
    written = await write_reward(connection, principal.tenant_id, reward_id, body=body, currencies=currencies, now=utc_now())
    return reward_wire(written, currencies)


async def _check_endpoint(connection: Connection, principal: Principal, body: RewardBody) -> None:
    if body.fulfilment.endpoint_id is None:
        return
    try:
        await find_endpoint(connection, principal.tenant_id, body.fulfilment.endpoint_id)
    except NotFound:
        raise ValidationError.of("fulfilment.endpoint_id", "is not a webhook endpoint of this tenant") from None


@post("/v1/admin/rewards", guards=ADMIN, status_code=201)
async def add_reward(data: dict[str, Any], principal: Principal, pool: Pool) -> dict[str, Any]:
    """Create a reward in the store."""
    async with transaction(pool) as connection:
        return await _write(connection, principal, new_id(), data)


@get("/v1/admin/rewards", guards=ADMIN)
async def show_rewards(principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List rewards, newest first, including inactive ones."""
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
        rewards = await list_rewards(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    return {"rewards": [reward_wire(reward, currencies) for reward in rewards], "next_cursor": page.cursor_of(rewards, "reward_id")}


@get("/v1/admin/rewards/{reward_id:str}", guards=ADMIN)
async def show_reward(reward_id: str, principal: Principal, pool: Pool) -> dict[str, Any]:
    """One reward, by id or slug."""
    async with transaction(pool) as connection:
        found = await named_reward(connection, principal, reward_id)
        return reward_wire(found, await currencies_of(connection, principal.tenant_id))


@put("/v1/admin/rewards/{reward_id:str}", guards=ADMIN)
async def replace_reward(reward_id: str, data: dict[str, Any], request: AnyRequest, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Replace a reward. Existing redemptions keep their settings."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id, lock=True)
        check_version(request, present.version)
        return await _write(connection, principal, present.reward_id, data)


@patch("/v1/admin/rewards/{reward_id:str}", guards=ADMIN)
async def change_reward(reward_id: str, data: dict[str, Any], request: AnyRequest, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Change the given fields. Stock does not change unless you set it."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id, lock=True)
        check_version(request, present.version)
        before = body_wire(present, await currencies_of(connection, principal.tenant_id))
        return await _write(connection, principal, present.reward_id, {**before, **data})


@delete("/v1/admin/rewards/{reward_id:str}", guards=ADMIN, status_code=204)
async def end_reward(reward_id: str, principal: Principal, pool: Pool) -> None:
    """Archive a reward. Its redemptions continue."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id)
        await archive_reward(connection, principal.tenant_id, present.reward_id, utc_now())


class CatalogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog is asked for."""

    currency: str | None
    purchasable: bool
    balance: float | None


def _catalog_query(request: AnyRequest) -> CatalogQuery:
    purchasable = request.query_params.get("purchasable", "false")
    if purchasable not in ("true", "false"):
        raise ValidationError.of("purchasable", "must be true or false")
    text = request.query_params.get("balance")
    balance = None
    if text is not None and text not in ("true", "false"):
        try:
            balance = float(text)
        except ValueError:
            balance = math.nan
        if not 0 <= balance <= 2**53 - 1:
            raise ValidationError.of("balance", "must be a number of points")
    return CatalogQuery(currency=request.query_params.get("currency"), purchasable=purchasable == "true", balance=balance)


async def _balances(
    connection: Connection, principal: Principal, query: CatalogQuery, currencies: dict[str, Currency]
) -> dict[str, int] | None:
    """Available amounts by currency: those the query names, else a gamer's own; None when nobody's are known."""
    if query.balance is not None:
        identity = query.currency or POINTS
        places = currencies[identity].decimal_places if identity in currencies else 0
        return {identity: amount_from_wire(query.balance, places, "balance")}
    if principal.external_user_id is None or principal.role != "gamer":
        return None
    user = await find_user(connection, principal.tenant_id, principal.external_user_id)
    if user is None:
        return {}
    accounts = await accounts_of(connection, principal.tenant_id, user.user_id)
    currencies = await currencies_of(connection, principal.tenant_id)
    shown = await balances_of(connection, principal.tenant_id, accounts, currencies=currencies, now=utc_now())
    return {identity: account.available for identity, account in shown.items()}


@get("/v1/rewards/catalog", guards=CATALOG_READERS)
async def show_catalog(request: AnyRequest, principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List rewards on sale, newest first.

    With `balance`, or a gamer's own balance, it shows what is affordable and how many points are missing.
    """
    query, now = _catalog_query(request), utc_now()
    shown: list[dict[str, Any]] = []
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
        balances = await _balances(connection, principal, query, currencies)
        after, read, is_over = page.after_id(), max(page.limit, CATALOG_READ), False
        while len(shown) < page.limit and not is_over:  # what this user cannot buy is left out, so a page may take several reads
            rewards = await rewards_on_sale(
                connection,
                principal.tenant_id,
                currency=query.currency,
                purchasable=query.purchasable,
                now=now,
                after=after,
                limit=read,
            )
            buyer = await _buyer(connection, principal, rewards, now)
            is_over = len(rewards) < read
            for place, reward in enumerate(rewards, start=1):
                entry = catalog_entry(reward, currencies, balances, currency=query.currency, buyer=buyer, now=now)
                if not query.purchasable or can_be_bought(entry):
                    shown.append(entry)
                    after = reward.reward_id
                if len(shown) == page.limit:
                    is_over = is_over and place == len(rewards)
                    break
            else:
                after = rewards[-1].reward_id if rewards else after
    return {"rewards": shown, "next_cursor": None if is_over or after is None else encode_cursor(str(after))}


async def _buyer(connection: Connection, principal: Principal, rewards: Sequence[Reward], now: datetime) -> Buyer | None:
    """The gamer who asks, or None: nobody else buys for itself."""
    if principal.role != "gamer" or principal.external_user_id is None:
        return None
    return await find_buyer(connection, principal.tenant_id, principal.external_user_id, rewards, now=now)


@get("/v1/rewards/catalog/{slug:str}", guards=CATALOG_READERS)
async def show_catalog_entry(slug: str, request: AnyRequest, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Get a reward on sale. 404 if it is inactive or not visible now."""
    async with transaction(pool) as connection:
        reward = await named_reward(connection, principal, slug)
        if not reward.active or not is_within(reward.visible_from, reward.visible_until, utc_now()):
            raise RewardNotFound("Reward not found")
        currencies = await currencies_of(connection, principal.tenant_id)
        query = _catalog_query(request)
        balances = await _balances(connection, principal, query, currencies)
        now = utc_now()
        buyer = await _buyer(connection, principal, [reward], now)
    return catalog_entry(reward, currencies, balances, currency=query.currency, buyer=buyer, now=now)


routes: list[Any] = [
    add_reward,
    show_rewards,
    show_reward,
    replace_reward,
    change_reward,
    end_reward,
    show_catalog,
    show_catalog_entry,
]
