"""Temporal for every process: how to connect, how values are written into a history, which attributes and queues there are."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode, TLSConfig
from temporalio.worker import WorkerDeploymentConfig

from runtime import tracing
from runtime.search_attributes import SEARCH_ATTRIBUTES
from runtime.settings import Settings
from runtime.temporal_limits import CONNECT_SECONDS, RPC_TIMEOUT, TimeLimits

log = logging.getLogger("worker")
REFUSED = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.UNAUTHENTICATED})
VALUE_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


class TaskQueues(msgspec.Struct, frozen=True, kw_only=True):
    """One queue for each kind of work that must not starve another, for its workflows and its activities: what comes in crowds (orders,
    ends of windows), what takes long (partners' slow HTTP, pumps, maintenance), and what has to be on time (payouts and their schedules).

    Orders have the core queue. Workflows derive the other names from their own queue's (`workflows/queues.py`).
    """

    core: str
    webhooks: str
    scoring: str

    @property
    def windows(self) -> str:
        """The ends of windows, and rescores."""
        return f"{self.core}-windows"

    @property
    def payouts(self) -> str:
        """Payout runs."""
        return f"{self.core}-payouts"

    @property
    def schedules(self) -> str:
        """The instants of payout schedules."""
        return f"{self.core}-schedules"

    @property
    def endpoints(self) -> str:
        """The endpoints' pumps."""
        return f"{self.core}-endpoints"

    @property
    def chores(self) -> str:
        """Erasures, and what the platform does by itself."""
        return f"{self.core}-chores"

    @property
    def of_workflows(self) -> tuple[str, ...]:
        """Those that have workflow tasks."""
        return (self.core, self.scoring, self.windows, self.payouts, self.schedules, self.endpoints, self.chores)


def task_queues(settings: Settings) -> TaskQueues:
    """The names of the queues, all under the prefix `LAUREL_TASK_QUEUE`."""
    prefix = settings.task_queue
    return TaskQueues(core=prefix, webhooks=f"{prefix}-webhooks", scoring=f"{prefix}-scoring")


class MsgspecPayloadConverter(EncodingPayloadConverter):
    """Values as JSON by msgspec: Structs, dates, Decimals and UUIDs survive, and people can read them in the UI."""

    def __init__(self) -> None:
        """Temporal makes the converter itself, so it takes no arguments."""
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    @property
    def encoding(self) -> str:
        """The name that stands in the payload's metadata, that of plain JSON."""
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """The value as JSON; raises TypeError when msgspec does not know its type."""
        return Payload(metadata={"encoding": self.encoding.encode()}, data=msgspec.json.encode(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The value as `type_hint`, or as plain JSON types without one; raises `msgspec.ValidationError`."""
        wanted: Any = Any if type_hint is None else type_hint
        decoder = self._decoders.get(wanted)
        if decoder is None:
            decoder = self._decoders[wanted] = msgspec.json.Decoder(wanted)
        return decoder.decode(payload.data)


class LaurelPayloadConverter(CompositePayloadConverter):
    """The stock converters, with msgspec in the place of the JSON one."""

    def __init__(self) -> None:
        """Temporal makes the converter itself, so it takes no arguments."""
        stock = DefaultPayloadConverter.default_encoding_payload_converters
        json_converter = MsgspecPayloadConverter()
        super().__init__(*(json_converter if isinstance(each, JSONPlainPayloadConverter) else each for each in stock))


DATA_CONVERTER = DataConverter(payload_converter_class=LaurelPayloadConverter)


async def connect(settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """A client with our converter. `lazy` connects at the first call, so that a process starts while Temporal is away.

    Raises `TimeoutError` when Temporal takes the connection and says nothing; RuntimeError when there is none.
    """
    async with asyncio.timeout(CONNECT_SECONDS):  # `connect_timeout` ends with the TCP connection, before the first answer
        return await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            data_converter=DATA_CONVERTER,
            lazy=lazy,
            runtime=runtime,
            tls=_tls(settings),
            api_key=settings.temporal_api_key or None,
            interceptors=tracing.interceptors(settings),
            plugins=[TimeLimits()],
        )


def _tls(settings: Settings) -> TLSConfig | bool:
    def read(path: str) -> bytes | None:
        return Path(path).read_bytes() if path else None

    files = (settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key)
    if not any(files):
        return bool(settings.temporal_api_key)
    authority, certificate, key = (read(path) for path in files)
    return TLSConfig(server_root_ca_cert=authority, client_cert=certificate, client_private_key=key)


async def missing_search_attributes(client: Client) -> list[str]:
    """Which of our search attributes the namespace does not have, by name."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = await client.operator_service.list_search_attributes(request, timeout=RPC_TIMEOUT)
    return [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]


async def ensure_search_attributes(client: Client) -> None:
    """Add the search attributes that the namespace lacks. Safe to repeat, and safe when two workers do it at once."""
    missing = await missing_search_attributes(client)
    if missing:
        await add_search_attributes(client, missing)


async def add_search_attributes(client: Client, names: Iterable[str] = tuple(SEARCH_ATTRIBUTES)) -> None:
    """Register these search attributes; that they exist already is no fault."""
    request = AddSearchAttributesRequest(
        namespace=client.namespace,
        search_attributes={name: VALUE_TYPES[SEARCH_ATTRIBUTES[name]] for name in names},
    )
    try:
        await client.operator_service.add_search_attributes(request, timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise


async def ensure_retention(client: Client, days: int) -> None:
    """Make the namespace keep closed workflows for this many days (contract 4)."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace), timeout=RPC_TIMEOUT)
    if described.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(days=days):
        return
    config = NamespaceConfig()
    config.workflow_execution_retention_ttl.FromTimedelta(timedelta(days=days))
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=client.namespace, config=config), timeout=RPC_TIMEOUT)


async def prepare_namespace(client: Client, settings: Settings) -> None:
    """Search attributes and retention, where this worker may set them. Temporal Cloud refuses: then somebody else does, and says so with
    LAUREL_TEMPORAL_MANAGE_NAMESPACE=off; what is missing is named here and by `doctor`."""
    try:
        await ensure_search_attributes(client)
        await ensure_retention(client, settings.temporal_retention_days)
    except RPCError as error:
        if error.status not in REFUSED:
            raise
        log.error(  # noqa: TRY400 - the reason is in the message; there is nothing to trace
            "the namespace %s is not ours to prepare (%s): add its search attributes %s and set its retention to %d days by other means",
            client.namespace,
            error.message,
            ", ".join(SEARCH_ATTRIBUTES),
            settings.temporal_retention_days,
        )


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """The version under which Temporal knows this worker; None without one: every worker takes every task."""
    if not settings.worker_deployment:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=settings.worker_deployment, build_id=settings.worker_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


def telemetry(settings: Settings) -> Runtime | None:
    """A runtime that serves Prometheus metrics when the settings name a port."""
    if not settings.worker_metrics_port:
        return None
    address = f"{settings.worker_metrics_host}:{settings.worker_metrics_port}"
    metrics = PrometheusConfig(bind_address=address, durations_as_seconds=True, counters_total_suffix=True, unit_suffix=True)
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))
