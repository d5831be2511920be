"""Redis for every process. It is speed, never truth: callers catch `RedisError` and go on without it (design.md)."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from runtime.settings import Settings

__all__ = ["Redis", "RedisError", "make_redis"]

TIMEOUT_SECONDS = 2.0


def make_redis(settings: Settings, *, max_connections: int = 64) -> "Redis":
    """A client with its own pool; values are bytes. One retry covers a connection that died while idle; a dead server fails fast.

    A command waits for a free connection: a pool that refuses would make a crowd of readers look like a dead server.
    """
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=max_connections,
        timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ConnectionError],
    )
    return Redis.from_pool(pool)
