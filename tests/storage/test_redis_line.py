"""The line to Redis: answers in order, a lost connection asked again, a silent server given up."""

import asyncio

import pytest

from runtime.redis import Redis, RedisError
from runtime.redis_line import RedisLine


async def test_answers_come_in_the_order_of_the_commands_and_refusals_stand_among_them(redis_client: Redis) -> None:
    async def count(number: int) -> None:
        name = f"line:{number}"
        answers = await redis_client.line.ask([("SET", name, number), ("NO-SUCH-COMMAND",), ("GET", name)])
        assert (answers[0], answers[2]) == (b"OK", str(number).encode())
        assert isinstance(answers[1], RedisError)

    await asyncio.gather(*(count(number) for number in range(200)))
    assert await redis_client.line.ask([]) == []


async def test_a_connection_that_was_lost_is_made_again(redis_client: Redis) -> None:
    (name,) = await redis_client.line.ask([("CLIENT", "ID")])
    assert await redis_client.execute_command("CLIENT", "KILL", "ID", name) == 1  # type: ignore[no-untyped-call]
    (other,) = await redis_client.line.ask([("CLIENT", "ID")])
    assert other != name


async def test_one_who_goes_away_does_not_shift_the_answers_of_the_others(redis_client: Redis) -> None:
    await redis_client.line.ask([("PING",)])
    gone = asyncio.ensure_future(redis_client.line.ask([("ECHO", "gone")]))
    await asyncio.sleep(0)
    gone.cancel()
    assert await redis_client.line.ask([("ECHO", "here")]) == [b"here"]


async def test_a_server_that_is_silent_or_away_is_an_error_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = RedisLine({"host": "127.0.0.1", "port": port}, 1.0)
    for _ in range(2):
        with pytest.raises(RedisError, match="in time"):
            await line.ask([("PING",)])
    line.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(RedisError, match="no connection"):
        await line.ask([("PING",)])


async def test_what_cannot_be_sent_does_not_shift_the_answers_of_the_others(redis_client: Redis) -> None:
    await redis_client.line.ask([("PING",)])
    with pytest.raises(TypeError):
        await redis_client.line.ask([("ECHO", object())])
    assert await redis_client.line.ask([("ECHO", "here")]) == [b"here"]
