"""Many requests share a commit; each gets the outcome of its own event."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from domain.errors import Unavailable, ValidationError
from runtime.ids import new_id
from runtime.metrics import EVENT_BATCHES
from runtime.postgres import Pool, connect
from runtime.settings import Settings
from storage.event import log as storage
from storage.event.log import GroupCommitWriter, NewEvent
from tests.builders.api import add_tenant

AT = datetime(2025, 6, 1, tzinfo=UTC)
TENANT = new_id()
WAIT_SECONDS = 60.0


def new_event(event_id: str, user: str = "u1", **changes: Any) -> NewEvent:
    """An event of the server side."""
    values: dict[str, Any] = {
        "tenant_id": TENANT,
        "sender": "",
        "event_id": event_id,
        "type": "goal",
        "external_user_id": user,
        "occurred_at": AT,
        "body": b'{"event_id":"x"}',
    }
    return NewEvent(**values | changes)


@pytest_asyncio.fixture
async def writer(settings: Settings, pool: Pool) -> AsyncIterator[GroupCommitWriter]:
    """A running writer on an emptied database."""
    running = GroupCommitWriter(settings)
    await running.start()
    yield running
    await running.stop()


async def count(pool: Pool, table: str = "event_log") -> int:
    """How many rows a table has."""
    async with pool.connection() as connection:
        row = await (await connection.execute(f"SELECT count(*) AS n FROM {table}".encode())).fetchone()
    assert row is not None
    return int(row["n"])


async def blocked_writers(pool: Pool) -> list[int]:
    """The process ids of writers that wait for a lock, once there are any."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        async with pool.connection() as connection:
            found = await connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'laurel-event-writer' AND wait_event_type = 'Lock'"
            )
            rows = await found.fetchall()
        if rows:
            return [row["pid"] for row in rows]
        await asyncio.sleep(0.02)
    raise AssertionError("no writer is blocked")


async def test_an_event_is_committed_when_its_append_returns(writer: GroupCommitWriter, pool: Pool) -> None:
    assert await writer.append(new_event("e1")) is True
    assert await count(pool) == 1
    assert await count(pool, "app_user") == 1


async def test_a_repeat_is_told_and_has_no_effect(writer: GroupCommitWriter, pool: Pool) -> None:
    assert await writer.append(new_event("e1")) is True
    assert await writer.append(new_event("e1", user="someone else")) is False
    assert await writer.append_many([new_event("e2"), new_event("e1"), new_event("e2")]) == [True, False, False]
    assert await count(pool) == 2


async def test_two_senders_do_not_burn_each_others_ids(writer: GroupCommitWriter, pool: Pool) -> None:
    assert await writer.append_many([new_event("e1"), new_event("e1", sender="g:u1"), new_event("e1", sender="g:u2")]) == [True] * 3
    assert await count(pool) == 3


async def test_concurrent_appends_share_commits(writer: GroupCommitWriter, pool: Pool) -> None:
    before = EVENT_BATCHES._value.get()
    outcomes = await asyncio.gather(*(writer.append(new_event(f"e{n % 300}", user=f"u{n % 17}")) for n in range(600)))
    assert outcomes.count(True) == 300 == await count(pool)
    assert await count(pool, "app_user") == 17
    assert EVENT_BATCHES._value.get() - before < 100


async def test_writers_of_two_processes_accept_each_event_once(writer: GroupCommitWriter, settings: Settings, pool: Pool) -> None:
    other = GroupCommitWriter(settings)
    await other.start()
    try:
        sent = [one.append(new_event(f"e{n}", user=f"u{n % 7}")) for n in range(200) for one in (writer, other)]
        outcomes = await asyncio.gather(*sent)
    finally:
        await other.stop()
    assert outcomes.count(True) == 200 == await count(pool)


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_a_bad_event_never_fails_its_neighbours(writer: GroupCommitWriter, pool: Pool, place: int) -> None:
    events = [new_event(f"e{n:02}") for n in range(20)]
    events[place] = new_event(f"e{place:02}\0")
    outcomes = await writer.append_many(events)
    assert isinstance(outcomes[place], ValidationError)
    assert [outcome for n, outcome in enumerate(outcomes) if n != place] == [True] * 19
    assert await count(pool) == 19


async def test_a_batch_whose_connection_is_killed_is_sent_again(writer: GroupCommitWriter, settings: Settings, pool: Pool) -> None:
    await writer.append(new_event("warm"))
    blocker = await connect(settings.database_url, "test-blocker")
    async with blocker:
        async with blocker.transaction(force_rollback=True):
            await blocker.execute(
                "INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at) VALUES (%s, '', 'hot', 0, now())", (TENANT,)
            )
            sending = asyncio.create_task(writer.append_many([new_event("hot"), new_event("warm"), new_event("cold")]))
            for pid in await blocked_writers(pool):
                await blocker.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert await asyncio.wait_for(sending, WAIT_SECONDS) == [True, False, True]
    assert await count(pool) == 3


async def test_without_a_database_nothing_is_accepted(settings: Settings) -> None:

    lost = GroupCommitWriter(msgspec.structs.replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none"))
    await lost.start()
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(lost.append(new_event("e1")), WAIT_SECONDS)
    finally:
        await lost.stop()


async def test_a_full_queue_takes_nothing_more(writer: GroupCommitWriter, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAITING_EVENTS", 5)
    outcomes = await asyncio.gather(*(writer.append(new_event(f"e{n}")) for n in range(20)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert len(refused) == 15
    assert outcomes.count(True) == 5 == await count(pool)
    with pytest.raises(Unavailable):
        await writer.append_many([new_event(f"f{n}") for n in range(6)])
    assert await count(pool) == 5


async def test_stopping_commits_what_waits(settings: Settings, pool: Pool) -> None:
    writer = GroupCommitWriter(settings)
    await writer.start()
    sending = [asyncio.create_task(writer.append(new_event(f"e{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    await writer.stop()
    assert await asyncio.gather(*sending) == [True] * 50
    assert await count(pool) == 50
    with pytest.raises(Unavailable):
        await writer.append(new_event("late"))


async def test_commits_wake_the_scoring_pumps(writer: GroupCommitWriter, settings: Settings, pool: Pool) -> None:
    listener = await connect(settings.database_url, "test-listener")
    async with listener:
        await listener.execute(f"LISTEN {storage.CHANNEL}")
        await writer.append(new_event("e1"))
        received = [note.channel async for note in listener.notifies(timeout=WAIT_SECONDS, stop_after=1)]
    assert received == [storage.CHANNEL]


async def test_a_known_user_keeps_its_id(writer: GroupCommitWriter, pool: Pool) -> None:
    async with pool.connection() as connection, connection.transaction():
        tenant = await add_tenant(connection)
    for number in range(4):
        assert await writer.append(new_event(f"e{number}", tenant_id=tenant.tenant_id)) is True
        await asyncio.sleep(0.03)
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT DISTINCT user_id FROM event_log")).fetchall()
    assert len(rows) == 1
