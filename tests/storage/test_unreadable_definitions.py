"""Definitions that this release cannot read: their tenant's events wait for them, and nobody else's do."""

import pytest
import pytest_asyncio

from loops.scoring import known
from runtime.metrics import UNREADABLE_ROWS
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.definition import every_open_window
from storage.leaderboard.rankings import Rankings
from storage.rules_lock import change_instant
from tests.builders.scoring import PARTITIONS, Event, World, definition

USERS = [f"u{number}" for number in range(12)]
DAMAGE = {
    "config": "UPDATE leaderboard_version SET config = config - 'scoring' WHERE tenant_id = %s",
    "expression": "UPDATE leaderboard_version SET config = jsonb_set(config, '{scoring,rules,0,points_expression}', '\"of tomorrow((\"')"
    " WHERE tenant_id = %s",
}
MEND = """
UPDATE leaderboard_version AS v SET config = b.config FROM leaderboard AS b
WHERE b.tenant_id = v.tenant_id AND b.board_id = v.board_id AND b.tenant_id = %s
"""


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@pytest.mark.parametrize("what", DAMAGE)
async def test_what_cannot_be_read_of_one_tenant_holds_up_its_own_events_and_no_others(world: World, postgres_url: str, what: str) -> None:
    broken = await World(world.pool, world.rankings, postgres_url).open()
    theirs, mine = await broken.make_board("b", definition()), await world.make_board("b", definition())
    await broken.rows(DAMAGE[what], broken.tenant_id, fetch=False)
    before = UNREADABLE_ROWS._value.get()
    for each in (broken, world):
        await each.send([Event(user, 1, 0, f"e-{user}") for user in USERS])
    await world.pump()
    assert [score for _, score in await world.stored_rows(mine)] == [10_000] * len(USERS)
    assert await broken.stored_rows(theirs) == []
    assert not await world.rows("SELECT FROM dead_letter"), "its events are not at fault"
    assert UNREADABLE_ROWS._value.get() > before
    await world.send([Event(user, 1, 1, f"f-{user}") for user in USERS])
    await world.pump()
    assert [score for _, score in await world.stored_rows(mine)] == [20_000] * len(USERS)
    await broken.rows(MEND, broken.tenant_id, fetch=False)
    async with transaction(world.pool) as connection:
        await change_instant(connection, broken.tenant_id)
    await world.pump()
    assert [score for _, score in await broken.stored_rows(theirs)] == [10_000] * len(USERS)


async def test_what_could_not_be_read_is_tried_again_without_a_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "UNREADABLE_SECONDS", 0.0)
    board = await world.make_board("b", definition())
    await world.rows(DAMAGE["config"], world.tenant_id, fetch=False)
    await world.send([Event(user, 1, 0, f"e-{user}") for user in USERS])
    owners = [await world.owner(partition) for partition in range(PARTITIONS)]
    for owner in owners:
        await owner.score(5000)
        await owner.catch_up(5000)
    assert await world.stored_rows(board) == []
    await world.rows(MEND, world.tenant_id, fetch=False)
    for owner in owners:
        await owner.score(5000)
        await owner.catch_up(5000)
    assert len(await world.stored_rows(board)) == len(USERS)


async def test_a_board_that_cannot_be_read_is_missing_among_all_windows_and_no_other_is(world: World, postgres_url: str) -> None:
    broken = await World(world.pool, world.rankings, postgres_url).open()
    for each in (broken, world):
        await each.make_board("b", definition())
        await each.send([Event("ann", 1, 0, "e1")])
    await world.pump()
    await broken.rows(
        "UPDATE leaderboard SET config = jsonb_set(config, '{ranking}', '{\"method\": \"of_tomorrow\"}') WHERE tenant_id = %s",
        broken.tenant_id,
        fetch=False,
    )
    async with world.pool.connection() as connection:
        assert [each.tenant_id for each in await every_open_window(connection, None)] == [world.tenant_id]
