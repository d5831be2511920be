"""Reward configs over HTTP (contract 4, Reward items and configs)."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, delete, get, patch, post, put

from api.declared import As, PartOf
from api.if_match import check_version
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import InvalidState, LimitReached, VersionConflict
from domain.reward.config import RewardConfigBody, kept_budget, kept_tiers, parse_config
from domain.reward.config_wire import RewardConfigAnswer, RewardConfigListAnswer, config_answer, config_body_wire
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import currencies_of
from storage.reward.config import WrittenConfig, archive_config, find_config, list_configs, write_config
from storage.reward.item import items_by_id

AnyRequest = Request[Any, Any, Any]


async def _places(connection: Connection, principal: Principal) -> dict[str, int]:
    currencies = await currencies_of(connection, principal.tenant_id)
    return {name: currency.decimal_places for name, currency in currencies.items()}


async def _write(connection: Connection, principal: Principal, reward_config_id: UUID, value: Any) -> RewardConfigAnswer:
    body = parse_config(value)
    wanted = {item_id for tier in body.tiers for item_id in tier.item_ids}
    tiers = kept_tiers(body, await items_by_id(connection, principal.tenant_id, wanted))
    budget = kept_budget(body.budget, wanted, await currencies_of(connection, principal.tenant_id))
    written = WrittenConfig(name=body.name, tiers=tiers, budget=budget)
    config = await write_config(connection, principal.tenant_id, reward_config_id, written, now=utc_now())
    return config_answer(config, await _places(connection, principal))


@post("/v1/admin/reward-configs", rule=ADMIN, status_code=201, refusals=(LimitReached,))
async def create_reward_config(
    data: Annotated[dict[str, Any], As(RewardConfigBody)], principal: Principal, pool: Pool
) -> RewardConfigAnswer:
    """Create a reward config for leaderboards and schedules."""
    async with transaction(pool) as connection:
        return await _write(connection, principal, new_id(), data)


@get("/v1/admin/reward-configs", rule=ADMIN)
async def list_reward_configs(principal: Principal, pool: Pool, page: Page) -> RewardConfigListAnswer:
    """List reward configs, newest first."""
    async with transaction(pool) as connection:
        configs = await list_configs(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
        places = await _places(connection, principal)
    shown = [config_answer(config, places) for config in configs]
    return RewardConfigListAnswer(reward_configs=shown, next_cursor=page.cursor_of(configs, "reward_config_id"))


@get("/v1/admin/reward-configs/{reward_config_id:uuid}", rule=ADMIN)
async def get_reward_config(reward_config_id: UUID, principal: Principal, pool: Pool) -> RewardConfigAnswer:
    """Get a reward config."""
    async with transaction(pool) as connection:
        config = await find_config(connection, principal.tenant_id, reward_config_id)
        return config_answer(config, await _places(connection, principal))


@put("/v1/admin/reward-configs/{reward_config_id:uuid}", rule=ADMIN, refusals=(VersionConflict,))
async def replace_reward_config(
    reward_config_id: UUID, data: Annotated[dict[str, Any], As(RewardConfigBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardConfigAnswer:
    """Replace a config. Closed windows are paid by the version in force when they closed."""
    async with transaction(pool) as connection:
        check_version(request, (await find_config(connection, principal.tenant_id, reward_config_id, lock=True)).version)
        return await _write(connection, principal, reward_config_id, data)


@patch("/v1/admin/reward-configs/{reward_config_id:uuid}", rule=ADMIN, refusals=(VersionConflict,))
async def update_reward_config(
    reward_config_id: UUID, data: Annotated[dict[str, Any], PartOf(RewardConfigBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardConfigAnswer:
    """Change the given fields of a config."""
    async with transaction(pool) as connection:
        present = await find_config(connection, principal.tenant_id, reward_config_id, lock=True)
        check_version(request, present.version)
        before = config_body_wire(present, await _places(connection, principal))
        return await _write(connection, principal, reward_config_id, {**before, **data})


@delete("/v1/admin/reward-configs/{reward_config_id:uuid}", rule=ADMIN, status_code=204, refusals=(InvalidState,))
async def archive_reward_config(reward_config_id: UUID, principal: Principal, pool: Pool) -> None:
    """Archive a config. 409 `INVALID_STATE` while a leaderboard uses it."""
    async with transaction(pool) as connection:
        await archive_config(connection, principal.tenant_id, reward_config_id, utc_now())


routes: list[Any] = [
    create_reward_config,
    list_reward_configs,
    get_reward_config,
    replace_reward_config,
    update_reward_config,
    archive_reward_config,
]
