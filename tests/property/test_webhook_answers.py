"""Whatever a partner answers, in its head or its body, ends in a recorded attempt: raw bytes over a real socket, into PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.testing import ActivityEnvironment

from activities.webhook import WebhookActivities
from domain.webhook.webhook import retry_after_seconds
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import Pool
from tests.builders.redemption import VAULT
from tests.workflow.test_redemption_send import prepare

DATES = st.tuples(
    st.sampled_from(["Mon, ", "", "Foo, ", ", "]),
    st.integers(-(10**20), 10**20),
    st.sampled_from([" Jan ", " Feb ", "-Mar-", " Nix ", " "]),
    st.integers(0, 10**22),
    st.sampled_from([" 00:00:00 ", " 99:99:99 ", " 24:60:61 ", " : : ", " 1.2.3 ", " "]),
    st.sampled_from(["GMT", "+0000", "-9999", "+99999999999999999999", "EST", ""]),
).map(lambda parts: "".join(map(str, parts)))


@given(st.one_of(DATES, st.text(), st.integers().map(str)))
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
def test_any_retry_after_is_read_or_ignored(text: str) -> None:
    wait = retry_after_seconds(text, utc_now())
    assert wait is None or wait > 0


NUMBERS = st.sampled_from([b"1e999", b"-1e400", b"9" * 5000, b"0.1e-9999", b"NaN", b"-0"])
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from(
        [b"null", b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b"[" * 400 + b"]" * 400, b'{"a":' * 300 + b"1" + b"}" * 300]
    ),
    st.sampled_from(
        [b'"2026-01-01T00:00:00Z"', b'"9999-12-31T23:59:59-23:59"', b'"0001-01-01T00:00:00+23:59"', b'""', b"{}", b"[]", b"true"]
    ),
    st.text(max_size=20).map(lambda text: b'"' + text.encode("utf-8", "replace").replace(b'"', b"'").replace(b"\\", b"/") + b'"'),
)
KEYS = st.sampled_from([b"fulfillment_data", b"fulfilled_at", b"reason", b"failure_reason", b"code", b"status"])
CALLBACKS = st.tuples(
    st.sampled_from([b"fulfilled", b"failed"]),
    st.lists(st.tuples(KEYS, st.one_of(VALUES, VALUES.map(lambda value: b'{"code":' + value + b"}"))), max_size=3),
).map(lambda parts: b'{"status":"' + parts[0] + b'"' + b"".join(b',"' + key + b'":' + value for key, value in parts[1]) + b"}")
BODIES = st.one_of(CALLBACKS, CALLBACKS, st.binary(max_size=300))
HEADERS = st.one_of(
    DATES.map(lambda text: b"Retry-After: " + text.encode("utf-8")),
    st.binary(max_size=60),
    st.sampled_from(
        [b"Retry-After: \xff\xfe", b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: -1", b"Connection: keep-alive"]
    ),
)
STATUS_LINES = st.one_of(
    st.sampled_from(
        [b"200 OK", b"200 \xff", b"500 No", b"503 Later", b"429 Slow", b"101 Switch", b"999 ?", b"100 Go", b"199 x", b"600 x", b"304 x"]
    ),
    st.integers(0, 9999).map(lambda status: str(status).encode()),
)
ANSWERS = st.one_of(
    st.tuples(STATUS_LINES, st.lists(HEADERS, max_size=3), BODIES).map(
        lambda parts: b"HTTP/1.1 " + parts[0] + b"\r\n" + b"".join(each + b"\r\n" for each in parts[1]) + b"\r\n" + parts[2]
    ),
    st.binary(max_size=200),
)


@contextlib.asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()


class At:
    """An address, as `prepare` takes it."""

    def __init__(self, url: str) -> None:
        self.url = url


async def test_any_answer_ends_in_a_recorded_attempt(pool: Pool) -> None:
    stage, given_to = await prepare(pool, At("http://127.0.0.1:9/hook"))
    tenant_id = stage.world.tenant_id
    webhooks = WebhookActivities(pool, VAULT, Sender(["127.0.0.0/8"]))
    loop = asyncio.get_running_loop()

    async def one(raw: bytes) -> None:
        await stage.world.rows(
            "UPDATE redemption SET status = 'pending', flags = '{}', fulfilment = fulfilment || '{\"answer_is_callback\": true}'"
            " WHERE tenant_id = %s RETURNING 1",
            (tenant_id,),
        )
        await stage.world.rows("DELETE FROM webhook_attempt WHERE tenant_id = %s RETURNING 1", (tenant_id,))
        reset = "UPDATE webhook_delivery SET state = 'pending', attempts = 0, due_at = NULL WHERE tenant_id = %s RETURNING 1"
        await stage.world.rows(reset, (tenant_id,))
        async with answering(raw) as url:
            changes = (
                "UPDATE webhook_endpoint SET url = %s, enabled = true, next_turn_at = NULL, timeout_seconds = 5"
                " WHERE tenant_id = %s RETURNING 1"
            )
            await stage.world.rows(changes, (url, tenant_id))
            await ActivityEnvironment().run(webhooks.send, given_to(1))
        (attempt,) = await stage.world.rows("SELECT ended_at, status, error_class FROM webhook_attempt WHERE tenant_id = %s", (tenant_id,))
        assert attempt["ended_at"] is not None
        (delivery,) = await stage.world.rows(
            "SELECT state, next_attempt_at FROM webhook_delivery WHERE tenant_id = %s AND event = 'reward_redeemed'", (tenant_id,)
        )
        assert delivery["state"] in ("delivered", "exhausted") or delivery["next_attempt_at"] is not None

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ANSWERS)
    @example(b"HTTP/1.1 503 x\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n\r\n")
    @example(b'HTTP/1.1 200 OK\r\n\r\n{"status":"fulfilled","fulfillment_data":{"code":1e999}}')
    @example(b'HTTP/1.1 200 OK\r\n\r\n{"status":"fulfilled","fulfillment_data":{"code":' + b"9" * 5000 + b"}}")
    @example(b'HTTP/1.1 200 OK\r\n\r\n{"status":"fulfilled","fulfilled_at":"9999-12-31T23:59:59-23:59"}')
    def every(raw: bytes) -> None:
        asyncio.run_coroutine_threadsafe(one(raw), loop).result(60)

    await asyncio.to_thread(every)
