"""Users: Identify, and what a user has (contract 4, Users)."""

from typing import Any

from litestar import Response, get, post
from msgspec import structs

from api.pagination import Page
from api.principal import Principal
from api.rule import USER_READERS, Audit, allow
from domain.errors import AlreadyExists, UserNotFound
from domain.player import order_for_player, transfer_for_player
from domain.points.ledger import POINTS, event_position
from domain.points.ledger_wire import BalanceAnswer, TransactionListAnswer, UserPoints, balance_answer, transfer_answer
from domain.points.tier_wire import UserTierAnswer, user_tier_answer
from domain.redemption.redemption_wire import RedemptionListAnswer
from domain.tenant.user import Identify, User, identified_as
from domain.tenant.user_wire import IdentifiedUser, UserProfile, user_profile
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from runtime.settings import Settings
from storage.event.search import event_ids_at
from storage.points.currency import currencies_of
from storage.points.due import balances_of
from storage.points.ledger import accounts_of, transactions_of
from storage.points.tier import members_of, tier_set_of
from storage.redemption.listing import RedemptionFilter, list_redemptions
from storage.tenant.user import find_user, identify


class UserAnswer(UserProfile, frozen=True, kw_only=True):
    """A user with its balance in every currency of the tenant, and its tier."""

    balances: list[BalanceAnswer]
    tier: UserTierAnswer | None


async def user_for(connection: Connection, principal: Principal, named: str) -> User:
    """The user of a path, `me` being a gamer's own; Forbidden for a gamer who names another, UserNotFound for none."""
    external_id = named
    if named == "me" and principal.external_user_id is not None:
        external_id = principal.external_user_id
    principal.check_user(external_id)
    user = await find_user(connection, principal.tenant_id, external_id)
    if user is None:
        raise UserNotFound(f"User '{external_id}' not found")
    return user


async def _balances(connection: Connection, principal: Principal, user: User) -> list[BalanceAnswer]:
    currencies = await currencies_of(connection, principal.tenant_id)
    accounts = await accounts_of(connection, principal.tenant_id, user.user_id)
    shown = await balances_of(connection, principal.tenant_id, accounts, currencies=currencies, now=utc_now())
    return [balance_answer(currency, shown.get(identity)) for identity, currency in currencies.items()]


@post(
    "/v1/users",
    rule=allow("server", audit=Audit.CHANGES_BY_ADMINS),
    status_code=201,
    refusals=(AlreadyExists,),
    answers={200: IdentifiedUser},
)
async def identify_user(data: Identify, principal: Principal, pool: Pool) -> Response[IdentifiedUser]:
    """Create a user, or merge the given data into an existing one: 201 if new, 200 if known."""
    external_id = identified_as(data)
    async with transaction(pool) as connection:
        user, created = await identify(connection, principal.tenant_id, external_id, data, now=utc_now())
    answer = IdentifiedUser(**structs.asdict(user_profile(user)), created=created)
    return Response(answer, status_code=201 if created else 200)


@get("/v1/users/{external_id:str}", rule=USER_READERS)
async def get_user(external_id: str, principal: Principal, pool: Pool) -> UserAnswer:
    """Get a user's profile and balances."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        tiers = await tier_set_of(connection, principal.tenant_id)
        (member,) = await members_of(connection, principal.tenant_id, tiers, [user.user_id], now=utc_now())
        places = (await currencies_of(connection, principal.tenant_id))[POINTS].decimal_places
        tier = user_tier_answer(tiers, member, places)
        balances = await _balances(connection, principal, user)
    return UserAnswer(**structs.asdict(user_profile(user)), balances=balances, tier=tier)


@get("/v1/users/{external_id:str}/points", rule=USER_READERS)
async def get_user_points(external_id: str, principal: Principal, pool: Pool) -> UserPoints:
    """Get a user's balance in every currency of the tenant."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        balances = await _balances(connection, principal, user)
    return UserPoints(user_id=user.user_id, external_id=user.external_id, balances=balances)


@get("/v1/users/{external_id:str}/transactions", rule=USER_READERS)
async def list_user_transactions(
    external_id: str, principal: Principal, pool: Pool, settings: Settings, page: Page
) -> TransactionListAnswer:
    """List a user's transfers, newest first.

    `amount` is negative for points that left the account; earned points name their event and rule.
    """
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        currencies = await currencies_of(connection, principal.tenant_id)
        after = page.after_id()
        transfers = await transactions_of(connection, principal.tenant_id, user.user_id, after=after, limit=page.limit)
        earned = [(position, each.created_at) for each in transfers if (position := event_position(each)) is not None]
        partition = user.user_id.bytes[15] % settings.scoring_partitions
        events = await event_ids_at(connection, principal.tenant_id, partition, earned) if earned else {}
    shown = [
        principal.shown(
            transfer_answer(transfer, currencies[transfer.currency_id].decimal_places, events.get(event_position(transfer) or 0)),
            transfer_for_player,
        )
        for transfer in transfers
    ]
    return TransactionListAnswer(transactions=shown, next_cursor=page.cursor_of(transfers, "transfer_id"))


@get("/v1/users/{external_id:str}/redemptions", rule=USER_READERS)
async def list_user_redemptions(external_id: str, principal: Principal, pool: Pool, page: Page) -> RedemptionListAnswer:
    """List a user's redemptions, newest first."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        wanted = RedemptionFilter(user_id=user.user_id, before=page.after_id(), limit=page.limit)
        found = await list_redemptions(connection, principal.tenant_id, wanted)
    shown = [principal.shown(redemption, order_for_player) for redemption in found]
    return RedemptionListAnswer(redemptions=shown, next_cursor=page.cursor_of(shown, "redemption_id"))


routes: list[Any] = [identify_user, get_user, get_user_points, list_user_transactions, list_user_redemptions]
