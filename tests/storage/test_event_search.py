"""The admin's search in the event log, and dead letters that are scored again exactly once."""

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.event import search as event_search
from storage.event.search import LogPlace, Search, find_dead_letter, replay, search_events
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference

EVENTS = [Event(f"u{n % 7}", n % 5, n % 60, f"e{n:03}", "match" if n % 3 else "other") for n in range(60)]
DAY = dt.timedelta(days=1)


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def walk(world: World, limit: int, **wanted: Any) -> list[str]:
    """The ids that a search finds, page after page."""
    everything: dict[str, Any] = {"partitions": range(PARTITIONS), "since": utc_now() - 3 * DAY, "until": utc_now() + DAY}
    search = Search(**everything | wanted)
    ids: list[str] = []
    place: LogPlace | None = LogPlace(search.until.date())
    for _ in range(200):
        if place is None:
            return ids
        async with world.pool.connection() as connection:
            found, place = await search_events(connection, world.tenant_id, search, place, limit=limit)
        ids += [each.event_id for each in found]
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_every_event_is_found_once_newest_first(world: World, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(event_search, "STEP_POSITIONS", step)
    for start in range(0, 60, 20):
        await world.send(EVENTS[start : start + 20])
    newest_first = [row["event_id"] for row in await world.rows("SELECT event_id FROM event_log ORDER BY position DESC")]
    assert await walk(world, 13) == newest_first
    kinds = {each.event_id: each.type for each in EVENTS}
    assert await walk(world, 13, type="other") == [each for each in newest_first if kinds[each] == "other"]
    user = (await world.rows("SELECT user_id FROM app_user WHERE external_id = 'u3'"))[0]["user_id"]
    mine = {each.event_id for each in EVENTS if each.user == "u3"}
    assert await walk(world, 4, user_id=user, partitions=[await world.partition_of("u3")]) == [
        each for each in newest_first if each in mine
    ]
    assert await walk(world, 13, until=utc_now() - DAY) == []


async def test_another_tenants_events_are_not_found(world: World) -> None:
    await world.send(EVENTS[:5])
    search = Search(partitions=range(PARTITIONS), since=utc_now() - DAY, until=utc_now() + DAY)
    async with world.pool.connection() as connection:
        found, _ = await search_events(connection, UUID(int=7), search, LogPlace(search.until.date()), limit=50)
        assert found == []
        assert await event_search.events_of_id(connection, UUID(int=7), "e001", range(PARTITIONS), limit=5) == []
        (same,) = await event_search.events_of_id(connection, world.tenant_id, "e001", range(PARTITIONS), limit=5)
    assert same.external_user_id == "u1"


async def replay_once(world: World, position: int) -> int | None:
    """What the route does."""
    async with transaction(world.pool) as connection:
        letter = await find_dead_letter(connection, world.tenant_id, position, lock=True)
        if letter is None or letter.replayed_at is not None:
            return None
        return await replay(connection, world.tenant_id, letter)


async def test_a_dead_letter_is_scored_again_exactly_once(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS)
    await world.rows("ALTER TABLE standing ADD CONSTRAINT no_odd CHECK (total <> 123450000)", fetch=False)
    odd = Event("odd", 12345, 1, "odd")
    await world.send([odd])
    await world.pump()
    (dead,) = await world.rows("SELECT position FROM dead_letter")
    again = await replay_once(world, dead["position"])
    await world.pump()
    assert len(await world.rows("SELECT 1 AS one FROM dead_letter")) == 2  # it broke again: another dead letter
    await world.rows("ALTER TABLE standing DROP CONSTRAINT no_odd", fetch=False)
    assert again is not None
    results = await asyncio.gather(*(replay_once(world, again) for _ in range(4)))
    assert sum(result is not None for result in results) == 1
    await world.pump()
    await world.send([odd])  # the same event from its sender once more
    await world.pump()
    counted = [each for each in EVENTS if each.type == "match"]
    assert await world.live_rows(board) == await world.stored_rows(board) == reference(definition(), [*counted, odd])
    assert len(await world.rows("SELECT 1 AS one FROM event_log WHERE event_id = 'odd'")) == 1
