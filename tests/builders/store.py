"""A tenant with users, points and a reward, for the tests of the ledger and the store."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.errors import CheckViolation

from domain.errors import DomainError
from domain.points.ledger import POINTS, POINTS_CURRENCY, Account, Earning
from domain.redemption.redemption import Redemption
from domain.reward.reward import Reward, parse_reward
from domain.tenant.user import Identify, User
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.audit import Finding, verify_ledger
from storage.points.currency import add_currency, currencies_of
from storage.points.ledger import accounts_of, post_earnings
from storage.redemption.redeem import RedeemRequest, redeem
from storage.reward.reward import find_reward, out_of_stock, write_reward
from storage.tenant.user import identify


class World(msgspec.Struct, frozen=True):
    """One tenant in a database."""

    pool: Pool
    tenant_id: UUID

    async def user(self, external_id: str, points: int = 0) -> User:
        """A user who has earned so many points."""
        async with transaction(self.pool) as connection:
            user, _ = await identify(connection, self.tenant_id, external_id, Identify(), now=utc_now())
            if points:
                await post_earnings(connection, [self.earning(user, points)], utc_now())
        return user

    def earning(self, user: User, amount: int, *, position: int | None = None) -> Earning:
        """What a rule gives for an event of its own."""
        return Earning(
            tenant_id=self.tenant_id,
            user_id=user.user_id,
            currency_id=POINTS,
            amount=amount,
            position=new_id().int % 2**62 if position is None else position,
            rule_id=self.tenant_id,
        )

    async def reward(self, slug: str = "voucher", *, price: int = 10, stock: int | None = None, **more: Any) -> Reward:
        """A reward that costs so many points."""
        async with transaction(self.pool) as connection:
            body = parse_reward({"slug": slug, "name": slug, "stock": stock, "prices": [{"currency": POINTS, "amount": price}], **more})
            currencies = await currencies_of(connection, self.tenant_id)
            return await write_reward(connection, self.tenant_id, new_id(), body=body, currencies=currencies, now=utc_now())

    def order(self, external_id: str, slug: str = "voucher", **more: Any) -> RedeemRequest:
        """An order by a test."""
        return RedeemRequest(external_user_id=external_id, slug=slug, by="test", **more)

    async def redeem(self, external_id: str, slug: str = "voucher", **more: Any) -> Redemption:
        """Redeem as the API does, in a pipelined transaction."""
        try:
            async with self.pool.connection() as connection, connection.pipeline(), connection.transaction():
                return await redeem(connection, self.tenant_id, self.order(external_id, slug, **more), utc_now())
        except CheckViolation as violation:
            raise out_of_stock(violation) or violation from None

    async def try_redeem(self, external_id: str, slug: str = "voucher", **more: Any) -> str:
        """`redeemed`, or the code of the refusal."""
        try:
            await self.redeem(external_id, slug, **more)
        except DomainError as refusal:
            return refusal.code
        return "redeemed"

    async def account(self, user: User) -> Account:
        """The user's account of points."""
        async with self.pool.connection() as connection:
            (account,) = await accounts_of(connection, self.tenant_id, user.user_id)
        return account

    async def stock(self, reward: Reward) -> int | None:
        """What is left."""
        async with self.pool.connection() as connection:
            found = await find_reward(connection, self.tenant_id, reward_id=reward.reward_id)
        assert found is not None
        return found.stock

    async def findings(self) -> list[Finding]:
        """What `laurel verify-ledger` would say."""
        async with transaction(self.pool) as connection:
            return await verify_ledger(connection)

    async def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Whatever a test wants to look at."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()


async def make_tenant(connection: Connection) -> UUID:
    """A tenant with its currency `points`."""
    tenant_id, now = new_id(), utc_now()
    await connection.execute(
        "INSERT INTO tenant (tenant_id, name, created_at, updated_at) VALUES (%s, 'test', %s, %s)", (tenant_id, now, now)
    )
    await add_currency(connection, tenant_id, POINTS_CURRENCY, now)
    return tenant_id


async def make_world(pool: Pool) -> World:
    """A tenant of its own."""
    async with transaction(pool) as connection:
        return World(pool, await make_tenant(connection))
