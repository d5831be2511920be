import asyncio
from typing import Any

import pytest
import pytest_asyncio

from domain.errors import ValidationError
from domain.tenant.user import Identify, User, identified_as
from domain.wire import convert_value
from runtime.ids import utc_now
from runtime.postgres import Pool, connect, transaction
from storage.tenant.user import PROFILE_CHANNEL, find_user, identify
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def identified(world: World, **body: Any) -> tuple[User, bool]:
    given = convert_value({"external_id": "ann", **body}, Identify)
    async with transaction(world.pool) as connection:
        return await identify(connection, world.tenant_id, identified_as(given), given, now=utc_now())


async def test_identify_makes_a_user_and_then_merges_what_is_given(world: World):
    first, created = await identified(world, display_name="Ann", email="a@b.vn", attributes={"country": "VN", "age": 30})
    assert created
    second, created = await identified(world, email=None, attributes={"age": None, "vip": True})
    assert not created
    assert second.user_id == first.user_id
    assert (second.display_name, second.email, second.attributes) == ("Ann", None, {"country": "VN", "vip": True})
    async with world.pool.connection() as connection:
        assert await find_user(connection, world.tenant_id, "ann") == second


async def test_concurrent_identifies_make_one_user(world: World):
    outcomes = await asyncio.gather(*(identified(world, attributes={f"a{n}": n}) for n in range(10)))
    assert len({user.user_id for user, _ in outcomes}) == 1
    assert [created for _, created in outcomes].count(True) == 1
    async with world.pool.connection() as connection:
        kept = await find_user(connection, world.tenant_id, "ann")
    assert kept is not None
    assert kept.attributes == {f"a{n}": n for n in range(10)}


async def test_profile_caches_hear_of_what_boards_show_and_of_nothing_else(world: World, postgres_url: str):
    async with await connect(postgres_url, "listener") as listener:
        await listener.execute(f"LISTEN {PROFILE_CHANNEL}".encode())
        await identified(world, attributes={"country": "VN"})
        await identified(world, display_name="Ann")
        await identified(world, display_name="Ann", email="a@b.vn")
        await identified(world, avatar_url="https://b.vn/a.png")
        heard = [notice.payload async for notice in listener.notifies(timeout=5.0, stop_after=2)]
        more = [notice.payload async for notice in listener.notifies(timeout=0.1)]
    assert heard == [f"{world.tenant_id}:ann"] * 2
    assert more == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"external_id": "a", "externalId": "b"},
        {"externalId": "me"},
        {"externalId": "a/b"},
        {"externalId": ""},
        {"externalId": "x" * 256},
    ],
)
def test_a_user_has_one_good_external_id(body: dict[str, Any]):
    with pytest.raises(ValidationError):
        identified_as(convert_value(body, Identify))


def test_both_spellings_of_the_external_id_are_taken():
    assert identified_as(convert_value({"externalId": "usr_1"}, Identify)) == "usr_1"
    assert identified_as(convert_value({"external_id": "usr_1"}, Identify)) == "usr_1"
