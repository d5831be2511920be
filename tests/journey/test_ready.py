"""`/ready` proves that an event could be persisted now, and says why not."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from runtime import ids, schema
from runtime.postgres import Pool, make_pool, transaction
from runtime.settings import Settings
from storage.platform import partitions
from storage.platform.readiness import Readiness
from tests.builders.api import World, event, make_world, serving
from tests.storage.test_database_errors import server_setting


@pytest.fixture
def world(pool: Pool, settings: Settings) -> Iterator[World]:
    with serving(settings) as url:
        yield asyncio.run(make_world(settings, url))


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    """The corrected clock is the whole process's."""
    yield
    ids.set_clock(datetime.now(UTC), timedelta())


def settled(world: World, status: int) -> httpx.Response:
    """The answer of `/ready` once it has this status: what was proved a second ago still stands."""
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.get(f"{world.url}/ready", timeout=30.0)
        if answer.status_code == status:
            return answer
        assert time.monotonic() < deadline, answer.text


def test_a_read_only_server_makes_it_503_and_an_event_too(world: World) -> None:
    assert settled(world, 200).json()["postgres"] == "up"
    with server_setting(world.database_url, "default_transaction_read_only", "on"):
        assert settled(world, 503).json() | {"redis": "", "temporal": ""} == {
            "status": "unavailable",
            "postgres": "down",
            "redis": "",
            "temporal": "",
            "reason": "read_only",
        }
        with world.client() as client:
            assert client.post("/v1/events", json=event("e1")).status_code == 503
            assert client.post("/v1/events/bulk", json={"events": [event("e1"), event("e2")]}).status_code == 503
    settled(world, 200)
    with world.client() as client:
        assert client.post("/v1/events", json=event("e1")).status_code == 202


def test_a_disk_without_room_makes_it_503(world: World) -> None:
    with server_setting(world.database_url, "temp_file_limit", "'64kB'"):
        assert settled(world, 503).json()["reason"] == "no_resources"
    settled(world, 200)


async def reason_of(pool: Pool, partitions: int = 8) -> str:
    return await Readiness(pool, partitions).reason()


async def test_each_lack_has_its_reason(pool: Pool, settings: Settings) -> None:
    assert await reason_of(pool) == "partitions"  # nothing was set up
    async with transaction(pool) as connection:
        await partitions.set_up(connection, 8, ids.utc_now())
    assert await reason_of(pool) == ""
    assert await reason_of(pool, 4) == "partitions"
    newest = schema.known_revisions()[0]
    for revision, wanted in (("0001", "schema"), ("of tomorrow", ""), (newest, "")):
        async with pool.connection() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        assert await reason_of(pool) == wanted


async def test_an_empty_database_is_not_ready(settings: Settings, empty_database_url: str) -> None:
    opened = make_pool(empty_database_url, "test", max_size=1)
    await opened.open()
    try:
        assert await reason_of(opened) == "schema"
    finally:
        await opened.close()


async def test_many_who_ask_cost_one_proof(pool: Pool, settings: Settings) -> None:
    async with transaction(pool) as connection:
        await partitions.set_up(connection, 8, ids.utc_now())
    readiness = Readiness(pool, 8)
    before = await requests_of(pool)
    assert set(await asyncio.gather(*(readiness.reason() for _ in range(50)))) == {""}
    assert await requests_of(pool) - before <= 2


async def requests_of(pool: Pool) -> int:
    return int(pool.get_stats()["requests_num"])


async def test_clocks_that_differ_are_noticed_and_the_servers_counts(
    pool: Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with transaction(pool) as connection:
        await partitions.set_up(connection, 8, ids.utc_now())

    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(minutes=90)

    with monkeypatch.context() as patched:
        patched.setattr(ids, "datetime", Late)
        assert await reason_of(pool) == "clock"
        assert abs(ids.utc_now() - datetime.now(UTC)) < timedelta(seconds=30)
    assert await reason_of(pool) == ""
    assert ids.clock_difference() < timedelta(seconds=30)


def test_settings_name_a_direct_address_behind_a_pooler(settings: Settings) -> None:
    direct = msgspec.structs.replace(settings, database_prepare="off", database_direct_url="postgresql://x")
    assert (direct.pooled, direct.session_url) == (True, "postgresql://x")
    assert (settings.pooled, settings.session_url) == (False, settings.database_url)
