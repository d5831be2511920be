"""What a tenant's rules may cost: in definitions, in compiling, and in a batch."""

import asyncio
from collections.abc import Awaitable, Iterable
from uuid import UUID

import pytest
import pytest_asyncio

from activities.scoring import Pump
from domain import limits
from domain.errors import LimitReached
from domain.leaderboard.definition import LeaderboardDefinition, parse_definition
from domain.scoring.rules import RuleSet
from loops.scoring import batch
from loops.scoring.rule_books import Books
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.rankings import LiveStore
from tests.scoring_world import PARTITIONS, Event, World, definition


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, LiveStore(redis_client), postgres_url).open()


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
        except LimitReached as fault:
            return fault
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

    def noted(self: RuleSet, event_type: str) -> object:
        if not self.is_compiled(event_type):
            try:
                asyncio.get_running_loop()
                compiled.append(True)
            except RuntimeError:
                compiled.append(False)
        return real(self, event_type)

    monkeypatch.setattr(RuleSet, "compiled", noted)
    events = [Event(f"u{n}", 1, 0, f"e{n}") for n in range(40)]
    await world.send(events)
    books = Books()
    pumps = [Pump(world.pool, world.live, world.wakeup, partition, books) for partition in range(PARTITIONS)]
    await asyncio.gather(*(pump.run(asyncio.Event(), until_idle=True) for pump in pumps))
    assert len(await world.stored_rows(board)) == 40
    assert compiled == [False]


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
