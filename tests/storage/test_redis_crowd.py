"""More readers than connections: they wait for each other, and nobody takes the server for dead."""

import asyncio

from runtime.redis import Redis


async def test_a_crowd_of_commands_waits_for_free_connections(redis_client: Redis) -> None:
    answers = await asyncio.gather(*(redis_client.ping() for _ in range(200)), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
