"""Rescores on a real PostgreSQL and Valkey: beside scoring, through crashes, and against the end of the window."""

import asyncio
import random
import threading

import msgspec
import pytest
import pytest_asyncio

from activities.rescore import Reader, RescoreActivities
from domain.errors import EventsExpired, InvalidState
from domain.leaderboard.definition import BoardStatus
from domain.leaderboard.rescore import RescoreInput, RescoreStatus
from loops.scoring.rule_books import COMPILERS, Books
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.definition import find_board
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rescore import Rescore, find_rescore
from storage.leaderboard.rescore_request import request_rescore
from storage.leaderboard.window import window_with_board
from storage.payout.window_payout import freeze_window
from storage.rules_lock import change_instant
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference
from tests.builders.window import KEY, close_now, ending, freeze, page, scoring, the_window

EVENTS = [Event(f"u{n % 9}", n * 7 % 5 - 1.5, n * 13 % 9, f"e{n:03}") for n in range(120)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def begin(world: World, key: str = "all", board: str = "b") -> Rescore:
    async with transaction(world.pool) as connection:
        return await request_rescore(connection, world.tenant_id, board, key)


def given(rescore: Rescore) -> RescoreInput:
    return RescoreInput(tenant_id=rescore.tenant_id, rescore_id=rescore.rescore_id)


async def finish(world: World, rescore: Rescore) -> RescoreStatus:
    activities = RescoreActivities(world.pool, world.rankings)
    while not (progress := await activities.read(given(rescore))).all_read:
        pass
    progress = await activities.switch(given(rescore))
    await activities.clear(given(rescore))
    return progress.status


def doubled(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, points=2 * event.points) for event in events]


async def check(world: World, what, events: list[Event]) -> None:
    """What readers get, what PostgreSQL has and what Redis has are the reference."""
    async with world.pool.connection() as connection:
        board = await find_board(connection, world.tenant_id, "b")
    key = "all" if board.config.timeframe.type == "all_time" else KEY
    expected = reference(what, events)
    rows = await world.rows("SELECT coalesce(standings_id, window_id) AS id FROM leaderboard_window WHERE board_id = %s", board.board_id)
    found = await world.rows("SELECT count(*) AS n FROM standing WHERE window_id <> %s", rows[0]["id"])
    assert found[0]["n"] == 0, "nothing is left of what was replaced"
    assert await world.stored_rows(board, key) == expected
    assert await world.live_rows(board, key) == expected


async def test_no_transaction_is_open_while_the_rules_of_a_rescore_are_compiled(world: World) -> None:
    """That may take longer than a transaction may be idle; and a lane that is locked keeps another worker from going on."""
    await world.make_board("b", definition())
    await world.send(EVENTS)
    await world.pump()
    books, release = Books(), threading.Event()
    for _ in range(COMPILERS):
        books._thread.submit(release.wait)
    reader = Reader(world.pool, await begin(world), books)
    step = asyncio.create_task(reader.step())
    try:
        async with asyncio.timeout(60):
            while not books._under_way:
                await asyncio.sleep(0.01)
        open_ones = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        idle = await world.rows(open_ones)
    finally:
        release.set()
    assert await step
    assert not idle


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "count", "avg"])
async def test_a_rescore_counts_everything_under_the_present_rules(world: World, aggregation: str) -> None:
    board = await world.make_board("b", definition(aggregation))
    await world.send(EVENTS[:80])
    await world.pump()
    what = definition(aggregation, expression="attrs.points * 2", min_score=-2)
    await world.change_board(board, what)
    await world.send(EVENTS[80:])
    await world.pump()
    assert await finish(world, await begin(world)) is RescoreStatus.COMPLETED
    await world.pump()
    await check(world, what, doubled(EVENTS))


async def test_events_that_wait_to_be_scored_count_once_and_by_the_rules_of_the_rescore(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:40])
    await world.pump()
    await world.send(EVENTS[40:80])
    what = definition(expression="attrs.points * 2")
    await world.change_board(board, what)
    await world.send(EVENTS[80:100])
    rescore = await begin(world)
    await world.send(EVENTS[100:])
    await world.pump()
    expected = reference(definition(), EVENTS)
    assert await world.stored_rows(board) != expected
    await finish(world, rescore)
    await world.pump()
    await check(world, what, doubled(EVENTS))


@pytest.mark.parametrize("seed", range(6))
async def test_rescores_amid_scoring_and_crashes_equal_the_reference(
    world: World, redis_client: Redis, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("activities.scoring.BATCH_LIMIT", dice.choice([1, 3, 10, 5000]))
    monkeypatch.setattr("activities.rescore.BATCH_LIMIT", dice.choice([1, 3, 10, 2000]))
    monkeypatch.setattr("activities.rescore.STINT_SECONDS", 0.05)
    kind = (dice.choice(["sum", "max", "min", "count", "avg"]), dice.choice(["score_desc", "score_asc"]))
    board = await world.make_board("b", definition(*kind))
    what = definition(*kind, expression="attrs.points * 2", min_score=dice.choice([None, 0]))
    waiting, rescore, changed = [*EVENTS, *dice.choices(EVENTS, k=30)], None, False
    dice.shuffle(waiting)
    while waiting or not changed or rescore is None:
        size = dice.randint(1, 30)
        await world.send(waiting[:size])
        waiting = waiting[size:]
        match dice.randint(0, 6):
            case 0:
                await redis_client.flushall()
            case 1:  # an owner commits and dies before it publishes
                await (await world.owner(dice.randrange(PARTITIONS))).score(dice.randint(1, 50))
            case 2 if not changed:
                changed = True
                await world.change_board(board, what)
            case 3 if changed and rescore is None:
                rescore = await begin(world)
            case 4 if rescore is not None:  # two readers at once: one of them was taken for dead
                readers = [Reader(world.pool, rescore) for _ in range(2)]
                await asyncio.gather(*(reader.step() for reader in readers))
            case 5 if rescore is not None:  # killed amid a batch
                with pytest.raises(asyncio.TimeoutError):
                    async with asyncio.timeout(dice.random() * 0.01):
                        await asyncio.gather(Reader(world.pool, rescore).step(), asyncio.sleep(1))
            case _:
                await world.pump()
    pumping = asyncio.create_task(world.pump())
    assert await finish(world, rescore) is RescoreStatus.COMPLETED
    await pumping
    await world.pump()
    await check(world, what, doubled(EVENTS))


async def test_the_old_standings_are_shown_until_the_switch_and_the_new_ones_at_once(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    before = await page(world, board)
    what = ending(expression="attrs.points * 2")
    async with transaction(world.pool) as connection:
        found = await find_board(connection, world.tenant_id, "b")
    what = msgspec.structs.replace(what, config=msgspec.structs.replace(what.config, timeframe=found.config.timeframe))  # the same window
    await world.change_board(board, what)
    rescore = await begin(world, KEY)
    activities = RescoreActivities(world.pool, world.rankings)
    while not (await activities.read(given(rescore))).all_read:
        pass
    assert await page(world, board) == before
    await activities.switch(given(rescore))
    expected = reference(what, doubled(EVENTS))
    assert await page(world, board) == (9, expected)
    assert await world.live_rows(board, KEY) == expected
    await close_now(world, board)
    async with scoring(world):
        frozen = await freeze(world, board)
    assert (frozen.total, (await page(world, board))[1]) == (9, expected)


async def test_a_closing_window_waits_for_its_rescore(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    rescore = await begin(world, KEY)
    await close_now(world, board)
    with pytest.raises(RuntimeError, match="rescored"):
        await freeze(world, board)
    assert await finish(world, rescore) is RescoreStatus.COMPLETED
    async with scoring(world):
        assert (await freeze(world, board)).total == 9
    assert (await page(world, board))[1] == reference(ending(), EVENTS)


async def test_a_window_is_rescored_by_one_at_a_time_and_only_while_it_is_open(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    first, *refused = await asyncio.gather(begin(world, KEY), begin(world, KEY), return_exceptions=True)
    both = [first, *refused]
    assert sorted(type(each).__name__ for each in both) == ["InvalidState", "Rescore"]
    (running,) = [each for each in both if isinstance(each, Rescore)]
    await finish(world, running)
    await close_now(world, board)
    with pytest.raises(InvalidState, match="no longer open"):
        await begin(world, KEY)
    async with scoring(world):
        await freeze(world, board)
    with pytest.raises(InvalidState, match="no longer open"):
        await begin(world, KEY)


async def test_a_rescore_of_days_that_are_gone_is_refused(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    await world.rows("UPDATE leaderboard SET created_at = now() - interval '9 days' WHERE board_id = %s", board.board_id, fetch=False)
    with pytest.raises(EventsExpired):
        await begin(world, KEY)


async def test_erased_users_and_times_of_inactivity_are_left_out(world: World) -> None:
    what = definition()
    board = await world.make_board("b", what)
    await world.send(EVENTS[:60])
    await world.change_board(board, msgspec.structs.replace(what, status=BoardStatus.INACTIVE))
    await world.send(EVENTS[60:90])
    await world.change_board(board, what)
    await world.send(EVENTS[90:])
    await world.pump()
    before = await world.rows("SELECT count(*) AS n, sum(amount) AS sum FROM transfer")
    await world.rows("UPDATE app_user SET external_id = 'erased:1' WHERE external_id = 'u3'", fetch=False)
    await finish(world, await begin(world))
    counted = [event for event in [*EVENTS[:60], *EVENTS[90:]] if event.user != "u3"]
    await check(world, what, counted)
    assert await world.rows("SELECT count(*) AS n, sum(amount) AS sum FROM transfer") == before, "earnings are untouched"


async def test_a_rescore_that_is_given_up_leaves_the_board_as_it_was(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:60])
    await world.pump()
    what = definition(expression="attrs.points * 2")
    await world.change_board(board, what)
    rescore = await begin(world)
    activities = RescoreActivities(world.pool, world.rankings)
    await activities.read(given(rescore))
    assert (await activities.give_up(given(rescore))).status is RescoreStatus.FAILED
    await activities.clear(given(rescore))
    await world.pump()
    await check(world, definition(), EVENTS[:60])
    async with transaction(world.pool) as connection:
        await change_instant(connection, world.tenant_id)
        assert (await find_rescore(connection, world.tenant_id, rescore.rescore_id)).reason == "cancelled"
    assert await finish(world, await begin(world)) is RescoreStatus.COMPLETED
    await check(world, what, doubled(EVENTS[:60]))


async def test_rescores_scoring_and_an_early_close_together_lose_nothing(world: World) -> None:
    board = await world.make_board("b", ending("count"))
    await world.send([Event("u0", 1, 1, "first")])
    await world.pump()

    async def send(sender: int) -> None:
        for number in range(25):
            await world.send([Event(f"u{sender}", 1, 1, f"{sender}-{number}")])

    async def rescore_again_and_again() -> int:
        done = 0
        while True:
            try:
                rescore = await begin(world, KEY)
            except InvalidState:
                return done
            assert await finish(world, rescore) is RescoreStatus.COMPLETED
            done += 1

    async with scoring(world):
        rescoring = asyncio.create_task(rescore_again_and_again())
        await asyncio.gather(*(send(sender) for sender in range(3)))
        instant = await close_now(world, board)
        await rescoring
        await send(7)
        frozen = await freeze(world, board)
    rows = await world.rows("SELECT count(*) FILTER (WHERE accepted_at < %s) AS counted FROM event_log", instant)
    total, entries = await page(world, board)
    assert (frozen.total, sum(score for _, score in entries)) == (total, 10_000 * rows[0]["counted"])
    window = await the_window(world, board)
    async with transaction(world.pool) as connection:
        found = await window_with_board(connection, world.tenant_id, window.window_id)
        assert await freeze_window(connection, world.tenant_id, found) == frozen
