"""A Temporal that takes connections and answers nothing holds no process for long."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from runtime import temporal, temporal_limits
from runtime.settings import Settings
from runtime.temporal_limits import CALL_SECONDS
from tests.swallowing import in_front_of
from workflows.scoring import ensure_scoring_workflows

PATIENCE_SECONDS = CALL_SECONDS + 10


FIRST_CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "describe": lambda client: client.get_schedule_handle("any").describe(rpc_timeout=temporal.RPC_TIMEOUT),
    "update": lambda client: client.get_workflow_handle("any").execute_update("moved", rpc_timeout=temporal.RPC_TIMEOUT),
    "signal": lambda client: client.get_workflow_handle("any").signal("moved"),
    "query": lambda client: client.get_workflow_handle("any").query("progress"),
    "history": lambda client: client.get_workflow_handle("any").fetch_history(rpc_timeout=temporal.RPC_TIMEOUT),
    "health": lambda client: client.service_client.check_health(timeout=temporal.RPC_TIMEOUT),
    "search attributes": temporal.missing_search_attributes,
    "retention": lambda client: temporal.ensure_retention(client, 30),
}


async def first_call(settings: Settings, call: Callable[[Client], Awaitable[object]]) -> None:
    """What a lazy client is asked first, it is asked while it connects."""
    await call(await temporal.connect(settings, lazy=True))


async def page(client: Client) -> None:
    async for _ in client.list_workflows("WorkflowId = 'none'"):
        pass


async def test_whatever_a_frozen_temporal_is_asked_ends_in_time(temporal_settings: Settings) -> None:
    async with in_front_of(f"tcp://{temporal_settings.temporal_address}") as (proxy, url):
        settings = msgspec.structs.replace(temporal_settings, temporal_address=url.rpartition("@")[2])
        client = await temporal.connect(settings)
        proxy.silence_present()
        proxy.shut = True
        calls = {
            "connect": temporal.connect(settings),
            **{name: first_call(settings, call) for name, call in FIRST_CALLS.items()},
            "start": ensure_scoring_workflows(client, task_queue=secrets.token_hex(6), partitions=4),
            "list": page(client),
        }
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                ends = await asyncio.gather(*calls.values(), return_exceptions=True)
        except TimeoutError:
            pytest.fail("a call went on")
    assert dict(zip(calls, map(type, ends), strict=True)) == {
        "connect": TimeoutError,
        **dict.fromkeys(FIRST_CALLS, RPCError),
        "update": WorkflowUpdateRPCTimeoutOrCancelledError,
        "start": RPCError,
        "list": RPCError,
    }


async def test_a_call_that_waits_for_a_workflow_is_given_up_when_temporal_freezes(
    temporal_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal_limits, "POLL_TIMEOUT", timedelta(seconds=2))
    async with in_front_of(f"tcp://{temporal_settings.temporal_address}") as (proxy, url):
        client = await temporal.connect(msgspec.structs.replace(temporal_settings, temporal_address=url.rpartition("@")[2]))
        handle = await client.start_workflow("Nobody's", id=secrets.token_hex(6), task_queue=secrets.token_hex(6))
        waiting = {"result": handle.result(), "update": handle.execute_update("moved")}
        tasks = [asyncio.ensure_future(each) for each in waiting.values()]
        await asyncio.sleep(1)
        proxy.silence_present()
        proxy.shut = True
        done, _ = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    for task in tasks:
        task.cancel()
    assert {type(task.exception()) for task in done} <= {RPCError, WorkflowUpdateRPCTimeoutOrCancelledError}
    assert len(done) == len(tasks)
