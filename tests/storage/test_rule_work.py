"""What a tenant's rules may cost: in definitions, in compiling, and in a batch."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from activities.rescore import RescoreActivities
from activities.scoring import ScoringPump
from domain import limits
from domain.errors import LimitReached
from domain.leaderboard.definition import BoardStatus, BoardVersion, LeaderboardDefinition, parse_definition
from domain.leaderboard.rescore import RescoreInput
from domain.scoring.compilation import Compiler, compile_here
from domain.scoring.rules import RuleBook, RuleSet
from loops.scoring import batch, rule_run
from loops.scoring.rule_books import Books
from runtime.compiler import compile_beside
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rescore_request import request_rescore
from storage.scoring.pump import LoggedEvent
from tests.builders.scoring import NOON, PARTITIONS, Event, World, definition, reference


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


def long_board(seed: int, event_type: str = "match", status: str = "active") -> LeaderboardDefinition:
    """A hundred rules of about a thousand characters, none like another."""
    expression = " + ".join(f"attrs.a{seed}x{{n}}x{part}" for part in range(55))
    rules = [{"event_type": event_type, "points_expression": expression.replace("{n}", str(n))} for n in range(100)]
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules}}
    return parse_definition({"name": "B", "config": config, "status": status})


def one_rule(event_type: str) -> LeaderboardDefinition:
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": [{"event_type": event_type, "points_expression": "1"}]}}
    return parse_definition({"name": "B", "config": config})


async def refusal(attempts: Iterable[Awaitable[object]]) -> LimitReached:
    """What the first of these that is refused is told."""
    for attempt in attempts:
        try:
            await attempt
        except LimitReached as error:
            return error
    raise AssertionError("nothing was refused")


async def test_a_tenants_rules_have_a_bound_in_bytes(world: World) -> None:
    refused = await refusal(world.make_board(f"b{number}", long_board(number)) for number in range(20))
    assert refused.facts == {"limit": limits.RULE_BYTES.value}
    kept = await world.rows("SELECT count(*) AS boards FROM leaderboard WHERE tenant_id = %s", world.tenant_id)
    assert 1 < kept[0]["boards"] < 20
    expressions = (" + ".join(f"attrs.e{number}x{part}" for part in range(60)) for number in range(200))
    assert await refusal(world.make_earning_rule(expression) for expression in expressions)


async def test_rules_for_every_type_count_once_for_each_type_that_is_named(world: World) -> None:
    await world.make_board("all", long_board(0, "*"))
    assert await refusal(world.make_board(f"b{number}", one_rule(f"type{number}")) for number in range(20))


async def test_whoever_has_too_many_may_still_switch_boards_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    board = await world.make_board("b", long_board(0))
    await world.rows("UPDATE leaderboard SET timeline = jsonb_build_array(1, 2, 3, 4, 5, 6)", fetch=False)
    with pytest.raises(LimitReached):
        await world.make_board("c", definition())
    await world.change_board(board, long_board(0, status="inactive"))
    await world.make_board("c", definition())


async def test_pumps_of_a_process_compile_a_change_once_and_never_on_the_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    board = await world.make_board("b", definition())
    compiled: list[bool] = []
    real = RuleSet.compiled

    def noted(self: RuleSet, event_type: str, *given: Compiler) -> object:
        if not self.is_compiled(event_type):
            compiled.append(_on_the_loop())
        return real(self, event_type, *given)

    monkeypatch.setattr(RuleSet, "compiled", noted)
    events = [Event(f"u{n}", 1, 0, f"e{n}") for n in range(40)]
    await world.send(events)
    books = Books()
    pumps = [ScoringPump(world.pool, world.rankings, world.wakeup, partition, books=books) for partition in range(PARTITIONS)]
    await asyncio.gather(*(pump.run(asyncio.Event(), until_idle=True) for pump in pumps))
    assert len(await world.stored_rows(board)) == 40
    assert compiled == [False]


def _on_the_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_a_rescore_compiles_beside_the_loop_and_reads_no_more_at_a_time_than_a_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = await world.make_board("b", definition())
    events = [Event(f"u{n % 5}", 1, n, f"e{n:02}") for n in range(20)]
    await world.send(events)
    await world.pump()
    compiled: list[bool] = []
    sizes: list[int] = []
    real, run = RuleSet.compiled, rule_run.run_rules

    def noted(self: RuleSet, event_type: str, *given: Compiler) -> object:
        if not self.is_compiled(event_type):
            compiled.append(_on_the_loop())
        return real(self, event_type, *given)

    def counted(book: RuleBook, tenant_id: UUID, events: list[LoggedEvent], closings: Any) -> object:
        sizes.append(len(events))
        return run(book, tenant_id, events, closings)

    monkeypatch.setattr(RuleSet, "compiled", noted)
    monkeypatch.setattr(rule_run, "run_rules", counted)
    monkeypatch.setattr(limits, "TURN_WORK", limits.Limit(section="s", name="n", value=1, unit="u", scope="tenant", beyond="b"))
    async with transaction(world.pool) as connection:
        rescore = await request_rescore(connection, world.tenant_id, "b", "all")
    activities, given = (
        RescoreActivities(world.pool, world.rankings),
        RescoreInput(tenant_id=world.tenant_id, rescore_id=rescore.rescore_id),
    )
    while not (await activities.read(given)).all_read:
        pass
    await activities.switch(given)
    assert await world.stored_rows(board) == reference(definition(), events)
    assert (compiled, max(sizes), sum(sizes)) == ([False], 1, 20)


def test_the_longest_rules_are_compiled_while_other_threads_run() -> None:
    boards = [BoardVersion(board_id=uuid4(), version=1, status=BoardStatus.ACTIVE, config=long_board(0).config, valid_from=NOON)]
    source = RuleSet(boards).compiled("match")
    assert source is not None
    here = _longest_wait(lambda: compile_here(source.source))
    beside = _longest_wait(lambda: compile_beside(source.source))
    assert beside < here / 2, f"another thread waits {beside:.3f} s, and {here:.3f} s while Python itself compiles"
    assert compile_beside("a = 1").co_names == compile_here("a = 1").co_names


def _longest_wait(work: Callable[[], object]) -> float:
    """The longest time that another thread did not run while this was done."""
    over, waits = threading.Event(), [0.0]

    def run() -> None:
        seen = time.perf_counter()
        while not over.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            waits.append(now - seen)
            seen = now

    other = threading.Thread(target=run)
    other.start()
    try:
        work()
    finally:
        over.set()
        other.join()
    return max(waits)


async def test_whose_rules_are_being_compiled_is_waited_for_by_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await World(world.pool, world.rankings, "").open()
    board, slow = await world.make_board("b", definition()), await other.make_board("b", definition())
    let = threading.Event()
    real = RuleSet.compiled

    def held(self: RuleSet, event_type: str, *given: Compiler) -> object:
        if any(each.board_id == slow.board_id for each in self.boards) and not self.is_compiled(event_type):
            let.wait(60)
        return real(self, event_type, *given)

    monkeypatch.setattr(RuleSet, "compiled", held)
    await other.send([Event("ann", 1, 0, "s")])
    await world.send([Event(f"u{n}", 1, 0, f"e{n}") for n in range(20)])
    owners = [await world.owner(partition) for partition in range(PARTITIONS)]
    for owner in owners:
        await owner.score(5000)
        await owner.catch_up(5000)
    assert len(await world.stored_rows(board)) == 20
    assert await other.stored_rows(slow) == []
    let.set()
    await world.pump()
    assert await other.stored_rows(slow) == [("ann", 10_000)]


async def test_a_batch_ends_where_its_rules_cost_too_much_and_nothing_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    board = await world.make_board("b", definition())
    await world.send([Event(f"u{n}", 1, 0, f"e{n:02}") for n in range(30)])
    sizes: list[int] = []
    real = batch.run_rules

    def noted(book: object, tenant_id: UUID, events: list[object], closings: object) -> object:
        sizes.append(len(events))
        return real(book, tenant_id, events, closings)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "run_rules", noted)
    monkeypatch.setattr(limits, "BATCH_WORK", limits.Limit(section="s", name="n", value=1, unit="u", scope="process", beyond="b"))
    await world.pump()
    assert len(await world.stored_rows(board)) == 30
    assert max(sizes) == 1
