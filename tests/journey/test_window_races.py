"""An early close and the archiving of its board, at the same time."""

import asyncio

from runtime.postgres import Pool, transaction
from storage.leaderboard.definition import archive_board, find_board
from storage.rules_lock import change_instant
from tests.builders.api import World
from tests.journey.programme import far_from_its_end


async def test_a_window_of_a_board_that_is_being_archived_is_not_closed_beside(pool: Pool, world: World) -> None:
    rules = [{"event_type": "goal", "points_expression": "1"}]
    body = {"leaderboard_id": "b", "name": "B", "config": {"timeframe": far_from_its_end("daily"), "scoring": {"rules": rules}}}
    with world.client() as client:
        assert client.post("/v1/admin/leaderboards", json=body).status_code == 201
        async with transaction(pool) as connection:
            board = await find_board(connection, world.tenant_id, "b", lock=True)
            assert board is not None
            instant = await change_instant(connection, world.tenant_id)
            await archive_board(connection, world.tenant_id, board.board_id, instant=instant)
            closing = asyncio.create_task(asyncio.to_thread(client.post, "/v1/admin/leaderboards/b/windows/current/close"))
            async with asyncio.timeout(60):
                while not world.rows("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
                    await asyncio.sleep(0.02)
        assert (await closing).status_code == 404
    assert not world.rows("SELECT FROM leaderboard_window"), "no window of an archived board is made"
