"""Tiers: the admin's set, where a user stands, and the tier that a person gives (contract 4, Tiers)."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post, put
from msgspec import Meta, structs

from api.declared import As, PartOf
from api.if_match import check_version
from api.pagination import Page, part_of
from api.principal import Principal
from api.rule import ADMIN, USER_READERS, allow
from api.tenant.user import user_for
from domain.errors import AlreadyExists, NotFound, ValidationError, VersionConflict
from domain.player import tier_change_for_player
from domain.points.ledger import POINTS
from domain.points.tier import (
    Tier,
    TierBody,
    TierSet,
    TierSetBody,
    held_at,
    needs_period,
    parse_tier_set,
)
from domain.points.tier_wire import (
    TierAnswer,
    TierSetAnswer,
    TierSetPageAnswer,
    TierStandingAnswer,
    standing_answer,
    tier_answer,
    tier_change_answer,
    tier_set_answer,
)
from domain.tenant.user import User
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import find_currency
from storage.points.ledger import open_account
from storage.points.tier import Choice, changes_of, choose_tier, lock_tier_set, members_of, tier_set_of, write_tier_set


class ChosenTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier given by hand; null takes the user's tier away."""

    tier: Annotated[str | None, Meta(description="Its name; null takes it away", examples=["gold"])]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


async def _places(connection: Connection, principal: Principal) -> int:
    """The decimal places of the tenant's `points`."""
    currency = await find_currency(connection, principal.tenant_id, POINTS)
    return 0 if currency is None else currency.decimal_places


async def _rewrite(connection: Connection, principal: Principal, present: TierSet, tiers: list[dict[str, Any]]) -> TierSet:
    """The locked set with these tiers instead."""
    places = await _places(connection, principal)
    body = {"basis": present.basis.value, "downgrade": present.downgrade.value, "period_days": present.period_days, "tiers": tiers}
    return await write_tier_set(connection, principal.tenant_id, parse_tier_set(body, places), utc_now())


@get("/v1/admin/tiers", rule=allow("admin", "read"))
async def get_tiers(principal: Principal, pool: Pool, page: Page) -> TierSetPageAnswer:
    """Get the tiers, lowest level first, and what counts towards them."""
    async with transaction(pool) as connection:
        tiers = await tier_set_of(connection, principal.tenant_id)
        whole = tier_set_answer(tiers, await _places(connection, principal))
    shown, cursor = part_of(whole.tiers, page, lambda tier: tier.name)
    return TierSetPageAnswer(**structs.asdict(structs.replace(whole, tiers=shown)), next_cursor=cursor)


@put("/v1/admin/tiers", rule=ADMIN, refusals=(VersionConflict,))
async def replace_tiers(
    data: Annotated[dict[str, Any], As(TierSetBody)], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> TierSetAnswer:
    """Replace the tiers. Users are re-evaluated when their points move next. Without `tiers` those that there are stay:
    who sets the basis does not mean to take everybody's tier away."""
    async with transaction(pool) as connection:
        return await _write_set(connection, principal, request, ("tiers",), data=data)


@patch("/v1/admin/tiers", rule=ADMIN, refusals=(VersionConflict,))
async def update_tiers(
    data: Annotated[dict[str, Any], PartOf(TierSetBody)], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> TierSetAnswer:
    """Change the given fields of the tier set. `period_days` is removed when nothing needs it."""
    async with transaction(pool) as connection:
        return await _write_set(connection, principal, request, ("basis", "downgrade", "period_days", "tiers"), data=data)


async def _write_set(
    connection: Connection, principal: Principal, request: Request[Any, Any, Any], kept: Sequence[str], *, data: dict[str, Any]
) -> TierSetAnswer:
    """Write the set with this data; what it does not name of `kept` stays."""
    present = await lock_tier_set(connection, principal.tenant_id, utc_now())
    check_version(request, present.version)
    places = await _places(connection, principal)
    before = msgspec.to_builtins(tier_set_answer(present, places))
    wanted = {name: before[name] for name in kept} | data
    if "period_days" not in data and not needs_period(wanted):
        wanted.pop("period_days", None)
    return tier_set_answer(await write_tier_set(connection, principal.tenant_id, parse_tier_set(wanted, places), utc_now()), places)


@post("/v1/admin/tiers", rule=ADMIN, status_code=201, refusals=(AlreadyExists,))
async def create_tier(data: TierBody, principal: Principal, pool: Pool) -> TierAnswer:
    """Create a tier."""
    async with transaction(pool) as connection:
        present = await lock_tier_set(connection, principal.tenant_id, utc_now())
        if present.named(data.name) is not None:
            raise AlreadyExists(f"Tier '{data.name}' already exists")
        places = await _places(connection, principal)
        others = [_body_of(tier, places) for tier in present.tiers]
        return _one(await _rewrite(connection, principal, present, [*others, msgspec.to_builtins(data)]), data.name, places)


@put("/v1/admin/tiers/{name:str}", rule=ADMIN)
async def replace_tier(name: str, data: TierBody, principal: Principal, pool: Pool) -> TierAnswer:
    """Replace a tier. Its name cannot change, because users hold tiers by name."""
    if data.name != name:
        raise ValidationError.of("name", "cannot be changed")
    async with transaction(pool) as connection:
        present = await lock_tier_set(connection, principal.tenant_id, utc_now())
        places = await _places(connection, principal)
        others = _without(present, name, places)
        return _one(await _rewrite(connection, principal, present, [*others, msgspec.to_builtins(data)]), name, places)


@delete("/v1/admin/tiers/{name:str}", rule=ADMIN, status_code=204)
async def delete_tier(name: str, principal: Principal, pool: Pool) -> None:
    """Delete a tier. Users in it have no tier until their points move next."""
    async with transaction(pool) as connection:
        present = await lock_tier_set(connection, principal.tenant_id, utc_now())
        await _rewrite(connection, principal, present, _without(present, name, await _places(connection, principal)))


def _without(present: TierSet, name: str, places: int) -> list[dict[str, Any]]:
    if present.named(name) is None:
        raise NotFound("Tier not found")
    return [_body_of(tier, places) for tier in present.tiers if tier.name != name]


def _body_of(tier: Tier, places: int) -> dict[str, Any]:
    """The tier as `parse_tier_set` takes it."""
    body: dict[str, Any] = msgspec.to_builtins(tier_answer(tier, places))
    return body


def _one(tiers: TierSet, name: str, places: int) -> TierAnswer:
    found = tiers.named(name)
    if found is None:
        raise RuntimeError("a tier that was just written is gone")
    return tier_answer(found, places)


@get("/v1/users/{external_id:str}/tier", rule=USER_READERS)
async def get_user_tier(external_id: str, principal: Principal, pool: Pool, page: Page) -> TierStandingAnswer:
    """Get a user's tier, the next tier, the points to reach it, and the history, newest first."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        return await _standing(connection, principal, user, page)


@put("/v1/admin/users/{external_id:str}/tier", rule=ADMIN)
async def set_user_tier(external_id: str, data: ChosenTier, principal: Principal, pool: Pool, page: Page) -> TierStandingAnswer:
    """Give a user a tier by hand. It stays until the user's points reach a tier above it and above the highest one reached so far."""
    now = utc_now()
    async with transaction(pool, reason=data.reason) as connection:
        user = await user_for(connection, principal, external_id)
        await open_account(connection, principal.tenant_id, user.user_id, POINTS, now=now)
        tiers = await tier_set_of(connection, principal.tenant_id)
        chosen = tiers.named(data.tier)
        if chosen is None and data.tier is not None:
            raise ValidationError.of("tier", "is not a tier of this tenant")
        (member,) = await members_of(connection, principal.tenant_id, tiers, [user.user_id], now=now)
        choice = Choice(tier=data.tier, held_level=held_at(tiers, member, chosen), changed_by=principal.actor, reason=data.reason)
        places = await _places(connection, principal)
        await choose_tier(connection, principal.tenant_id, member, choice, decimal_places=places, now=now)
        return await _standing(connection, principal, user, page)


async def _standing(connection: Connection, principal: Principal, user: User, page: Page) -> TierStandingAnswer:
    tiers, places = await tier_set_of(connection, principal.tenant_id), await _places(connection, principal)
    (member,) = await members_of(connection, principal.tenant_id, tiers, [user.user_id], now=utc_now())
    changes = await changes_of(connection, principal.tenant_id, user.user_id, after=page.after_id(), limit=page.limit)
    history = [principal.shown(tier_change_answer(change, places), tier_change_for_player) for change in changes]
    return standing_answer(tiers, member, places, history=history, next_cursor=page.cursor_of(changes, "change_id"))


routes: list[Any] = [get_tiers, replace_tiers, update_tiers, create_tier, replace_tier, delete_tier, get_user_tier, set_user_tier]
