"""The pump on a real PostgreSQL and a real Valkey: exactly once, whatever the order, the batches and the crashes."""

import random

import pytest
import pytest_asyncio

from activities.scoring import ScoringPump
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.rankings import Rankings
from storage.scoring.pump import StaleOwner
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference

EVENTS = [Event(f"u{n % 7}", n * 7 % 5 - 1.5, n * 13 % 60, f"e{n:03}") for n in range(60)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "count", "avg"])
@pytest.mark.parametrize("method", ["score_desc", "score_asc"])
async def test_standings_and_live_board_equal_the_reference(world: World, aggregation: str, method: str) -> None:
    what = definition(aggregation, method, min_score=-1)
    board = await world.make_board("b", what)
    await world.send(EVENTS[:25])
    await world.pump()
    await world.send(EVENTS[20:])
    await world.pump()
    expected = reference(what, EVENTS)
    assert await world.stored_rows(board) == expected
    assert await world.live_rows(board) == expected


async def test_repeats_and_batches_of_any_size_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.scoring.BATCH_LIMIT", 3)
    board = await world.make_board("b", definition())
    for start in (0, 10, 20, 40):
        await world.send(EVENTS[max(0, start - 10) : start + 20])
        await world.pump()
    assert await world.stored_rows(board) == await world.live_rows(board) == reference(definition(), EVENTS)


async def test_an_owner_that_dies_between_commit_and_publish_leaves_a_right_board(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:30])
    await world.pump()
    await world.send(EVENTS[30:40])
    for partition in range(PARTITIONS):
        scorer = await world.owner(partition)
        await scorer.score(5000)  # committed, and nobody publishes it
    assert await world.live_rows(board) == reference(definition(), EVENTS[:30])
    await world.send(EVENTS[40:])
    await world.pump()
    assert await world.live_rows(board) == await world.stored_rows(board) == reference(definition(), EVENTS)


async def test_an_owner_that_was_replaced_scores_nothing_and_its_late_publication_is_refused(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send([Event("u", 1, 0, "a")])
    await world.pump()
    partition = await world.partition_of("u")
    old = await world.owner(partition)
    await world.send([Event("u", 2, 1, "b")])
    late = (await old.score(5000)).publications
    await world.send([Event("u", 4, 2, "c")])
    await world.pump()
    with pytest.raises(StaleOwner):
        await old.score(5000)
    assert await world.rankings.publish(late) == ["stale"]
    assert await world.live_rows(board) == [("u", 70_000)]


async def test_a_batch_that_rolls_back_leaves_no_trace_and_is_scored_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS)

    async def fail(*_: object, **__: object) -> None:
        raise ConnectionResetError("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr("storage.scoring.pump.advance_cursor", fail)
        for partition in range(PARTITIONS):
            with pytest.raises(ConnectionResetError):
                await (await world.owner(partition)).score(5000)
    assert await world.stored_rows(board) == []
    await world.pump()
    assert await world.live_rows(board) == reference(definition(), EVENTS)


async def test_redis_flushed_in_mid_stream_is_filled_again(world: World, redis_client: Redis) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:30])
    await world.pump()
    await redis_client.flushall()
    assert await world.live_rows(board) is None
    await world.pump()
    assert await world.live_rows(board) == reference(definition(), EVENTS[:30])
    await redis_client.flushall()
    await world.send(EVENTS[30:])
    await world.pump()
    assert await world.live_rows(board) == reference(definition(), EVENTS)


async def test_an_event_that_breaks_scoring_goes_to_the_dead_letters_and_blocks_nobody(world: World) -> None:
    board = await world.make_board("b", definition())
    broken = Event("u1", 9, 5, "broken")
    await world.send([*EVENTS, broken], bodies={"broken": b"not json"})
    await world.pump()
    assert await world.live_rows(board) == reference(definition(), EVENTS)
    dead = await world.rows("SELECT event_id, reason FROM dead_letter")
    assert [row["event_id"] for row in dead] == ["broken"]
    assert "cannot be read" in dead[0]["reason"]


async def test_an_event_that_the_database_refuses_is_found_by_halving(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS)
    await world.rows("ALTER TABLE standing ADD CONSTRAINT no_odd CHECK (total <> 123450000)", fetch=False)
    try:
        await world.send([Event("odd", 12345, 1, "odd"), Event("even", 1, 1, "even")])
        await world.pump()
    finally:
        await world.rows("ALTER TABLE standing DROP CONSTRAINT no_odd", fetch=False)
    assert await world.live_rows(board) == reference(definition(), [*EVENTS, Event("even", 1, 1, "even")])
    assert [row["event_id"] for row in await world.rows("SELECT event_id FROM dead_letter")] == ["odd"]


async def test_many_events_that_break_scoring_hold_up_no_other_user_of_their_partition(world: World) -> None:
    await world.make_earning_rule("10")
    board, other = await world.make_board("b", definition()), await world.make_board("other", definition("max"))
    dice = random.Random(24)
    healthy = [Event(f"u{n % 7}", n % 5, n % 60, f"h{n:03}") for n in range(60)]
    breaking = [Event("odd", 1, n % 60, f"o{n:03}") for n in range(40)]
    unreadable = [Event("torn", 1, n % 60, f"t{n:03}") for n in range(10)]
    everything = [*healthy, *breaking, *unreadable]
    dice.shuffle(everything)
    await world.rows("ALTER TABLE standing ADD CONSTRAINT no_odd CHECK (external_user_id <> 'odd')", fetch=False)
    for event in everything:
        await world.send([event], bodies={each.event_id: b"not json" for each in unreadable})
    published = []
    for partition in range(PARTITIONS):
        pump = ScoringPump(world.pool, world.rankings, world.wakeup, partition)
        batch = await pump.step(await world.owner(partition))
        assert not batch.behind
        published += batch.publications
        assert len({each.board for each in batch.publications}) == len(batch.publications)
    assert await world.stored_rows(board) == reference(definition(), healthy)
    assert await world.stored_rows(other) == reference(definition("max"), healthy)
    dead = await world.rows("SELECT event_id FROM dead_letter")
    assert {row["event_id"] for row in dead} == {event.event_id for event in [*breaking, *unreadable]}
    earned = await world.rows("SELECT sum(posted)::int AS posted FROM account")
    assert earned[0]["posted"] == 10 * len(healthy)
    await world.rankings.publish(published)
    await world.pump()
    assert await world.live_rows(board) == reference(definition(), healthy)


async def test_events_are_scored_by_the_version_in_force_when_they_were_accepted(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send([Event("u", 1, 0, "a")])
    await world.change_board(board, definition(expression="attrs.points * 100"))
    await world.send([Event("u", 1, 1, "b")])
    later = await world.make_board("later", definition())
    await world.send([Event("u", 1, 2, "c")])
    await world.pump()
    assert await world.live_rows(board) == [("u", 2_010_000)]
    assert await world.live_rows(later) == [("u", 10_000)]


async def test_an_event_that_comes_after_the_window_has_closed_is_counted_as_late(world: World) -> None:
    times = {"starts_at": "2026-02-03T00:00:00Z", "ends_at": "2026-02-04T00:00:00Z"}
    what = definition(timeframe={"type": "custom", "grace_seconds": 0, **times})
    board = await world.make_board("b", what)
    await world.open_window(board, "2026-02-03T00:00:00Z")
    await world.send([Event("u", 1, 0, "a")])
    await world.pump()
    await world.rows("UPDATE leaderboard_window SET closes_at = '2026-02-05'", fetch=False)
    await world.change_board(board, what)
    await world.send([Event("u", 1, 1, "b"), Event("v", 1, 1, "c")])
    await world.pump()
    assert await world.live_rows(board, "2026-02-03T00:00:00Z") == [("u", 10_000)]
    assert [row["late_events"] for row in await world.rows("SELECT late_events FROM leaderboard_window")] == [2]


async def test_a_changed_min_score_takes_effect_on_the_live_board(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send([Event("low", 1, 0, "a"), Event("high", 9, 1, "b")])
    await world.pump()
    board = await world.change_board(board, definition(min_score=5))
    assert await world.live_rows(board) is None
    await world.pump()
    assert await world.live_rows(board) == [("high", 90_000)]


async def test_earnings_are_posted_once_in_the_scoring_transaction(world: World) -> None:
    await world.make_earning_rule("attrs.points * 2")
    await world.send([Event("u", 3, 0, "a"), Event("u", 4, 1, "b"), Event("v", -4, 1, "c")])
    await world.pump()
    await world.send([Event("u", 3, 0, "a")])
    await world.pump()
    assert [row["posted"] for row in await world.rows("SELECT posted FROM account")] == [14]
    assert len(await world.rows("SELECT * FROM transfer")) == 2


async def test_events_of_a_server_whose_clock_was_fast_hide_none(world: World) -> None:
    """One was accepted by a clock that was hours ahead; those before and behind it by one that was right."""
    board = await world.make_board("b", definition())
    await world.send([Event("u", 1, 0, "a")])
    partition = await world.partition_of("u")
    await world.pump()
    await world.send([Event("u", 2, 1, "wrong")])
    async with world.pool.connection() as connection:
        await connection.execute("UPDATE event_log SET accepted_at = accepted_at + interval '3 hours' WHERE event_id = 'wrong'")
    scorer = await world.owner(partition)
    await scorer.score(5000)
    await world.send([Event("u", 4, 2, "c")])
    await scorer.score(5000)
    assert await world.stored_rows(board) == [("u", 70_000)]


async def test_a_step_of_the_servers_clock_makes_an_owner_look_everywhere(world: World) -> None:
    await world.make_board("b", definition())
    await world.send([Event("u", 1, 0, "a")])
    partition = await world.partition_of("u")
    scorer = await world.owner(partition)
    await scorer.score(5000)
    await scorer.score(5000)
    await world.send([Event("u", 2, 1, "slow")])
    async with world.pool.connection() as connection:
        await connection.execute("UPDATE event_log SET accepted_at = accepted_at - interval '3 hours' WHERE event_id = 'slow'")
    assert scorer._clock is not None
    scorer._clock -= 3 * 3600  # what it noted while the clock was slow
    assert (await scorer.score(5000)).events == 1
