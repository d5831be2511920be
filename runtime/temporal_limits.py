"""Time limits of every exchange with Temporal, also of those whose caller names none.

A server that is frozen takes connections and answers nothing. The SDK waits for it for half a minute with each attempt, and for longer
while it connects, where `rpc_timeout` says nothing; whatever the first call of a lazy client is, it connects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message
from temporalio.client import ClientConfig, Plugin
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

RPC_TIMEOUT = timedelta(seconds=5)
"""One attempt of a call."""
CALL_SECONDS = 15.0
"""A call with its attempts, and with connecting when it is the first of a lazy client."""
CONNECT_SECONDS = 10.0
"""What a call that may wait for longer has beside its own time."""
POLL_TIMEOUT = timedelta(seconds=60)
"""One attempt of a call that waits for what a workflow does; the server answers within 20 seconds, with what there is."""
LONG_POLLS = frozenset(
    {
        "execute_multi_operation",
        "get_workflow_execution_history",
        "poll_nexus_operation_execution",
        "poll_workflow_execution_update",
        "update_workflow_execution",
    }
)


class TimeLimits(Plugin):
    """Gives every exchange of a client its limits, whichever service it asks; a worker's own polls do not pass here."""

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """The client stays as it is."""
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """The connection of `next`, limited."""
        return _Limited(config, await next(config))


class _Limited(ServiceClient):
    def __init__(self, config: ConnectConfig, inner: ServiceClient) -> None:
        super().__init__(config)
        self._inner = inner

    @property
    def worker_service_client(self) -> Any:
        return self._inner.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        self._inner.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        self._inner.update_api_key(api_key)

    async def _rpc_call(self, rpc: str, req: Message, resp_type: type[Any], *, timeout: timedelta | None, **more: Any) -> Any:  # noqa: ASYNC109 - the SDK's own
        attempt = timeout or (POLL_TIMEOUT if rpc in LONG_POLLS else RPC_TIMEOUT)
        longest = max(CALL_SECONDS, attempt.total_seconds() + CONNECT_SECONDS) if rpc in LONG_POLLS else CALL_SECONDS
        try:
            async with asyncio.timeout(longest):
                return await self._inner._rpc_call(rpc, req, resp_type, timeout=attempt, **more)
        except TimeoutError:
            raise RPCError("Temporal does not answer", RPCStatusCode.DEADLINE_EXCEEDED, b"") from None
