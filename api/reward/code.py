"""The pools of codes over HTTP (contract 4, Store): long ones come by `laurel codes import`."""

from typing import Annotated, Any

import msgspec
from litestar import get, post
from msgspec import Meta, structs

from api.principal import Principal
from api.reward.reward import named_reward
from api.rule import ADMIN
from domain.errors import ValidationError
from domain.reward.code import RewardCodeImport, RewardCodePool, check_codes, check_pool
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.reward.code import add_codes, pool_sizes
from storage.tenant.audit import record


class CodesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codes for a pool."""

    codes: Annotated[list[str], Meta(min_length=1, max_length=10_000, examples=[["AB12-CD34", "EF56-GH78"]])]
    variant_id: Annotated[str | None, Meta(description="Whose pool, of a reward with variants", examples=[None])] = None


@post("/v1/admin/rewards/{reward_id:str}/codes", rule=ADMIN, status_code=201)
async def import_reward_codes(reward_id: str, data: CodesBody, principal: Principal, pool: Pool) -> RewardCodeImport:
    """Add codes to the pool of a reward. Codes that were ever in it are skipped and counted as known, so you can repeat the request."""
    check_codes(data.codes)
    async with transaction(pool) as connection:
        found = await named_reward(connection, principal, reward_id)
        if found.fulfilment.type != "codes":
            raise ValidationError.of("fulfilment.type", "must be codes to import codes")
        check_pool(found, data.variant_id)
        added = await add_codes(connection, principal.tenant_id, found.reward_id, data.codes, now=utc_now(), variant_id=data.variant_id)
        known = len(data.codes) - added
        facts = {"variant_id": data.variant_id, "added": added, "known": known}
        await record(connection, principal.tenant_id, action="import", subject="reward_code", subject_id=str(found.reward_id), facts=facts)
        sizes = await pool_sizes(connection, principal.tenant_id, found.reward_id)
    return RewardCodeImport(reward_id=found.reward_id, added=added, known=known, **structs.asdict(sizes))


@get("/v1/admin/rewards/{reward_id:str}/codes", rule=ADMIN)
async def get_reward_code_pool(reward_id: str, principal: Principal, pool: Pool) -> RewardCodePool:
    """Get how many codes the pool of a reward has had, and how many are left. Codes are only shown to the users who get them."""
    async with transaction(pool) as connection:
        found = await named_reward(connection, principal, reward_id)
        return RewardCodePool(
            reward_id=found.reward_id, **structs.asdict(await pool_sizes(connection, principal.tenant_id, found.reward_id))
        )


routes: list[Any] = [import_reward_codes, get_reward_code_pool]
