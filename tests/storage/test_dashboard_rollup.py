"""The rollup counts everything once, whatever it is asked twice for, and the dashboard adds what is younger."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.points.earning_rule import EarningRule
from domain.points.ledger import Adjustment
from domain.redemption.redemption import Move, RedemptionState
from loops.dashboard_rollup import count
from runtime.ids import first_id, new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.platform import partitions
from storage.points.adjustment import adjust
from storage.points.earning_rule import write_rule
from storage.points.reversal import undo_transfer
from storage.programme.dashboard import days_since, first_steps, redemptions_by_state, totals
from storage.programme.dashboard_rollup import count_rows
from storage.redemption.move import move_redemption
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.api import add_tenant
from tests.builders.store import World, make_tenant, make_world

PARTITIONS = 2
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def log_events(pool: Pool, tenant_id: UUID, accepted_at: datetime, positions: list[int], *, scored: int) -> None:
    """Events of both partitions at these positions, all of them scored up to `scored`."""
    async with transaction(pool) as connection:
        for position in positions:
            await connection.execute(
                """
                INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender,
                    event_id, type, body) VALUES (%s, %s, %s, %s, %s, %s, 'u', 's', %s, 't', '')
                """,
                (position % PARTITIONS, position, accepted_at, accepted_at, tenant_id, new_id(), str(position)),
            )
        await connection.execute("UPDATE scoring_cursor SET position = %s", (scored,))


async def set_up(pool: Pool) -> UUID:
    async with transaction(pool) as connection:
        await partitions.set_up(connection, PARTITIONS, utc_now())
        return (await add_tenant(connection)).tenant_id


async def rollup(pool: Pool) -> None:
    while await count(pool, PARTITIONS):
        pass


async def test_events_are_counted_once_and_only_when_they_are_scored(pool: Pool) -> None:
    tenant_id, now = await set_up(pool), utc_now()
    await log_events(pool, tenant_id, now, [1, 2, 3, 4, 5], scored=3)
    for _ in range(2):
        await rollup(pool)
        async with pool.connection() as connection:
            (day,) = await days_since(connection, tenant_id, now - timedelta(days=1), "UTC")
        assert day.events == 3
    await log_events(pool, tenant_id, now, [6, 7], scored=7)
    await rollup(pool)
    async with pool.connection() as connection:
        (day,) = await days_since(connection, tenant_id, now - timedelta(days=1), "UTC")
        assert day.events == 7
        assert (await first_steps(connection, tenant_id)).event


async def test_days_are_those_of_the_tenants_calendar(pool: Pool) -> None:
    tenant_id, now = await set_up(pool), utc_now()
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    await log_events(pool, tenant_id, midnight - timedelta(minutes=20), [1], scored=1)
    await log_events(pool, tenant_id, midnight + timedelta(seconds=1), [2, 3], scored=3)
    await rollup(pool)
    async with pool.connection() as connection:
        days = await days_since(connection, tenant_id, now - timedelta(days=3), "UTC")
        assert [day.events for day in days] == [1, 2]
        days = await days_since(connection, tenant_id, now - timedelta(days=3), "Asia/Kathmandu")
        assert [day.events for day in days] == [3], "all of it lies in the same day of Nepal, 5:45 ahead"


async def test_users_are_counted_whether_the_rollup_has_seen_them_or_not(pool: Pool) -> None:
    tenant_id, now = await set_up(pool), utc_now()
    async with transaction(pool) as connection:
        await connection.execute("UPDATE tenant SET created_at = %s", (now - timedelta(days=3),))
        for age in (timedelta(days=2), timedelta(days=1), timedelta(0)):
            made = now - age
            user_id = UUID(int=first_id(made).int | 0x7 << 76 | 0b10 << 62 | new_id().int & (1 << 60) - 1)
            await connection.execute(
                "INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at) VALUES (%s, %s, %s, %s, %s)",
                (tenant_id, user_id, str(age), made, made),
            )
    await rollup(pool)
    async with pool.connection() as connection:
        known = await totals(connection, tenant_id)
        other = await totals(connection, new_id())
    assert (known.users, known.new_users) == (2, 1)
    assert (other.users, other.new_users) == (0, 0)


async def test_nothing_yet_is_nothing(pool: Pool) -> None:
    tenant_id = await set_up(pool)
    async with pool.connection() as connection:
        assert set((await redemptions_by_state(connection, tenant_id, LONG_AGO)).values()) == {0}
        assert (await first_steps(connection, tenant_id)).done == 0
        assert (await totals(connection, tenant_id)).users == 0


async def test_what_is_archived_is_no_first_step_and_an_endpoint_is_tested_only_while_it_is_there(pool: Pool) -> None:
    world, now = await make_world(pool), utc_now()
    tenant_id = world.tenant_id
    await world.reward(price=10)
    async with transaction(pool) as connection:
        rule = EarningRule(name="r", event_type="e", points_expression="1")
        await write_rule(connection, tenant_id, new_id(), rule, now=now)
        made = await create_endpoint(connection, tenant_id, NewEndpoint(url="http://127.0.0.1:1/"), b"sealed", now=now)
        await connection.execute(
            "INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, body, state, created_at, updated_at)"
            " VALUES (%s, %s, %s, 'webhook.test', '', 'delivered', %s, %s)",
            (tenant_id, new_id(), made.endpoint_id, now, now),
        )
        await connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at)"
            " VALUES (%s, %s, 'b', 'B', 'active', 1, '{}', %s, %s)",
            (tenant_id, new_id(), now, now),
        )
        before = await first_steps(connection, tenant_id)
        assert (before.board, before.earning, before.reward, before.endpoint, before.webhook) == (True,) * 5
        await connection.execute("UPDATE leaderboard SET status = 'archived'")
        for table in ("earning_rule", "reward", "webhook_endpoint"):
            await connection.execute(f"UPDATE {table} SET archived_at = %s", (now,))
        assert (await first_steps(connection, tenant_id)).done == 0


@pytest.mark.parametrize("counted", [True, False])
async def test_points_that_were_taken_back_or_refunded_are_told_apart(pool: Pool, counted: bool) -> None:
    now = utc_now()
    async with transaction(pool) as connection:
        tenant_id = await make_tenant(connection)
    world = World(pool, tenant_id)
    ann = await world.user("ann", 100)
    await world.reward(price=30)
    order = await world.redeem("ann")
    async with transaction(pool) as connection:
        given = Adjustment(user_id=ann.user_id, currency_id="points", amount=1000, reason="x", cause_id="1")
        made = await adjust(connection, tenant_id, given, now)
        await undo_transfer(connection, tenant_id, made.transfer.transfer_id, reason="x", now=now)
        for state in (RedemptionState.FULFILLED, RedemptionState.REVERSED):
            await move_redemption(connection, tenant_id, order.redemption_id, Move(to=state, by="test"), now=now)
        await connection.execute("UPDATE tenant SET created_at = %s", (now - timedelta(hours=1),))
        if counted:
            while await count_rows(connection, now + timedelta(hours=1)):
                pass
    async with pool.connection() as connection:
        days = await days_since(connection, tenant_id, now - timedelta(days=1), "UTC")
        left = await totals(connection, tenant_id)
    found = days[-1] if counted else left
    assert (found.issued, found.taken_back, found.spent, found.refunded) == (1100, 1000, 30, 30)
