"""Payouts for tests: closed windows with a snapshot made by hand, items, and a run step by step."""

from typing import Any
from uuid import UUID

from domain.payout.run import NewRun, PayoutProgress, Run, RunStatus
from domain.reward.config import ConfigTier, RunConfig
from domain.reward.item import ItemCopy
from domain.tenant.user import User
from runtime.ids import new_id, utc_now
from runtime.postgres import transaction
from storage.payout import pay, run
from storage.payout import plan as plans
from tests.builders.store import World


def item(kind: str = "recorded", *, amount: int | None = None, currency: str = "points", **more: Any) -> ItemCopy:
    """An item of this fulfilment; with an amount it credits that."""
    if amount is not None:
        more |= {"currency": currency, "amount": amount, "reward_type": "points", "reward_value": amount}
        kind = "wallet"
    fulfilment = {"type": kind, "endpoint_id": None, "deadline_seconds": 600, "answer_is_callback": False}
    return ItemCopy(**{"item_id": new_id(), "name": "an item", "reward_type": "badge", "fulfilment": fulfilment, **more})


def config(*tiers: tuple[ConfigTier, list[ItemCopy]], budget: dict[str, int] | None = None) -> RunConfig:
    """Tiers with their items (the Structs' own `item_ids` are replaced)."""
    made = [
        ConfigTier(**{name: getattr(t, name) for name in t.__struct_fields__} | {"item_ids": [i.item_id for i in i_s]}) for t, i_s in tiers
    ]
    return RunConfig(tiers=made, items={i.item_id: i for _, i_s in tiers for i in i_s}, budget=budget or {}, places={"points": 0})


def tier(**bounds: Any) -> ConfigTier:
    """A tier, its items to follow."""
    return ConfigTier(item_ids=[], **bounds)


async def closed_window(world: World, users: list[User], scores: list[int] | None = None) -> UUID:
    """A closed window whose snapshot ranks these users in this order."""
    board_id, window_id, now = new_id(), new_id(), utc_now()
    scores = scores or list(range(len(users) * 10, 0, -10))
    async with transaction(world.pool) as connection:
        await connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at) "
            "VALUES (%s, %s, %s, 'b', 'active', 1, '{}', %s, %s)",
            (world.tenant_id, board_id, f"b{board_id}", now, now),
        )
        await connection.execute(
            "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, total, created_at) "
            "VALUES (%s, %s, %s, 'w', 'closed', %s, %s)",
            (world.tenant_id, window_id, board_id, len(users), now),
        )
        await connection.execute(
            "INSERT INTO snapshot_entry (tenant_id, window_id, rank, user_id, external_user_id, score, reached_at) "
            "SELECT %s, %s, place, user_id, name, score, %s FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) WITH ORDINALITY "
            "AS given (user_id, name, score, place)",
            (world.tenant_id, window_id, now, [u.user_id for u in users], [u.external_id for u in users], scores),
        )
    return window_id


def run_for(window_id: UUID, given: RunConfig) -> NewRun:
    """The run of a window."""
    return NewRun(
        source_type="leaderboard",
        source_id=str(window_id),
        instant=utc_now(),
        trigger="window",
        audience={"type": "window", "window_id": str(window_id)},
        config=given,
    )


async def make_run(world: World, window_id: UUID, given: RunConfig) -> UUID:
    """The run, written."""
    async with transaction(world.pool) as connection:
        run_id = await run.create_run(connection, world.tenant_id, run_for(window_id, given), utc_now())
    assert run_id is not None
    return run_id


async def plan(world: World, run_id: UUID) -> PayoutProgress:
    """Freeze its audience."""
    async with transaction(world.pool) as connection:
        return await plans.plan(connection, world.tenant_id, run_id, utc_now())


async def pay_page(world: World, run_id: UUID, size: int = 2) -> PayoutProgress:
    """Pay the next page."""
    async with transaction(world.pool) as connection:
        return await pay.pay_page(connection, world.tenant_id, run_id, size, now=utc_now())


async def finish(world: World, run_id: UUID) -> PayoutProgress:
    """Reconcile and end it."""
    async with transaction(world.pool) as connection:
        return await pay.finish(connection, world.tenant_id, run_id, utc_now())


async def pay_all(world: World, run_id: UUID, size: int = 2) -> PayoutProgress:
    """Plan it, pay page after page, finish it."""
    progress = await plan(world, run_id)
    while progress.status is RunStatus.PAYING and progress.paid + progress.skipped < progress.recipients:
        progress = await pay_page(world, run_id, size)
    return await finish(world, run_id)


async def the_run(world: World, run_id: UUID) -> Run:
    """The run as it is kept."""
    async with world.pool.connection() as connection:
        return await run.find_run(connection, world.tenant_id, run_id)


async def grants(world: World) -> list[tuple[str, UUID]]:
    """(user, item) of every grant, in order."""
    rows = await world.rows(
        "SELECT external_id, item_id FROM reward_grant JOIN app_user USING (tenant_id, user_id) WHERE tenant_id = %s "
        "ORDER BY external_id, item_id",
        (world.tenant_id,),
    )
    return [(row["external_id"], row["item_id"]) for row in rows]
