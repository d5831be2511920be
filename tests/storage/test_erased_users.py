"""Event writers that know a user by heart learn at once that it was erased."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from runtime.settings import Settings
from storage.event.log import GroupCommitWriter, NewEvent
from storage.tenant import erasure
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


@pytest_asyncio.fixture
async def writer(settings: Settings, world: World) -> AsyncIterator[GroupCommitWriter]:
    writer = GroupCommitWriter(settings)
    await writer.start()
    yield writer
    await writer.stop()


def goal(world: World, user: str = "ann") -> NewEvent:
    identity = str(new_id())
    return NewEvent(
        tenant_id=world.tenant_id, sender="", event_id=identity, type="goal", external_user_id=user, occurred_at=utc_now(), body=b"{}"
    )


async def erase(world: World, external_id: str) -> None:
    async with transaction(world.pool) as connection:
        await erasure.begin_erasure(connection, world.tenant_id, external_id, utc_now())
    async with transaction(world.pool) as connection:
        await erasure.forget_known_users(connection)


@pytest.mark.parametrize("rounds", [1, 3])
async def test_the_next_event_makes_a_new_user(world: World, writer: GroupCommitWriter, rounds: int) -> None:
    for _ in range(rounds):
        await writer.append(goal(world))
        await writer.append(goal(world, "bob"))
        writer._users.update({(world.tenant_id, "ann"): (await users(world))["ann"]})  # as if it had been learnt
        before = (await users(world))["ann"]
        await erase(world, "ann")
        await writer.append_many([goal(world), goal(world, "bob"), goal(world)])
        assert (await users(world))["ann"] != before
    of = await world.rows("SELECT user_id, count(*) AS events FROM event_log WHERE external_user_id = 'bob' GROUP BY 1")
    assert [row["events"] for row in of] == [2 * rounds]


async def users(world: World) -> dict[str, object]:
    rows = await world.rows("SELECT external_id, user_id FROM app_user WHERE tenant_id = %s", (world.tenant_id,))
    return {row["external_id"]: row["user_id"] for row in rows}
