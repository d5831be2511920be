"""Redis for every process. It is speed, never truth: callers catch `RedisError` and go on without it."""

import asyncio
from functools import cached_property
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, SSLConnection
from redis.asyncio import Redis as Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as LateError

from runtime.redis_line import RedisLine
from runtime.settings import Settings
from runtime.tasks import retrieve

__all__ = ["Redis", "RedisError", "make_redis"]

TIMEOUT_SECONDS = 2.0


class Redis(Client):
    """The client, with a line beside its pool for what is asked most."""

    @cached_property
    def line(self) -> RedisLine:
        """One connection for all who ask; it goes with the client."""
        pool = self.connection_pool
        secure = (
            pool.connection_class(**pool.connection_kwargs).ssl_context.get() if issubclass(pool.connection_class, SSLConnection) else None
        )
        return RedisLine(pool.connection_kwargs, TIMEOUT_SECONDS, secure=secure)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer, within `TIMEOUT_SECONDS` from the wait for a connection on; RedisError."""
        # Not by cancelling alone: the library's pool was seen to swallow that while it waited for a connection.
        asked = asyncio.ensure_future(super().execute_command(*args, **options))  # type: ignore[no-untyped-call]
        try:
            await asyncio.wait([asked], timeout=TIMEOUT_SECONDS)
        finally:
            asked.add_done_callback(retrieve)
            is_late = asked.cancel()
        if is_late:
            raise LateError("no answer from Redis in time")
        return asked.result()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the pool's connections and the line."""
        if "line" in self.__dict__:
            self.line.close()
        await super().aclose(close_connection_pool)


def client_url(url: str) -> str:
    """The address in the client library's words, which knows Valkey by Redis's schemes only."""
    return url.replace("valkey", "redis", 1) if url.startswith(("valkey://", "valkeys://")) else url


def make_redis(settings: Settings, *, max_connections: int = 64) -> "Redis":
    """A client with its own pool; values are bytes. One retry covers a connection that died while idle; a dead server fails fast.

    A command waits for a free connection: a pool that refuses would make a crowd of readers look like a dead server.
    """
    pool = BlockingConnectionPool.from_url(
        client_url(settings.redis_url),
        max_connections=max_connections,
        timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 1, supported_errors=(LostError,)),  # one that is late would be waited for twice
        retry_on_error=[ConnectionError],
    )
    return cast(Redis, Redis.from_pool(pool))  # it answers the class it is asked of, and is typed otherwise
