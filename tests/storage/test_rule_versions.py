"""However often a tenant has changed its rules, scoring reads those versions that it still needs, and compiles what is new."""

import datetime as dt
import random
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from domain import limits
from domain.errors import RateLimited
from domain.leaderboard.definition import BoardStatus, LeaderboardDefinition
from domain.scoring.rules import BEGINNING, RuleBook
from loops.scoring.batch import Scorer
from loops.scoring.rule_books import Books
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard import definition as definitions
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.rankings import Rankings
from storage.points.earning_rule import archive_rule
from storage.rules_lock import change_instant
from storage.scoring.pump import take_partition
from storage.scoring.rule_book import load_board_life, load_rule_book
from tests.builders.scoring import NOON, PARTITIONS, Event, World, definition

MANY = 10_000


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def book_of(world: World, oldest: dt.datetime, like: RuleBook | None = None) -> RuleBook:
    async with transaction(world.pool) as connection:
        return await load_rule_book(connection, world.tenant_id, oldest, like=like)


async def change_often(world: World, board: Leaderboard, times: int = MANY) -> None:
    """As if the board had been changed so many times an hour ago, each time to another expression."""
    await world.rows(
        """
        INSERT INTO leaderboard_version (tenant_id, board_id, version, status, config, valid_from)
        SELECT tenant_id, board_id, 1 + n, status,
               jsonb_set(config, '{scoring,rules,0,points_expression}', to_jsonb('attrs.points * ' || n)),
               clock_timestamp() - make_interval(secs => 3600 - n * 0.001)
        FROM leaderboard, generate_series(1, %s) AS n WHERE board_id = %s
        """,
        times,
        board.board_id,
        fetch=False,
    )
    await world.rows("UPDATE leaderboard SET version = version + %s WHERE board_id = %s", times, board.board_id, fetch=False)
    await world.rows("ANALYZE leaderboard_version", fetch=False)


async def test_versions_that_nothing_unscored_needs_are_not_read(world: World) -> None:
    board = await world.make_board("b", definition())
    await change_often(world, board)
    await world.change_board(board, definition(expression="attrs.points * 2"))
    await world.send([Event("ann", 5, 0, "e1")])
    book = await book_of(world, utc_now())
    assert [each.config.scoring.rules[0].points_expression for each in book.boards] == ["attrs.points * 2"]
    await world.pump()
    assert await world.stored_rows(board) == [("ann", 100_000)]


async def test_each_event_is_scored_by_the_version_of_its_instant_however_late(world: World) -> None:
    board = await world.make_board("b", definition(expression="1"))
    for number in range(1, 6):
        await world.send([Event("ann", 0, number, f"e{number}")])
        await world.change_board(board, definition(expression=str(10**number)))
    await world.pump()
    assert await world.stored_rows(board) == [("ann", 11_111 * 10_000)]


async def test_a_partition_that_is_far_behind_finds_its_versions_in_a_process_that_is_not(world: World) -> None:
    board = await world.make_board("b", definition(expression="1"))
    users = [f"u{number}" for number in range(20)]
    await world.send([Event(user, 0, 0, f"first-{user}") for user in users])
    await world.change_board(board, definition(expression="10"))
    await world.send([Event(user, 0, 1, f"second-{user}") for user in users])
    books, owners = Books(), []
    for partition in range(PARTITIONS):
        async with transaction(world.pool) as connection:
            owners.append(Scorer(world.pool, partition, await take_partition(connection, partition), books))
    ahead, *behind = owners
    await ahead.score(5000)
    await world.change_board(board, definition(expression="100"))
    await world.send([Event(user, 0, 2, f"third-{user}") for user in users])
    await ahead.score(5000)
    for owner in behind:
        await owner.score(5000)
    assert await world.stored_rows(board) == [(user, 1_110_000) for user in sorted(users)]


@pytest.mark.parametrize("seed", range(5))
async def test_a_short_book_says_the_same_as_the_whole_one(world: World, seed: int) -> None:
    drawn = random.Random(seed)
    boards = [await world.make_board(f"b{number}", definition(expression=str(number))) for number in range(4)]
    rules = [await world.make_earning_rule(str(number)) for number in range(3)]
    instants = [utc_now()]
    for step in range(25):
        await change_something(world, drawn, boards, rules, step)
        instants.append(utc_now())
    whole = await book_of(world, BEGINNING)
    for oldest in instants:
        short = await book_of(world, oldest)
        assert short.since <= oldest
        for instant in (each for each in (*instants, short.since) if each >= short.since):
            assert told(short, instant) == told(whole, instant)


async def change_something(world: World, drawn: random.Random, boards: list[Leaderboard], rules: list[UUID], step: int) -> None:
    kind = drawn.random()
    async with transaction(world.pool) as connection:
        if kind < 0.1 and len(boards) > 1:
            gone = boards.pop()
            instant = await change_instant(connection, world.tenant_id)
            await definitions.archive_board(connection, world.tenant_id, gone.board_id, instant=instant)
            return
        if kind < 0.2 and len(rules) > 1:
            await archive_rule(connection, world.tenant_id, rules.pop(), utc_now())
            return
    if kind < 0.6:
        await world.change_board(drawn.choice(boards), switched(drawn, str(step)))
    else:
        await world.make_earning_rule(str(step), rule_id=drawn.choice(rules), active=drawn.random() < 0.7)


def switched(drawn: random.Random, expression: str) -> LeaderboardDefinition:
    status = drawn.choice([BoardStatus.ACTIVE, BoardStatus.INACTIVE])
    return msgspec.structs.replace(definition(expression=expression), status=status)


def told(book: RuleBook, instant: dt.datetime) -> list[object]:
    rules = book.rules_at(instant)
    return [
        *((board.board_id, board.version, board.config) for board in rules.boards),
        *((each.rule_id, each.version, each.rule) for each in rules.earning_rules),
    ]


async def test_what_a_change_leaves_as_it_is_is_neither_parsed_nor_compiled_again(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.make_earning_rule("2")
    first = await book_of(world, utc_now())
    compiled = first.rules_at(utc_now()).compiled("match")
    async with transaction(world.pool) as connection:
        await change_instant(connection, world.tenant_id)  # as an erasure and a rescore do
    second = await book_of(world, utc_now(), like=first)
    assert second.rules_at(utc_now()).compiled("match") is compiled
    await world.change_board(board, definition())  # as a new name does
    third = await book_of(world, utc_now(), like=second)
    assert third.rules_at(utc_now()).compiled("match") is compiled
    await world.change_board(board, definition(expression="3"))
    fourth = await book_of(world, utc_now(), like=third)
    assert fourth.rules_at(utc_now()).compiled("match") is not compiled


async def test_a_rescore_reads_one_version_for_each_change_of_status(world: World) -> None:
    board = await world.make_board("b", definition())
    await change_often(world, board)
    await world.change_board(board, definition(expression="attrs.points * 2"))
    async with transaction(world.pool) as connection:
        life = await load_board_life(connection, world.tenant_id, board.board_id, utc_now())
    assert [(each.version, each.config.scoring.rules[0].points_expression) for each in life] == [(1, "attrs.points * 2")]


async def test_a_tenant_changes_its_rules_so_often_in_an_hour_and_no_oftener(world: World) -> None:
    await world.make_earning_rule("1")
    await world.rows("UPDATE definition_change SET counted = %s", limits.RULE_CHANGES.value - 1, fetch=False)
    rule = await world.make_earning_rule("2")
    with pytest.raises(RateLimited) as refused:
        await world.make_earning_rule("3")
    assert 3500 < refused.value.facts["retry_after"] <= 3600
    async with transaction(world.pool) as connection:
        assert await archive_rule(connection, world.tenant_id, rule, utc_now()), "what gives too much can always be ended"
        await change_instant(connection, world.tenant_id)  # what Laurel itself does goes on
    await world.rows("UPDATE definition_change SET counted_from = counted_from - interval '1 hour'", fetch=False)
    await world.make_earning_rule("4")


async def test_events_are_not_scored_by_rules_that_were_not_read(world: World) -> None:
    await world.make_board("b", definition())
    with pytest.raises(RuntimeError):
        (await book_of(world, utc_now())).rules_at(NOON - dt.timedelta(days=400))
