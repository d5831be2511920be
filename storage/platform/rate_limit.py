"""Rate limits per credential and per tenant: token buckets in Redis, leased to each process in portions (contract 1).

A request only counts down what its process holds. What takes less than a portion in a second is not asked about at all; a process
that has used its portion up asks Redis for the next, and settles what it gave away by itself. Redis away: requests pass.
"""

import asyncio
import time
from typing import Any
from uuid import UUID

from domain.errors import RateLimited
from runtime.metrics import RATE_LIMIT_SKIPPED
from runtime.redis import Redis, RedisError
from runtime.shelf import Recent
from runtime.tasks import begin_for_all

PORTIONS_PER_SECOND = 20
LEASE_SECONDS = 1.0
PAUSE_SECONDS = 0.05
"""After a refusal, the same bucket is not asked again for this long."""

AWAY_SECONDS = 5.0
ASK_SECONDS = 0.25
KNOWN_LEASES = 200_000
BUCKET_MILLISECONDS = 2_000

TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rate, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = rate
if kept[1] then
    left = math.min(rate, tonumber(kept[1]) + (now - tonumber(kept[2])) * rate / 1000000)
end
local given = math.max(0, math.min(wanted, math.floor(left)))
redis.call('HSET', KEYS[1], 'left', tostring(left - given), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return given
"""
"""Takes up to `wanted` tokens out of a bucket that holds one second's worth; by Redis's clock, so that processes need not agree."""


class Lease:
    """What one process may still let through for one credential or one tenant. Times count on the monotonic clock."""

    __slots__ = ("asking", "bucket", "owed", "paused_until", "portion", "rate", "tokens", "until")

    def __init__(self, bucket: str, rate: int) -> None:
        """Nothing is leased yet."""
        self.bucket = bucket
        self.asking: asyncio.Task[None] | None = None
        self.tokens = self.owed = 0
        self.until = self.paused_until = 0.0
        self.set_rate(rate)

    def set_rate(self, rate: int) -> None:
        """The limit of requests in a second, as the operator set it."""
        self.rate = rate
        self.portion = max(1, rate // PORTIONS_PER_SECOND)

    def has_token(self, now: float) -> bool:
        """Whether a request may pass without asking Redis."""
        if now >= self.until:
            self.tokens = self.owed = self.portion
            self.until = now + LEASE_SECONDS
        return self.tokens > 0


class Meter:
    """Both leases that a request is charged to."""

    __slots__ = ("_limiter", "credential", "tenant")

    def __init__(self, limiter: "RateLimiter", credential: Lease, tenant: Lease) -> None:
        """`limiter` asks Redis."""
        self._limiter, self.credential, self.tenant = limiter, credential, tenant

    def take(self) -> bool:
        """Charge a request to what this process holds; False when Redis has to be asked (`take_slowly`)."""
        now = time.monotonic()
        if not (self.credential.has_token(now) and self.tenant.has_token(now)):
            return False
        self.credential.tokens -= 1
        self.tenant.tokens -= 1
        return True

    async def take_slowly(self) -> None:
        """Charge a request, asking Redis where needed; raises `RateLimited`."""
        while not self.take():
            now = time.monotonic()
            for lease in (self.credential, self.tenant):
                if not lease.has_token(now):
                    await self._limiter.ask(lease)


class RateLimiter:
    """The leases of one process."""

    def __init__(self, redis: Redis, rate: int) -> None:
        """`rate` is the limit in a second where the operator set none for the tenant."""
        self._redis = redis
        self._rate = rate
        self._leases = Recent[str, Lease](KNOWN_LEASES)
        self._take: Any = redis.register_script(TAKE)

    def meter(self, tenant_id: UUID, credential: str, rate: int | None) -> Meter:
        """What the requests of this credential are charged to; the same leases for every meter of it."""
        limit = self._rate if rate is None else rate
        return Meter(self, self._lease(f"rate:{tenant_id}:{credential}", limit), self._lease(f"rate:{tenant_id}", limit))

    def _lease(self, bucket: str, rate: int) -> Lease:
        lease = self._leases.get(bucket)
        if lease is None:
            lease = Lease(bucket, rate)
            self._leases.keep(bucket, lease)
        elif lease.rate != rate:
            lease.set_rate(rate)
        return lease

    async def ask(self, lease: Lease) -> None:
        """Get the next portion, once for all who wait for it; raises `RateLimited` when there is none."""
        if time.monotonic() >= lease.paused_until:
            if lease.asking is None:
                lease.asking = begin_for_all(self._ask(lease), "rate limit")
            await asyncio.shield(lease.asking)
        if lease.tokens <= 0 and time.monotonic() < lease.paused_until:
            raise RateLimited(f"More than {lease.rate} requests per second", retry_after=1)

    async def _ask(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                given = int(await self._take(keys=[lease.bucket], args=[lease.rate, lease.portion + lease.owed, BUCKET_MILLISECONDS]))
        except (RedisError, OSError, TimeoutError):
            RATE_LIMIT_SKIPPED.inc()
            lease.tokens, lease.owed, lease.until = lease.rate * 1_000, 0, time.monotonic() + AWAY_SECONDS
            return
        finally:
            lease.asking = None
        settled = min(given, lease.owed)
        lease.owed -= settled
        lease.tokens += given - settled
        now = time.monotonic()
        lease.until = now + LEASE_SECONDS
        if lease.tokens <= 0:
            lease.paused_until = now + PAUSE_SECONDS
