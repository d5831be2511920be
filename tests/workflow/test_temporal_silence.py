"""A Temporal that takes connections and answers nothing holds no process for long."""

import asyncio
import secrets

import msgspec
import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from runtime import temporal
from runtime.settings import Settings
from runtime.temporal_limits import CALL_SECONDS
from tests.swallowing import in_front_of
from workflows.scoring import ensure_scoring_workflows

PATIENCE_SECONDS = CALL_SECONDS + 4


async def first_call(settings: Settings) -> None:
    client = await temporal.connect(settings, lazy=True)
    await client.get_schedule_handle("any").describe(rpc_timeout=temporal.RPC_TIMEOUT)


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
            "first call": first_call(settings),
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
        "first call": RPCError,
        "start": RPCError,
        "list": RPCError,
    }
