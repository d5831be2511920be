"""Whose fault it is, is told truly: only what PostgreSQL holds against an event is the event's fault, and nothing waits for ever."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from domain.errors import Unavailable, ValidationError
from loops.dashboard_rollup import run_dashboard_rollup
from loops.relay import run_relay
from loops.sweep import run_sweep
from runtime import postgres, temporal
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, cause_of, connect, make_pool, notices, transaction
from runtime.settings import Settings
from storage.event.log import GroupCommitWriter, NewEvent
from storage.platform import partitions
from tests.builders.api import add_tenant
from tests.swallowing import in_front_of


@contextlib.contextmanager
def server_setting(database_url: str, name: str, value: str) -> Iterator[None]:
    """The whole server with another setting, seen by every session that it has."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only TO off")
        connection.execute(f"ALTER SYSTEM SET {name} TO {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
        try:
            _await_setting(database_url, name, value)
            yield
        finally:
            connection.execute(f"ALTER SYSTEM RESET {name}".encode())
            connection.execute("SELECT pg_reload_conf()")
            _await_setting(database_url, name, value, gone=True)


def _await_setting(database_url: str, name: str, value: str, *, gone: bool = False) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with psycopg.connect(database_url, autocommit=True) as connection:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        if row is not None and (row[0] == value.strip("'")) is not gone:
            return


@contextlib.asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[GroupCommitWriter]:
    writer = GroupCommitWriter(settings)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def an_event(pool: Pool, **members: Any) -> NewEvent:
    """A good event of a new tenant."""
    async with transaction(pool) as connection:
        await partitions.set_up(connection, 8, utc_now())
        tenant = await add_tenant(connection)
    given = {"sender": "", "event_id": "e1", "type": "goal", "external_user_id": "u1", "occurred_at": utc_now(), "body": b"{}"} | members
    return NewEvent(tenant_id=tenant.tenant_id, **given)


async def test_a_read_only_server_is_no_fault_of_an_event(pool: Pool, settings: Settings) -> None:
    event = await an_event(pool)
    async with writing(settings) as writer:
        assert await writer.append(event)
        with server_setting(settings.database_url, "default_transaction_read_only", "on"):
            with pytest.raises(Unavailable):
                await writer.append(msgspec.structs.replace(event, event_id="e2"))
            assert all(isinstance(each, Unavailable) for each in await writer.append_many([event, event]))
        assert await writer.append(msgspec.structs.replace(event, event_id="e2"))


async def test_a_server_that_closed_its_connections_costs_nobody_who_comes_later(settings: Settings) -> None:
    name = "closed-by-its-server"
    async with make_pool(settings.database_url, name, max_size=4) as crowd, make_pool(settings.database_url, "closer") as other:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):  # the pool grows to all it may have
                await stack.enter_async_context(crowd.connection())
        async with other.connection() as connection:
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
            closed = await (await connection.execute(ended, (f"laurel-{name}",))).fetchall()
        assert len(closed) == 4
        for _ in range(8):
            async with transaction(crowd) as connection:
                assert await (await connection.execute("SELECT 1 AS one")).fetchone() == {"one": 1}


async def test_a_schema_of_another_release_is_no_fault_of_an_event(pool: Pool, settings: Settings) -> None:
    event = await an_event(pool)
    find = "SELECT oid::regprocedure::text AS name FROM pg_proc WHERE proname = %s"

    async def rename(old: str, new: str) -> None:
        async with pool.connection() as connection:
            for row in await (await connection.execute(find, (old,))).fetchall():
                await connection.execute(f"ALTER FUNCTION {row['name']} RENAME TO {new}".encode())

    await rename("append_events", "append_events_of_tomorrow")
    try:
        async with writing(settings) as writer:
            with pytest.raises(Unavailable):
                await writer.append(event)
            await rename("append_events_of_tomorrow", "append_events")
            assert await writer.append(event)
    finally:
        await rename("append_events_of_tomorrow", "append_events")


async def test_a_full_disk_is_no_fault_of_an_event(pool: Pool, settings: Settings) -> None:
    event = await an_event(pool, body=b'{"filler":"' + b"x" * 1_000 + b'"}')
    partition = f"event_log_{event.occurred_at:%Y%m%d}"
    async with pool.connection() as connection:
        await connection.execute("CHECKPOINT")
        found = await connection.execute("SELECT pg_relation_filepath(%s) AS file, current_setting('data_directory') AS root", (partition,))
        row = await found.fetchone()
    assert row is not None
    file = Path(row["root"]) / row["file"]  # emptied by the fixture: what is written first has to extend it
    aside = file.with_name(f"{file.name}.aside")
    file.rename(aside)
    file.symlink_to("/dev/full")
    try:
        async with writing(settings) as writer:
            with pytest.raises(Unavailable):
                await writer.append(event)
    finally:
        file.unlink()
        aside.rename(file)
    async with writing(settings) as writer:
        assert await writer.append(event)


async def test_what_postgres_holds_against_an_event_is_told_so_and_its_neighbours_are_taken(pool: Pool, settings: Settings) -> None:
    event = await an_event(pool)
    # Random text does not compress, so this id fits into no index: class 54.
    long = msgspec.structs.replace(event, event_id=os.urandom(8_000).hex())
    async with writing(settings) as writer:
        first, second, third = await writer.append_many([event, long, msgspec.structs.replace(event, event_id="e2")])
        assert first is True
        assert isinstance(second, ValidationError)
        assert third is True


async def test_a_connection_that_swallows_costs_no_more_than_its_time(
    pool: Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await an_event(pool)
    monkeypatch.setattr("storage.event.log.BRISK_SECONDS", 0.5)
    async with (
        in_front_of(settings.database_url) as (proxy, address),
        writing(msgspec.structs.replace(settings, database_url=address)) as writer,
    ):
        assert await writer.append(event)
        proxy.silence_present()
        async with asyncio.timeout(20):
            assert await writer.append(msgspec.structs.replace(event, event_id="e2"))


async def test_every_exchange_of_a_pool_has_its_time(settings: Settings, pool: Pool) -> None:
    async with in_front_of(settings.database_url) as (proxy, address):
        behind = postgres.make_pool(address, "test", max_size=1, answer_seconds=0.5)
        await behind.open(wait=True)
        try:
            proxy.silence_present()
            async with asyncio.timeout(20):
                with pytest.raises(psycopg.OperationalError, match="did not answer"):
                    async with behind.connection() as connection:
                        await connection.execute("SELECT 1")
                async with behind.connection() as connection:
                    await connection.execute("SELECT 1")
        finally:
            await behind.close()


async def test_who_listens_notices_a_silent_connection(settings: Settings, pool: Pool) -> None:
    async with in_front_of(settings.database_url) as (proxy, address):
        connection = await connect(address, "test")
        await connection.execute("LISTEN anything")
        proxy.silence_present()
        async with asyncio.timeout(20):
            with pytest.raises(psycopg.OperationalError):
                async for _ in notices(connection, 0.3):
                    pass


async def test_a_pool_parts_with_connections_that_lead_to_a_read_only_server(settings: Settings, pool: Pool) -> None:
    async with pool.connection() as connection:
        before = connection.info.backend_pid

    async def write_where_nothing_is_written() -> None:
        async with pool.connection() as connection:
            await connection.execute("SET default_transaction_read_only TO on")  # of this connection alone: it leads astray
            await connection.execute("CREATE TABLE never (n integer)")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await write_where_nothing_is_written()
    for _ in range(3):
        async with transaction(pool) as connection:
            await connection.execute("SELECT pg_notify('nobody', '')")
            assert connection.info.backend_pid != before


async def test_who_falls_silent_in_a_transaction_is_ended_by_the_server(settings: Settings, pool: Pool) -> None:
    async with pool.connection() as connection:
        assert "0" not in await bounds_of(connection)


async def test_each_transaction_has_its_bounds_where_a_pooler_carries_no_settings(settings: Settings) -> None:
    async with make_pool(settings.database_url, "test", pooled=True) as behind_a_pooler, behind_a_pooler.connection() as connection:
        for _ in range(2):
            async with connection.transaction():
                assert "0" not in await bounds_of(connection)
            assert await bounds_of(connection) == ["0"] * 3


async def bounds_of(connection: Connection) -> list[str]:
    names = ("idle_in_transaction_session_timeout", "tcp_user_timeout", "lock_timeout")
    shown = [await (await connection.execute(f"SHOW {name}")).fetchone() for name in names]
    return [str(value) for row in shown if row for value in row.values()]


async def test_who_reads_no_more_in_a_transaction_is_ended_by_the_server(settings: Settings, pool: Pool) -> None:
    """As one does that freezes over a long answer: the server is then busy writing it, and not idle in a transaction."""
    await an_event(pool)
    stuck = await connect(settings.database_url, "stuck")
    try:
        await stuck.execute("BEGIN")
        await stuck.execute("SELECT FROM scoring_cursor FOR UPDATE")
        stuck.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
        async with transaction(pool) as connection:  # waits no longer than `lock_timeout`
            await connection.execute("SELECT FROM scoring_cursor FOR UPDATE")
    finally:
        stuck.pgconn.finish()


@pytest.mark.parametrize("break_it", ["read-only", "schema"])
async def test_the_loops_of_a_worker_outlive_a_database_that_cannot_serve(pool: Pool, settings: Settings, break_it: str) -> None:
    stop = asyncio.Event()
    client = await temporal.connect(settings, lazy=True)
    hide, show = "ALTER TABLE outbox RENAME TO outbox_of_tomorrow", "ALTER TABLE outbox_of_tomorrow RENAME TO outbox"
    async with contextlib.AsyncExitStack() as broken:
        if break_it == "read-only":
            broken.enter_context(server_setting(settings.database_url, "default_transaction_read_only", "on"))
        else:
            async with pool.connection() as connection:
                await connection.execute(hide)
        loops = [
            asyncio.create_task(run_relay(pool, client, temporal.task_queues(settings), stop)),
            asyncio.create_task(run_sweep(pool, client, temporal.task_queues(settings), stop, interval_seconds=0.05)),
            asyncio.create_task(run_dashboard_rollup(pool, 8, stop, interval_seconds=0.05)),
        ]
        done, _ = await asyncio.wait(loops, timeout=1.5, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        if break_it == "schema":
            async with pool.connection() as connection:
                await connection.execute(show)
    assert not done
    await asyncio.gather(*loops)


def test_each_error_has_its_cause() -> None:
    states = {"25006": "read_only", "42883": "schema", "53100": "disk_full", "57014": "timeout", "57P01": "connection", "XX000": "other"}
    assert {state: _cause(state) for state in states} == states


def _cause(state: str) -> str:
    error = psycopg.Error()
    error.sqlstate = state
    return cause_of(error)
