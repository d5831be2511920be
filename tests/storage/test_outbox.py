"""The outbox: leases, order within a workflow, and putting back."""

import asyncio
from datetime import timedelta

from runtime.ids import new_id, utc_now
from runtime.postgres import transaction
from storage import outbox
from storage.outbox import OutboxCommand

TENANT = new_id()


async def write(pool, workflow_id, *names):
    async with transaction(pool) as connection:
        for name in names:
            kind = "start" if name == "Start" else "update"
            await outbox.enqueue(connection, TENANT, OutboxCommand(kind=kind, workflow_id=workflow_id, name=name, argument={"n": name}))


async def lease(pool, limit=10, **more):
    async with transaction(pool) as connection:
        return await outbox.lease_due(connection, limit, **more)


async def settle(pool, function, *arguments):
    async with transaction(pool) as connection:
        await function(connection, *arguments)


async def test_a_workflows_commands_come_one_after_another(pool):
    await write(pool, "a", "Start", "moved:2", "moved:3")
    await write(pool, "b", "Start")
    first = await lease(pool)
    assert [(row.workflow_id, row.name) for row in first] == [("a", "Start"), ("b", "Start")]
    assert await lease(pool) == [], "what is leased is nobody else's, and what follows it waits"
    await settle(pool, outbox.mark_sent, [row.outbox_id for row in first])
    assert [row.name for row in await lease(pool)] == ["moved:2"]


async def test_two_relays_never_lease_the_same_command(pool):
    for number in range(40):
        await write(pool, f"w{number}", "Start")
    batches = await asyncio.gather(*(lease(pool, 10) for _ in range(8)))
    leased = [row.outbox_id for batch in batches for row in batch]
    assert len(leased) == len(set(leased))


async def test_the_same_command_twice_is_one(pool):
    await write(pool, "a", "Start", "Start")
    assert len(await lease(pool)) == 1


async def test_a_command_that_failed_waits_and_one_that_never_arrived_does_not(pool):
    await write(pool, "a", "Start")
    await write(pool, "b", "Start")
    failed, lost = await lease(pool)
    await settle(pool, outbox.put_back, failed, "refused")
    await settle(pool, outbox.give_back, [lost.outbox_id])
    assert [(row.workflow_id, row.tries) for row in await lease(pool)] == [("b", 1)]


async def test_only_the_named_workflows_commands_are_leased(pool):
    await write(pool, "a", "Start")
    await write(pool, "b", "Start")
    assert [row.workflow_id for row in await lease(pool, workflow_id="b")] == ["b"]


async def test_a_sent_start_can_be_made_due_again_and_old_ones_are_forgotten(pool):
    await write(pool, "a", "Start")
    (row,) = await lease(pool)
    await settle(pool, outbox.mark_sent, [row.outbox_id])
    await settle(pool, outbox.enqueue_again, TENANT, OutboxCommand(kind="start", workflow_id="a", name="Start", argument={}))
    (again,) = await lease(pool)
    assert again.outbox_id == row.outbox_id
    await settle(pool, outbox.mark_sent, [row.outbox_id])
    async with transaction(pool) as connection:
        assert await outbox.oldest_unsent(connection) is None
        assert await outbox.forget_sent(connection, utc_now() + timedelta(minutes=1), 10) == 1


NESTED = "; ".join(f"SET LOCAL enable_{each} = off" for each in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "seqscan"))


async def test_no_more_are_leased_than_were_asked_for_whatever_the_plan(pool):
    """PostgreSQL may run the part with the limit again for each row of the other, and then it skips what is locked already."""
    for number in range(30):
        await write(pool, f"w{number}", "Start")
    async with transaction(pool) as connection:
        await connection.execute(NESTED)
        assert len(await outbox.lease_due(connection, 4)) == 4
