"""Reward items over HTTP (contract 4, Reward items and configs)."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, delete, get, patch, post, put
from msgspec import structs

from api.declared import As, PartOf
from api.if_match import check_version
from api.pagination import Page
from api.principal import Principal
from api.reward.code import CodesBody
from api.rule import ADMIN
from domain.errors import InvalidState, LimitReached, NotFound, ValidationError, VersionConflict
from domain.reward.code import ItemCodeImport, ItemCodePool, check_codes
from domain.reward.item import RewardItemBody, credit_of, item_body_wire, parse_item
from domain.reward.item_wire import RewardItemAnswer, RewardItemListAnswer, item_answer
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import currencies_of
from storage.reward.code import add_codes, pool_sizes
from storage.reward.item import archive_item, find_item, list_items, write_item
from storage.tenant.audit import record
from storage.webhook.endpoint import find_endpoint

AnyRequest = Request[Any, Any, Any]


async def _write(connection: Connection, principal: Principal, item_id: UUID, value: Any) -> RewardItemAnswer:
    body = parse_item(value)
    credit = credit_of(body, await currencies_of(connection, principal.tenant_id))
    if body.fulfilment is not None and body.fulfilment.endpoint_id is not None:
        try:
            await find_endpoint(connection, principal.tenant_id, body.fulfilment.endpoint_id)
        except NotFound:
            raise ValidationError.of("fulfilment.endpoint_id", "is not a webhook endpoint of this tenant") from None
    return item_answer(await write_item(connection, principal.tenant_id, item_id, body, credit=credit, now=utc_now()))


@post("/v1/admin/reward-items", rule=ADMIN, status_code=201, refusals=(LimitReached,))
async def create_reward_item(data: Annotated[dict[str, Any], As(RewardItemBody)], principal: Principal, pool: Pool) -> RewardItemAnswer:
    """Create a reward item."""
    async with transaction(pool) as connection:
        return await _write(connection, principal, new_id(), data)


@get("/v1/admin/reward-items", rule=ADMIN)
async def list_reward_items(principal: Principal, pool: Pool, page: Page) -> RewardItemListAnswer:
    """List reward items, newest first."""
    async with transaction(pool) as connection:
        items = await list_items(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    return RewardItemListAnswer(reward_items=[item_answer(item) for item in items], next_cursor=page.cursor_of(items, "item_id"))


@get("/v1/admin/reward-items/{item_id:uuid}", rule=ADMIN)
async def get_reward_item(item_id: UUID, principal: Principal, pool: Pool) -> RewardItemAnswer:
    """Get a reward item."""
    async with transaction(pool) as connection:
        return item_answer(await find_item(connection, principal.tenant_id, item_id))


@put("/v1/admin/reward-items/{item_id:uuid}", rule=ADMIN, refusals=(VersionConflict,))
async def replace_reward_item(
    item_id: UUID, data: Annotated[dict[str, Any], As(RewardItemBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardItemAnswer:
    """Replace an item. Earlier grants do not change, and runs that have started give the old version."""
    async with transaction(pool) as connection:
        check_version(request, (await find_item(connection, principal.tenant_id, item_id, lock=True)).version)
        return await _write(connection, principal, item_id, data)


@patch("/v1/admin/reward-items/{item_id:uuid}", rule=ADMIN, refusals=(VersionConflict,))
async def update_reward_item(
    item_id: UUID, data: Annotated[dict[str, Any], PartOf(RewardItemBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> RewardItemAnswer:
    """Change the given fields of an item."""
    async with transaction(pool) as connection:
        present = await find_item(connection, principal.tenant_id, item_id, lock=True)
        check_version(request, present.version)
        return await _write(connection, principal, item_id, {**item_body_wire(present), **data})


@delete("/v1/admin/reward-items/{item_id:uuid}", rule=ADMIN, status_code=204, refusals=(InvalidState,))
async def archive_reward_item(item_id: UUID, principal: Principal, pool: Pool) -> None:
    """Archive an item. 409 `INVALID_STATE` while a config uses it."""
    async with transaction(pool) as connection:
        await archive_item(connection, principal.tenant_id, item_id, utc_now())


@post("/v1/admin/reward-items/{item_id:uuid}/codes", rule=ADMIN, status_code=201)
async def import_reward_item_codes(item_id: UUID, data: CodesBody, principal: Principal, pool: Pool) -> ItemCodeImport:
    """Add codes to the pool of an item. Codes that were ever in it are skipped and counted as known, so you can repeat the request."""
    check_codes(data.codes)
    async with transaction(pool) as connection:
        item = await find_item(connection, principal.tenant_id, item_id)
        if item.fulfilment.type != "codes":
            raise ValidationError.of("fulfilment.type", "must be codes to import codes")
        if data.variant_id is not None:
            raise ValidationError.of("variant_id", "is only allowed for rewards")
        added = await add_codes(connection, principal.tenant_id, item_id, data.codes, now=utc_now())
        facts = {"added": added, "known": len(data.codes) - added}
        await record(connection, principal.tenant_id, action="import", subject="reward_code", subject_id=str(item_id), facts=facts)
        sizes = await pool_sizes(connection, principal.tenant_id, item_id)
    return ItemCodeImport(item_id=item_id, added=added, known=len(data.codes) - added, **structs.asdict(sizes))


@get("/v1/admin/reward-items/{item_id:uuid}/codes", rule=ADMIN)
async def get_reward_item_code_pool(item_id: UUID, principal: Principal, pool: Pool) -> ItemCodePool:
    """Get how many codes the pool of an item has had, and how many are left."""
    async with transaction(pool) as connection:
        await find_item(connection, principal.tenant_id, item_id)
        return ItemCodePool(item_id=item_id, **structs.asdict(await pool_sizes(connection, principal.tenant_id, item_id)))


routes: list[Any] = [
    create_reward_item,
    list_reward_items,
    get_reward_item,
    replace_reward_item,
    update_reward_item,
    archive_reward_item,
    import_reward_item_codes,
    get_reward_item_code_pool,
]
