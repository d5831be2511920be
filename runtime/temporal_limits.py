"""Time limits of every call to Temporal, also of those whose caller names none.

A server that is frozen takes connections and answers nothing. The SDK waits for it for half a minute with each attempt, and longer while it
connects, where `rpc_timeout` says nothing.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

from temporalio.client import Interceptor, OutboundInterceptor
from temporalio.service import RPCError, RPCStatusCode

RPC_TIMEOUT = timedelta(seconds=5)
"""One attempt of a call."""
CALL_SECONDS = 15.0
"""A call with its attempts, and with connecting when it is the first of a lazy client."""
LONG_POLLS = frozenset(
    {"start_workflow_update", "start_update_with_start_workflow", "fetch_workflow_history_events", "get_nexus_operation_result"}
)
"""Calls that may wait for what a workflow does: they keep the limit that their caller names."""


class TimeLimits(Interceptor):
    """Gives every call of a client its limits; a worker's own polls do not pass here."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """The calls of `next`, limited."""
        return _Limited(next)


class _Limited(OutboundInterceptor):
    pass


def _in_time(name: str) -> Callable[[_Limited, Any], Awaitable[Any]]:
    async def call(self: _Limited, input: Any) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await getattr(self.next, name)(_limited(input))
        except TimeoutError:
            raise RPCError("Temporal does not answer", RPCStatusCode.DEADLINE_EXCEEDED, b"") from None

    return call


def _page_by_page(name: str) -> Callable[[_Limited, Any], Any]:
    def call(self: _Limited, input: Any) -> Any:
        return getattr(self.next, name)(_limited(input))

    return call


def _limited(asked: Any) -> Any:
    return asked if asked.rpc_timeout is not None else dataclasses.replace(asked, rpc_timeout=RPC_TIMEOUT)


for _name, _call in vars(OutboundInterceptor).items():
    if not _name.startswith("_") and _name not in LONG_POLLS:
        setattr(_Limited, _name, _in_time(_name) if iscoroutinefunction(_call) else _page_by_page(_name))
