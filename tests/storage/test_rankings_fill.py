"""A window that is filled anew while others publish: nobody reads an older board than PostgreSQL has shown, and watchers get word."""

import asyncio

import pytest

from domain.leaderboard.definition import Method
from domain.leaderboard.standing import order_key
from runtime.ids import new_id, utc_now
from runtime.redis import Redis
from storage.leaderboard.feed import BoardFeed
from storage.leaderboard.rankings import Mark, Publication, RankedBoard, Rankings


def publication(board: RankedBoard, user: str, *, partition: int, to: int) -> Publication:
    return Publication(board, partition, 1, 0, to, [user.encode(), order_key(Method.SCORE_DESC, to, utc_now())])


@pytest.mark.parametrize(("filled_to", "complete"), [(9, False), (10, True)])
async def test_a_fill_from_before_a_refused_publication_has_a_gap(redis_client: Redis, filled_to: int, complete: bool) -> None:
    rankings = Rankings(redis_client)
    board = RankedBoard(new_id(), new_id(), new_id(), Method.SCORE_DESC, None)
    fill = rankings.begin_fill(board)
    await fill.add([(b"ann", order_key(Method.SCORE_DESC, 5, utc_now()))])
    assert await rankings.publish([publication(board, "bob", partition=2, to=10)]) == ["absent"]
    assert await fill.swap([Mark(1, 1, 7), Mark(2, 1, filled_to)]) == "done"
    assert (await rankings.page(board, 0, 10) is not None) is complete
    if not complete:
        late = Publication(board, 2, 1, filled_to, 10, [b"bob", order_key(Method.SCORE_DESC, 10, utc_now())])
        assert await rankings.publish([late]) == ["done"]
        page = await rankings.page(board, 0, 10)
        assert page is not None
        assert page.total == 2


async def test_a_second_fill_gives_way_to_a_partition_that_its_snapshot_did_not_know(redis_client: Redis) -> None:
    rankings = Rankings(redis_client)
    board = RankedBoard(new_id(), new_id(), new_id(), Method.SCORE_DESC, None)
    ann = (b"ann", order_key(Method.SCORE_DESC, 5, utc_now()))
    first, second = rankings.begin_fill(board), rankings.begin_fill(board)
    for fill in (first, second):
        await fill.add([ann])
    assert await first.swap([Mark(1, 1, 7)]) == "done"
    assert await rankings.publish([publication(board, "bob", partition=2, to=10)]) == ["done"]
    assert await second.swap([Mark(1, 1, 7)]) == "newer"
    page = await rankings.page(board, 0, 10)
    assert page is not None
    assert page.total == 2
    assert await rankings.marks([board], 2) == [10]


async def test_each_change_gives_word_to_who_watches_the_board(redis_client: Redis) -> None:
    rankings, feed = Rankings(redis_client), BoardFeed(redis_client)
    board = RankedBoard(new_id(), new_id(), new_id(), Method.SCORE_DESC, None)
    heard = asyncio.Event()
    listening = asyncio.create_task(feed.run())
    try:
        await feed.watch(board.tenant_id, board.board_id, lambda _news: heard.set())
        async with asyncio.timeout(60.0):
            await heard.wait()  # word may have been lost before
            for change in (
                rankings.publish([publication(board, "ann", partition=1, to=3)]),
                rankings.begin_fill(board).swap([]),
                rankings.publish([publication(board, "ann", partition=1, to=3)]),
            ):
                heard.clear()
                await change
                await heard.wait()
            for number in range(3):  # the connection breaks: at the latest when there is another, there is word
                await redis_client.client_kill_filter(_type="pubsub")
                await asyncio.sleep(0.05)
                heard.clear()
                await rankings.publish([publication(board, f"bob-{number}", partition=2 + number, to=4)])
                while not heard.is_set():
                    await rankings.begin_fill(board).swap([])
                    await asyncio.sleep(0.05)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await feed.close()


async def test_a_fill_from_before_a_publication_that_met_a_gap_has_that_gap_too(redis_client: Redis) -> None:
    rankings = Rankings(redis_client)
    board = RankedBoard(new_id(), new_id(), new_id(), Method.SCORE_DESC, None)
    ann = (b"ann", order_key(Method.SCORE_DESC, 5, utc_now()))
    assert await rankings.begin_fill(board).swap([Mark(2, 1, 5)]) == "done"
    older = rankings.begin_fill(board)
    await older.add([ann])
    late = Publication(board, 2, 1, 9, 12, [b"bob", order_key(Method.SCORE_DESC, 12, utc_now())])
    assert await rankings.publish([late]) == ["gap"]  # 5 to 9 is missing, and a reader has gone to PostgreSQL, where 12 is
    assert await older.swap([Mark(2, 1, 9)]) == "done"
    assert await rankings.page(board, 0, 10) is None, "nobody who has seen 12 reads 9 afterwards"
    assert await rankings.publish([late]) == ["done"]
    page = await rankings.page(board, 0, 10)
    assert page is not None
    assert page.total == 2


async def test_a_fill_of_a_board_that_lost_its_keys_does_not_go_back_behind_what_it_held(redis_client: Redis) -> None:
    rankings = Rankings(redis_client)
    board = RankedBoard(new_id(), new_id(), new_id(), Method.SCORE_DESC, None)
    older = rankings.begin_fill(board)
    await older.add([(b"ann", order_key(Method.SCORE_DESC, 5, utc_now()))])
    assert await rankings.begin_fill(board).swap([Mark(2, 1, 5)]) == "done"
    assert await rankings.publish([Publication(board, 2, 1, 5, 8, [b"bob", order_key(Method.SCORE_DESC, 8, utc_now())])]) == ["done"]
    await redis_client.delete(rankings.keys(board)[0])
    assert await older.swap([Mark(2, 1, 5)]) == "done"
    assert await rankings.page(board, 0, 10) is None
