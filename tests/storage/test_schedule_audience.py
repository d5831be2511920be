"""The audiences of schedules: boards, tiers, segments as one statement, listed users; and the preview, which writes nothing."""

from datetime import timedelta
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from domain.payout.run import RunStatus
from domain.rule.segment import includes, parse_segment
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.payout.pay import finish
from storage.payout.plan import plan
from storage.payout.run import find_run
from storage.payout.schedule_preview import PlannedRun, preview
from storage.payout.schedule_run import trigger_run
from storage.payout.segment_query import segment_clause
from storage.tenant.erasure import Erasure, rename
from tests.builders.schedule import add_schedule
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def previewed(world: World, schedule: Any, limit: int = 100) -> PlannedRun:
    async with world.pool.connection() as connection:
        return await preview(connection, schedule, utc_now(), limit=limit)


async def recipients(world: World, schedule: Any) -> list[tuple[str, int | None]]:
    """(user, rank) as a run freezes them, which has to be what the preview said."""
    before = await previewed(world, schedule)
    assert (
        await world.rows("SELECT FROM payout_run WHERE tenant_id = %s AND schedule_id = %s", (world.tenant_id, schedule.schedule_id)) == []
    )
    async with transaction(world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
        await plan(connection, world.tenant_id, run_id, utc_now())
    rows = await world.rows(
        "SELECT external_user_id, rank FROM payout_recipient WHERE tenant_id = %s AND payout_run_id = %s ORDER BY ordinal",
        (world.tenant_id, run_id),
    )
    found = [(row["external_user_id"], row["rank"]) for row in rows]
    assert [(row["external_user_id"], row["rank"]) for row in before.shown] == found
    assert before.recipients == len(found)
    return found


async def board(world: World, windows: list[tuple[str, str, int, dict[str, int]]]) -> None:
    """The board `b` with windows of (key, status, hours since its end, scores)."""
    board_id, now = new_id(), utc_now()
    config = {
        "timeframe": {"type": "daily"},
        "scoring": {"rules": [{"event_type": "goal", "points_expression": "1"}]},
        "ranking": {"min_score": 1},
    }
    async with transaction(world.pool) as connection:
        await connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at) "
            "VALUES (%s, %s, 'b', 'b', 'active', 1, %s, %s, %s)",
            (world.tenant_id, board_id, Jsonb(config), now, now),
        )
        for key, status, hours, scores in windows:
            window_id, ends_at = new_id(), now - timedelta(hours=hours)
            await connection.execute(
                "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, starts_at, ends_at, total, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (world.tenant_id, window_id, board_id, key, status, ends_at - timedelta(hours=24), ends_at, len(scores), now),
            )
            for rank, (name, score) in enumerate(sorted(scores.items(), key=lambda each: -each[1]), 1):
                user = await world.user(name)
                await connection.execute(
                    "INSERT INTO snapshot_entry (tenant_id, window_id, rank, user_id, external_user_id, score, reached_at) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    (world.tenant_id, window_id, rank, user.user_id, name, score, now),
                )
                await connection.execute(
                    "INSERT INTO standing (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, counted_at, "
                    "scoring_partition, position) VALUES (%s, %s, %s, %s, %s, %s, 0, 1, %s, 0, 1)",
                    (world.tenant_id, window_id, user.user_id, name, score, now, now),
                )


def top(n: int, window: str = "latest_closed") -> dict[str, Any]:
    return {"type": "leaderboard_top", "leaderboard_id": "b", "n": n, "window": window}


async def test_the_first_of_the_latest_window_that_ended_by_the_instant(world: World) -> None:
    scores = {"ann": 50_000, "bob": 30_000, "cid": 40_000}
    await board(world, [("old", "paid", 30, {"dan": 90_000}), ("last", "closed", 6, scores), ("now", "open", -18, {"eve": 10_000})])
    schedule = await add_schedule(world, audience=top(2))
    assert await recipients(world, schedule) == [("ann", 1), ("cid", 2)]


async def test_a_window_that_is_still_closing_is_waited_for(world: World) -> None:
    await board(world, [("old", "paid", 30, {"dan": 90_000}), ("last", "closing", 6, {"ann": 50_000})])
    schedule = await add_schedule(world, audience=top(2))
    assert (await previewed(world, schedule)).is_waiting
    async with transaction(world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
        assert (await plan(connection, world.tenant_id, run_id, utc_now())).wait_seconds
    await world.rows("UPDATE leaderboard_window SET status = 'closed' WHERE tenant_id = %s RETURNING 1", (world.tenant_id,))
    async with transaction(world.pool) as connection:
        assert (await plan(connection, world.tenant_id, run_id, utc_now())).recipients == 1
        assert (await find_run(connection, world.tenant_id, run_id)).status is RunStatus.PAYING


async def test_the_first_of_the_present_window_as_they_stand(world: World) -> None:
    await board(
        world, [("last", "closed", 6, {"dan": 1}), ("now", "open", -18, {"ann": 50_000, "bob": 60_000, "cid": 20_000, "eve": 9_999})]
    )
    schedule = await add_schedule(world, audience=top(10, "current"))
    assert await recipients(world, schedule) == [("bob", 1), ("ann", 2), ("cid", 3)], "eve is below the board's least score"


async def test_a_board_without_a_closed_window_pays_nobody(world: World) -> None:
    await board(world, [])
    schedule = await add_schedule(world, audience=top(3))
    assert await recipients(world, schedule) == []
    assert (await previewed(world, schedule)).empty_reason == "no window of leaderboard b has ended"


async def test_a_window_that_was_closed_early_is_named_where_nobody_is_paid(world: World) -> None:
    await board(world, [("now", "closed", -18, {"ann": 50_000})])
    schedule = await add_schedule(world, audience=top(3))
    assert "window now was closed early" in ((await previewed(world, schedule)).empty_reason or "")
    async with transaction(world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
        await plan(connection, world.tenant_id, run_id, utc_now())
        ended = await finish(connection, world.tenant_id, run_id, utc_now())
        kept = await find_run(connection, world.tenant_id, run_id)
    assert ended.status is kept.status is RunStatus.COMPLETED
    assert "window now was closed early" in (kept.reason or "")


async def test_the_members_of_tiers_and_the_listed_users(world: World) -> None:
    for name, tier in (("ann", "gold"), ("bob", "silver"), ("cid", None), ("dan", "gold")):
        user = await world.user(name)
        await world.rows(
            "INSERT INTO user_tier (tenant_id, user_id, tier, since, reviewed_at) VALUES (%s, %s, %s, now(), now()) RETURNING 1",
            (world.tenant_id, user.user_id, tier),
        )
    assert await recipients(world, await add_schedule(world, audience={"type": "tier", "names": ["gold", "none"]})) == [
        ("ann", None),
        ("dan", None),
    ]
    listed = {"type": "users", "external_ids": ["dan", "nobody", "bob"]}
    assert await recipients(world, await add_schedule(world, audience=listed)) == [("dan", 1), ("bob", 3)]


async def test_a_preview_of_many_shows_the_first_and_counts_all(world: World) -> None:
    for number in range(7):
        await world.user(f"u{number}")
    schedule = await add_schedule(world, budget={"points": 25})
    found = await previewed(world, schedule, limit=2)
    assert ([row["external_user_id"] for row in found.shown], found.recipients, found.not_covered) == (["u0", "u1"], 5, 2)
    assert found.total["points"] == 25


async def test_an_erased_user_is_erased_from_the_lists_of_schedules_and_runs(world: World) -> None:
    user = await world.user("users")  # an id that is also the type's name
    schedule = await add_schedule(world, audience={"type": "users", "external_ids": ["dan", "users"]})
    async with transaction(world.pool) as connection:
        await trigger_run(connection, schedule, utc_now())
        erasure = Erasure(tenant_id=world.tenant_id, user_id=user.user_id, external_id="users", created_at=user.created_at)
        await rename(connection, erasure)
    for table in ("payout_schedule", "payout_run"):
        (row,) = await world.rows(f"SELECT audience FROM {table} WHERE tenant_id = %s", (world.tenant_id,))
        assert row["audience"] == {"type": "users", "external_ids": ["dan", erasure.erased]}


SCALARS = st.none() | st.booleans() | st.sampled_from([0, 1, 2, 1.0, 1.5, -1, 10]) | st.sampled_from(["", "a", "ab", "b", "VN", "é", "Z"])
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["x", "0"]), SCALARS, max_size=2)
PATHS = st.sampled_from(["a", "b", "a.x", "a.0", "b.x"])
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne", "contains"]), VALUES),
    st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([0, 1, 1.5, "a", "b", "é"])),
    st.tuples(st.sampled_from(["in", "nin"]), st.lists(VALUES, max_size=3)),
    st.tuples(st.just("exists"), st.booleans()),
    st.tuples(st.just("starts_with"), st.sampled_from(["", "a", "V"])),
)
CONDITIONS = st.dictionaries(PATHS, OPERATIONS.map(lambda each: {each[0]: each[1]}), min_size=1, max_size=2)
TIERS = st.none() | st.lists(st.sampled_from(["gold", "silver"]), min_size=1, max_size=2)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), VALUES), min_size=1, max_size=4), CONDITIONS, TIERS)
async def test_the_statement_finds_whom_the_segment_includes(
    world: World, users: list[dict[str, Any]], conditions: dict[str, Any], tiers: list[str] | None
) -> None:
    wanted = {"attributes": conditions, **({} if tiers is None else {"tiers": tiers})}
    segment = parse_segment(wanted, "filter")
    clause, parameters = segment_clause(segment)
    async with world.pool.connection() as connection, connection.transaction(force_rollback=True):
        expected = []
        for number, attributes in enumerate(users):
            user_id, tier = new_id(), ("gold", None, "silver")[number % 3]
            await connection.execute(
                "INSERT INTO app_user (tenant_id, user_id, external_id, attributes, created_at, updated_at) "
                "VALUES (%s, %s, %s, %s, now(), now())",
                (world.tenant_id, user_id, f"u{number}", Jsonb(attributes)),
            )
            if number % 3 != 1:
                await connection.execute(
                    "INSERT INTO user_tier (tenant_id, user_id, tier, since, reviewed_at) VALUES (%s, %s, %s, now(), now())",
                    (world.tenant_id, user_id, tier),
                )
            if includes(segment, attributes, tier):
                expected.append(f"u{number}")
        query = f"SELECT external_id FROM app_user AS u WHERE u.tenant_id = %(tenant_id)s AND {clause} ORDER BY external_id"
        cursor = await connection.execute(query.encode(), {"tenant_id": world.tenant_id, **parameters})
        assert [row["external_id"] for row in await cursor.fetchall()] == expected
