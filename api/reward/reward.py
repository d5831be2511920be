"""The rewards store, as admins keep it (contract 4, Store)."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, delete, get, patch, post, put

from api.declared import As, PartOf
from api.if_match import check_version
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import AlreadyExists, LimitReached, NotFound, RewardNotFound, ValidationError, VersionConflict
from domain.reward.offer import check_wallet
from domain.reward.reward import Reward, RewardBody, parse_reward
from domain.reward.reward_wire import RewardAnswer, RewardListAnswer, reward_answer, reward_body_wire
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import currencies_of
from storage.reward.reward import archive_reward as put_away
from storage.reward.reward import find_reward, write_reward
from storage.reward.reward import list_rewards as stored_rewards
from storage.webhook.endpoint import find_endpoint

AnyRequest = Request[Any, Any, Any]


async def named_reward(connection: Connection, principal: Principal, named: str, *, lock: bool = False) -> Reward:
    """The reward of that id or slug; RewardNotFound."""
    try:
        found = await find_reward(connection, principal.tenant_id, reward_id=UUID(named), lock=lock)
    except ValueError:
        found = await find_reward(connection, principal.tenant_id, slug=named, lock=lock)
    if found is None:
        raise RewardNotFound("Reward not found")
    return found


async def _write(connection: Connection, principal: Principal, reward_id: UUID, value: Any) -> RewardAnswer:
    body = parse_reward(value)
    currencies = await currencies_of(connection, principal.tenant_id)
    check_wallet(body, currencies)
    await _check_endpoint(connection, principal, body)
    written = await write_reward(connection, principal.tenant_id, reward_id, body=body, currencies=currencies, now=utc_now())
    return reward_answer(written, currencies)


async def _check_endpoint(connection: Connection, principal: Principal, body: RewardBody) -> None:
    if body.fulfilment.endpoint_id is None:
        return
    try:
        await find_endpoint(connection, principal.tenant_id, body.fulfilment.endpoint_id)
    except NotFound:
        raise ValidationError.of("fulfilment.endpoint_id", "is not a webhook endpoint of this tenant") from None


@post("/v1/admin/rewards", rule=ADMIN, status_code=201, refusals=(AlreadyExists, LimitReached))
async def create_reward(data: Annotated[dict[str, Any], As(RewardBody)], principal: Principal, pool: Pool) -> RewardAnswer:
    """Create a reward in the store."""
    async with transaction(pool) as connection:
        return await _write(connection, principal, new_id(), data)


@get("/v1/admin/rewards", rule=ADMIN)
async def list_rewards(principal: Principal, pool: Pool, page: Page) -> RewardListAnswer:
    """List rewards, newest first, including inactive ones."""
    async with transaction(pool) as connection:
        currencies = await currencies_of(connection, principal.tenant_id)
        rewards = await stored_rewards(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    shown = [reward_answer(reward, currencies) for reward in rewards]
    return RewardListAnswer(rewards=shown, next_cursor=page.cursor_of(rewards, "reward_id"))


@get("/v1/admin/rewards/{reward_id:str}", rule=ADMIN)
async def get_reward(reward_id: str, principal: Principal, pool: Pool) -> RewardAnswer:
    """Get a reward, by id or slug."""
    async with transaction(pool) as connection:
        found = await named_reward(connection, principal, reward_id)
        return reward_answer(found, await currencies_of(connection, principal.tenant_id))


@put("/v1/admin/rewards/{reward_id:str}", rule=ADMIN, refusals=(AlreadyExists, VersionConflict))
async def replace_reward(
    reward_id: str, data: Annotated[dict[str, Any], As(RewardBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardAnswer:
    """Replace a reward. Existing redemptions keep their settings."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id, lock=True)
        check_version(request, present.version)
        return await _write(connection, principal, present.reward_id, data)


@patch("/v1/admin/rewards/{reward_id:str}", rule=ADMIN, refusals=(AlreadyExists, VersionConflict))
async def update_reward(
    reward_id: str, data: Annotated[dict[str, Any], PartOf(RewardBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardAnswer:
    """Change the given fields. Stock does not change unless you set it."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id, lock=True)
        check_version(request, present.version)
        before = reward_body_wire(present, await currencies_of(connection, principal.tenant_id))
        return await _write(connection, principal, present.reward_id, {**before, **data})


@delete("/v1/admin/rewards/{reward_id:str}", rule=ADMIN, status_code=204)
async def archive_reward(reward_id: str, principal: Principal, pool: Pool) -> None:
    """Archive a reward. Its redemptions continue."""
    async with transaction(pool) as connection:
        present = await named_reward(connection, principal, reward_id)
        await put_away(connection, principal.tenant_id, present.reward_id, utc_now())


routes: list[Any] = [create_reward, list_rewards, get_reward, replace_reward, update_reward, archive_reward]
