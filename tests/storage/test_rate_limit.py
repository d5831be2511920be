"""Rate limits on a real Redis: shared by processes, cheap, and out of the way when Redis is."""

import asyncio
import time
import timeit
from uuid import uuid4

import pytest

from domain.errors import RateLimited
from runtime.metrics import RATE_LIMIT_SKIPPED
from runtime.redis import Redis, make_redis
from runtime.settings import Settings
from storage.platform.rate_limit import PORTIONS_PER_SECOND, Meter, RateLimiter
from tests.conftest import settings_for


async def passed(meter: Meter, tries: int) -> int:
    """How many of so many requests at once pass."""

    async def one() -> bool:
        try:
            if not meter.take():
                await meter.take_slowly()
        except RateLimited:
            return False
        return True

    return sum(await asyncio.gather(*(one() for _ in range(tries))))


async def passed_with_inflow(meter: Meter, tries: int, rate: int) -> tuple[int, float]:
    """How many pass, and how many tokens have flowed in while they were asked: on a slow machine that takes seconds. In each second
    Redis gives `rate`, and the process a portion of its own."""
    began = time.monotonic()
    count = await passed(meter, tries)
    return count, (rate + max(1, rate // PORTIONS_PER_SECOND)) * (time.monotonic() - began)


async def test_a_burst_beyond_the_limit_is_refused_and_passes_again_later(redis_client: Redis) -> None:
    meter = RateLimiter(redis_client, 40).meter(uuid4(), "api_key:a", None)
    count, flowed = await passed_with_inflow(meter, 200, 40)
    assert 38 <= count <= 60 + flowed
    await asyncio.sleep(1.2)
    assert await passed(meter, 10) == 10


async def test_processes_share_the_limit(redis_client: Redis) -> None:
    tenant = uuid4()
    meters = [RateLimiter(redis_client, 100).meter(tenant, "api_key:a", None) for _ in range(4)]
    began = time.monotonic()
    total = sum(await asyncio.gather(*(passed(meter, 200) for meter in meters)))
    flowed = 100 * (time.monotonic() - began) + 4 * 5 * (time.monotonic() - began)
    assert 95 <= total <= 100 + 4 * 5 + 20 + flowed  # the bucket, a portion of each process's own, and what flows in meanwhile


async def test_credentials_share_their_tenants_limit_and_tenants_nothing(redis_client: Redis) -> None:
    limiter, tenant, began = RateLimiter(redis_client, 50), uuid4(), time.monotonic()
    first = await passed(limiter.meter(tenant, "api_key:a", None), 30)
    second, _ = await passed_with_inflow(limiter.meter(tenant, "api_key:b", None), 100, 50)
    assert first == 30
    assert second <= 40 + 60 * (time.monotonic() - began)
    assert await passed(limiter.meter(uuid4(), "api_key:a", None), 30) == 30


async def test_the_operators_limit_counts(redis_client: Redis) -> None:
    limiter, tenant = RateLimiter(redis_client, 1_000), uuid4()
    count, flowed = await passed_with_inflow(limiter.meter(tenant, "api_key:a", 5), 100, 5)
    assert count <= 15 + flowed
    await asyncio.sleep(1.2)
    assert await passed(limiter.meter(tenant, "api_key:a", None), 300) == 300


async def test_without_redis_requests_pass_and_a_metric_says_so(postgres_url: str) -> None:
    settings: Settings = settings_for(postgres_url, "redis://127.0.0.1:1/0", "127.0.0.1:1")
    redis = make_redis(settings)
    before = RATE_LIMIT_SKIPPED._value.get()
    try:
        assert await passed(RateLimiter(redis, 10).meter(uuid4(), "api_key:a", None), 500) == 500
    finally:
        await redis.aclose()
    assert RATE_LIMIT_SKIPPED._value.get() > before


@pytest.mark.parametrize("rate", [50_000_000])
async def test_a_leased_request_costs_next_to_nothing(redis_client: Redis, rate: int) -> None:
    meter = RateLimiter(redis_client, rate).meter(uuid4(), "api_key:a", None)
    meter.take()
    nothing = min(timeit.repeat(time.monotonic, number=20_000, repeat=5))
    assert min(timeit.repeat(meter.take, number=20_000, repeat=5)) < 60 * nothing, "a look at the clock and a few sums, no round trip"
