"""Payout runs on a real PostgreSQL: who is chosen, what the budget covers, that nobody is paid twice or missed."""

import asyncio

import pytest
import pytest_asyncio

from domain.errors import InvalidState
from domain.payout.run import RunStatus
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.payout import pay, run
from storage.reward.code import add_codes
from tests.builders.payout import (
    closed_window,
    config,
    finish,
    grants,
    item,
    make_run,
    pay_all,
    pay_page,
    plan,
    run_for,
    the_run,
    tier,
)
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def users(world: World, count: int):
    return [await world.user(f"u{number:02}") for number in range(1, count + 1)]


async def test_each_gets_the_items_of_the_first_tier_that_fits(world: World):
    gold, coins, badge = item(), item(amount=100), item()
    window = await closed_window(world, await users(world, 6))
    given = config((tier(max_rank=1), [gold, coins]), (tier(min_rank=2, max_rank=3), [coins]), (tier(top_percent=70), [badge]))
    run_id = await make_run(world, window, given)
    ended = await pay_all(world, run_id)
    assert (ended.status, ended.recipients, ended.paid, ended.skipped) == ("completed", 5, 5, 0)
    wanted = [("u01", gold), ("u01", coins), ("u02", coins), ("u03", coins), ("u04", badge), ("u05", badge)]
    assert sorted(await grants(world)) == sorted((user, each.item_id) for user, each in wanted)
    assert (await the_run(world, run_id)).total == {
        "points": 300, str(gold.item_id): 1, str(coins.item_id): 3, str(badge.item_id): 2,
    }  # fmt: skip
    assert await world.rows("SELECT status FROM leaderboard_window WHERE window_id = %s", (window,)) == [{"status": "paid"}]
    assert await world.findings() == []


async def test_a_window_has_one_run(world: World):
    window = await closed_window(world, await users(world, 1))
    given = config((tier(), [item(amount=5)]))
    await make_run(world, window, given)
    async with transaction(world.pool) as connection:
        assert await run.create_run(connection, world.tenant_id, run_for(window, given), utc_now()) is None


async def test_the_budget_stops_at_the_last_recipient_that_it_covers(world: World):
    first, other = item(amount=60), item(amount=10)
    window = await closed_window(world, await users(world, 5))
    given = config((tier(max_rank=2), [first]), (tier(), [other]), budget={"points": 125, str(other.item_id): 1})
    run_id = await make_run(world, window, given)
    assert (await pay_all(world, run_id)).paid == 2  # 60 + 60 + 10 is too much: nobody behind is paid, although 5 are left
    run = await the_run(world, run_id)
    assert (run.recipients, run.not_covered, run.total["points"]) == (2, 3, 120)


async def test_pages_side_by_side_pay_everybody_once(world: World):
    coins = item(amount=7)
    window = await closed_window(world, await users(world, 9))
    run_id = await make_run(world, window, config((tier(), [coins])))
    await asyncio.gather(*(plan(world, run_id) for _ in range(3)))
    await asyncio.gather(*(pay_page(world, run_id, 2) for _ in range(8)))
    assert (await finish(world, run_id)).status is RunStatus.COMPLETED
    assert len(await grants(world)) == 9
    assert await world.findings() == []


async def test_a_page_that_was_rolled_back_leaves_nothing(world: World):
    window = await closed_window(world, await users(world, 4))
    run_id = await make_run(world, window, config((tier(), [item(amount=7)])))
    await plan(world, run_id)
    async with world.pool.connection() as connection, connection.transaction(force_rollback=True):
        assert (await pay.pay_page(connection, world.tenant_id, run_id, 3, now=utc_now())).paid == 3
    assert await grants(world) == []
    assert (await pay_all(world, run_id)).paid == 4


async def test_a_cancelled_run_stops_between_pages_and_goes_on_when_it_is_retried(world: World):
    window = await closed_window(world, await users(world, 5))
    run_id = await make_run(world, window, config((tier(), [item(amount=7)])))
    await plan(world, run_id)
    await pay_page(world, run_id)
    async with transaction(world.pool) as connection:
        await run.request_cancel(connection, world.tenant_id, run_id, utc_now())
    assert (await pay_page(world, run_id)).status is RunStatus.CANCELLED
    assert len(await grants(world)) == 2
    async with transaction(world.pool) as connection:
        with pytest.raises(InvalidState):
            await run.request_cancel(connection, world.tenant_id, run_id, utc_now())
        assert (await run.retry_run(connection, world.tenant_id, run_id, utc_now())).attempt == 2
    assert (await pay_all(world, run_id)).status is RunStatus.COMPLETED
    assert len(await grants(world)) == 5


async def test_a_run_that_is_cancelled_before_it_is_planned_is_over_at_once(world: World):
    window = await closed_window(world, await users(world, 3))
    run_id = await make_run(world, window, config((tier(), [item(amount=7)])))
    async with transaction(world.pool) as connection:
        cancelled = await run.request_cancel(connection, world.tenant_id, run_id, utc_now())
    assert (cancelled.status, cancelled.cancel_requested) == (RunStatus.CANCELLED, True)
    assert (await plan(world, run_id)).status is RunStatus.CANCELLED, "its workflow finds it over"
    assert await grants(world) == []
    async with transaction(world.pool) as connection:
        await run.retry_run(connection, world.tenant_id, run_id, utc_now())
    assert (await pay_all(world, run_id)).status is RunStatus.COMPLETED
    assert len(await grants(world)) == 3


async def test_totals_that_differ_fail_the_run_and_leave_the_window_unpaid(world: World):
    window = await closed_window(world, await users(world, 3))
    run_id = await make_run(world, window, config((tier(), [item(amount=7)])))
    await plan(world, run_id)
    await pay_page(world, run_id, 10)
    await world.rows("DELETE FROM reward_grant WHERE ctid = (SELECT min(ctid) FROM reward_grant) RETURNING 1")
    ended = await finish(world, run_id)
    assert ended.status is RunStatus.FAILED
    assert "21 points" in (ended.reason or "")
    assert await world.rows("SELECT status FROM leaderboard_window WHERE window_id = %s", (window,)) == [{"status": "closed"}]


async def test_what_a_partner_gives_becomes_a_redemption_without_a_price(world: World):
    voucher = item("webhook", reward_type="voucher", reward_value=10, payload={"sku": "X1"})
    window = await closed_window(world, await users(world, 2))
    run_id = await make_run(world, window, config((tier(), [voucher])))
    assert (await pay_all(world, run_id)).status is RunStatus.COMPLETED
    rows = await world.rows(
        "SELECT r.reward_id, r.points_spent, r.status, r.source_type, r.source_id, r.fields FROM redemption AS r "
        "JOIN reward_grant AS g ON g.redemption_id = r.redemption_id"
    )
    one = {"reward_id": voucher.item_id, "points_spent": 0, "status": "pending", "source_type": "leaderboard"}
    assert rows == [{**one, "source_id": str(window), "fields": {"sku": "X1"}}] * 2
    (starts,) = await world.rows("SELECT array_agg(argument ->> 'priority') AS p FROM outbox WHERE name = 'RedemptionWorkflow'")
    assert starts["p"] == ["4", "4"]


async def test_a_pool_without_codes_skips_those_who_come_later(world: World):
    code, coins = item("codes"), item(amount=1)
    window = await closed_window(world, await users(world, 3))
    async with transaction(world.pool) as connection:
        await add_codes(connection, world.tenant_id, code.item_id, ["A"], now=utc_now())
    run_id = await make_run(world, window, config((tier(max_rank=2), [code, coins]), (tier(), [code])))
    ended = await pay_all(world, run_id)
    assert (ended.status, ended.paid, ended.skipped) == ("completed", 2, 1)
    states = await world.rows("SELECT state, reason, missing FROM payout_recipient ORDER BY ordinal")
    assert [(row["state"], row["reason"]) for row in states] == [("paid", None), ("paid", "out_of_codes"), ("skipped", "out_of_codes")]


async def test_somebody_who_was_erased_since_is_skipped(world: World):
    window = await closed_window(world, await users(world, 2))
    run_id = await make_run(world, window, config((tier(), [item(amount=1)])))
    await plan(world, run_id)
    await world.rows("UPDATE app_user SET external_id = 'erased:' || user_id WHERE external_id = 'u01' RETURNING 1")
    ended = await pay_all(world, run_id)
    assert (ended.status, ended.paid, ended.skipped) == ("completed", 1, 1)


async def test_two_runs_for_the_same_users_do_not_lock_each_other_out(world: World):
    who = await users(world, 20)
    coins, gems = item(amount=1), item(amount=2)
    first = await make_run(world, await closed_window(world, who), config((tier(), [coins, gems])))
    second = await make_run(world, await closed_window(world, who[::-1]), config((tier(), [gems, coins])))
    ended = await asyncio.gather(pay_all(world, first, 3), pay_all(world, second, 3))
    assert [each.status for each in ended] == ["completed", "completed"]
    assert await world.findings() == []
