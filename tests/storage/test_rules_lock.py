"""The fence between changes of definitions and the pumps: it is the tenant's own, and nobody stands at it for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from domain.tenant.erasure import erased_id
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard import definition as leaderboard
from storage.leaderboard.rankings import Rankings
from storage.rules_lock import change_instant, fence_of, lock_rules_shared
from storage.scoring import pump as scoring
from tests.builders.scoring import PARTITIONS, Event, World, definition


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@asynccontextmanager
async def another_tenant(world: World) -> AsyncIterator[World]:
    yield await World(world.pool, world.rankings, "").open()


async def waits_for_a_lock(world: World) -> None:
    async with asyncio.timeout(20):
        while not await world.rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 7202 AND NOT granted"):
            await asyncio.sleep(0.01)


async def test_a_change_waits_for_its_own_tenants_pumps_and_for_no_others(world: World) -> None:
    async with another_tenant(world) as other:
        async with transaction(world.pool) as pump:
            await lock_rules_shared(pump, [other.tenant_id])
            async with asyncio.timeout(10):
                await world.make_board("free", definition())  # is not held up
            change = asyncio.create_task(other.make_board("held", definition()))
            await waits_for_a_lock(world)
            assert not change.done()
            await world.make_board("free-too", definition())
        await change


async def test_a_change_that_is_under_way_holds_up_its_own_tenants_events_only(world: World) -> None:
    board = await world.make_board("board", definition())
    async with another_tenant(world) as other:
        await other.make_board("theirs", definition())
        async with transaction(world.pool) as change:
            await change_instant(change, other.tenant_id)
            await world.send([Event("ann", 5, 0, "e1")])
            await world.pump()
            assert [score for _, score in await world.stored_rows(board)] == [50_000]


async def test_batches_of_many_tenants_and_their_changes_never_deadlock(world: World) -> None:
    tenants = [world] + [await World(world.pool, world.rankings, "").open() for _ in range(3)]

    async def pump(ids: list[World]) -> None:
        for _ in range(25):
            async with transaction(world.pool) as connection:
                await lock_rules_shared(connection, [each.tenant_id for each in ids])
                await asyncio.sleep(0)

    async def change(of: World) -> None:
        for _ in range(25):
            async with transaction(world.pool) as connection:
                await change_instant(connection, of.tenant_id)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for each in tenants:
            group.create_task(change(each))
        for order in (tenants, tenants[::-1], tenants[2:] + tenants[:2]):
            group.create_task(pump(order))


@pytest.mark.parametrize("known", [False, True])
async def test_events_that_were_read_before_an_erasure_are_not_scored_by_the_old_name(
    world: World, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    board = await world.make_board("board", definition())
    if known:
        await world.send([Event("bob", 1, 0, "e0")])
    await world.send([Event("ann", 5, 0, "e1")])
    partition = await world.partition_of("ann")
    owner = await world.owner(partition)
    if known:
        await owner.score(5000)
        await world.send([Event("ann", 7, 1, "e2")])
    read_events = scoring.events_of
    erasing: list[asyncio.Task[None]] = []

    async def erase() -> None:
        async with transaction(world.pool) as connection:
            await connection.execute(
                "UPDATE event_log SET external_user_id = %s WHERE tenant_id = %s AND external_user_id = 'ann'",
                (erased_id(board.board_id), world.tenant_id),
            )
        async with transaction(world.pool) as connection:
            await change_instant(connection, world.tenant_id)
            await connection.execute("DELETE FROM standing WHERE tenant_id = %s AND external_user_id = 'ann'", (world.tenant_id,))

    async def then_erase(*given: object, **more: object) -> list[scoring.LoggedEvent]:
        events = await read_events(*given, **more)  # type: ignore[arg-type]
        if not erasing:
            erasing.append(asyncio.create_task(erase()))
            await erasing[0]
        return events

    monkeypatch.setattr(scoring, "events_of", then_erase)
    await owner.score(5000)
    assert not await world.rows("SELECT FROM standing WHERE external_user_id = 'ann'")


async def test_every_owner_sees_the_changes_of_tenants_that_commit_in_another_order_than_they_are_numbered(world: World) -> None:
    board = await world.make_board("board", definition())
    async with another_tenant(world) as other:
        theirs = await other.make_board("theirs", definition())
        await world.send([Event("ann", 1, 0, "e1")])
        await other.send([Event("ann", 1, 0, "e1")])
        owners = [await world.owner(partition) for partition in range(PARTITIONS)]
        for owner in owners:
            await owner.score(5000)
        async with transaction(world.pool) as first:
            instant = await change_instant(first, world.tenant_id)
            await other.change_board(theirs, definition(expression="attrs.points * 10"))
            await other.send([Event("ann", 1, 1, "e2")])
            for owner in owners:
                await owner.score(5000)
            changed = definition(expression="attrs.points * 100")
            await leaderboard.replace_board(first, world.tenant_id, board.board_id, definition=changed, instant=instant)
        await world.send([Event("ann", 1, 1, "e2")])
        for owner in owners:
            await owner.score(5000)
        assert [score for _, score in await world.stored_rows(board)] == [1_010_000]
        assert [score for _, score in await other.stored_rows(theirs)] == [110_000]


def test_the_fence_is_a_number_of_four_bytes_of_the_tenant(world: World) -> None:
    assert -(2**31) <= fence_of(world.tenant_id) < 2**31
