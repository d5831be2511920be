"""The relay: brings the outbox's commands to Temporal, at least once and in each workflow's order.

It outlives Temporal and PostgreSQL: while one is away it waits, says so once, and goes on when it is back. Starting twice is no fault:
a workflow that runs or has completed is left as it is, one that was stopped without having done its work begins anew
(`ALLOW_DUPLICATE_FAILED_ONLY` + `USE_EXISTING`). An update's id makes a second one answer with the first one's result.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from uuid import UUID

import psycopg
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from loops.installation import NamespaceClaim
from loops.schedule_sync import bring_in_line
from runtime import tracing
from runtime.postgres import DATABASE_AWAY, Pool, connect, notices, transaction
from runtime.pulse import pulse
from runtime.search_attributes import fitting
from runtime.temporal import TaskQueues
from runtime.temporal_limits import RPC_TIMEOUT
from storage import outbox
from storage.outbox import LeasedCommand

log = logging.getLogger(__name__)

BATCH = 50
POLL_SECONDS = 1.0
DELIVERY_SECONDS = 2 * RPC_TIMEOUT.total_seconds()
AWAY_SECONDS = 1.0
AWAY = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.RESOURCE_EXHAUSTED})


class TemporalAwayError(Exception):
    """Temporal did not answer: nothing is known about the command, so it is delivered again."""


class Relay:
    """Delivers commands. One in each worker process; leases keep several from doing the same work."""

    def __init__(
        self,
        pool: Pool,
        temporal: Client,
        queues: TaskQueues,
        session_url: str = "",
        *,
        public_url: str = "",
        claim: NamespaceClaim | None = None,
    ) -> None:
        """`claim`: for a process that starts before anybody has seen whose the namespace is; a worker has made sure when it starts."""
        self._pool = pool
        self._claim = claim
        self._public_url = public_url.rstrip("/")
        self._session_url = session_url or str(pool.conninfo)
        self._temporal = temporal
        self._queues = queues
        self._quiet_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop."""
        wake = asyncio.Event()
        listener = asyncio.create_task(self._listen(wake), name="outbox listener")
        try:
            while not stop.is_set():
                wake.clear()
                if await self._deliver_safely() == 0:
                    await _first_of(stop, wake, POLL_SECONDS)
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    def try_start(self, workflow_id: str) -> None:
        """Right after the commit: deliver this workflow's commands in the background. What fails here the relay does."""
        if asyncio.get_running_loop().time() < self._quiet_until or len(self._tasks) >= BATCH:
            return
        task = asyncio.create_task(self._try(workflow_id), name=f"try {workflow_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, workflow_id: str) -> None:
        if self._claim is not None and not await self._claim.is_ours():
            return
        with contextlib.suppress(*DATABASE_AWAY, TemporalAwayError):
            await self.deliver_batch(workflow_id=workflow_id)

    async def _deliver_safely(self) -> int:
        """How many commands were delivered; 0 also when Temporal or the database is away."""
        try:
            delivered = await self.deliver_batch()
        except (*DATABASE_AWAY, TemporalAwayError) as error:
            self._report(f"{type(error).__name__}: {error}")
            return 0
        self._report(None)
        pulse.beat("relay")
        return delivered

    def _report(self, error: str | None) -> None:
        """Log a change only: an outage of an hour is two lines."""
        if error is not None and self._error is None:
            log.warning("the outbox waits: %s", error)
        if error is None and self._error is not None:
            log.info("the outbox is served again")
        self._error = error

    async def deliver_batch(self, *, workflow_id: str | None = None) -> int:
        """Lease due commands, commit, deliver them side by side; answers how many were leased. Raises TemporalAwayError."""
        async with transaction(self._pool) as connection:
            rows = await outbox.lease_due(connection, BATCH, workflow_id=workflow_id)
        if not rows:
            return 0
        errors = await asyncio.gather(*(self._error_of(row) for row in rows))
        await self._settle(rows, errors)
        away = next((error for error in errors if isinstance(error, TemporalAwayError)), None)
        if away is not None:
            self._quiet_until = asyncio.get_running_loop().time() + AWAY_SECONDS
            raise away
        return len(rows)

    async def _settle(self, rows: Sequence[LeasedCommand], errors: Sequence[Exception | None]) -> None:
        async with transaction(self._pool) as connection:
            await outbox.mark_sent(connection, [row.outbox_id for row, error in zip(rows, errors, strict=True) if error is None])
            lost = [row.outbox_id for row, error in zip(rows, errors, strict=True) if isinstance(error, TemporalAwayError)]
            await outbox.give_back(connection, lost)
            for row, error in zip(rows, errors, strict=True):
                if error is not None and not isinstance(error, TemporalAwayError):
                    log.warning("%s %s of %s is put back: %s", row.kind, row.name, row.workflow_id, error)
                    await outbox.put_back(connection, row, f"{type(error).__name__}: {error}")

    async def _error_of(self, row: LeasedCommand) -> Exception | None:
        """Deliver one command; None when Temporal has it or needs it no more."""
        try:
            with tracing.continued(row.trace_context):
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await self._deliver(row)
        except WorkflowAlreadyStartedError:
            return None
        except WorkflowUpdateFailedError as error:
            log.warning("update %s of %s was refused: %s", row.name, row.workflow_id, error.cause)
            return None
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            return error  # no worker took it in time
        except RPCError as error:
            if row.kind == "update" and error.status is RPCStatusCode.NOT_FOUND:
                return None  # the workflow is over; what it missed stands in Postgres
            return TemporalAwayError(error.message) if error.status in AWAY else error
        except (TimeoutError, RuntimeError) as error:  # a lazy client that cannot connect raises RuntimeError
            return TemporalAwayError(str(error) or "no answer")
        except Exception as error:
            return error
        return None

    async def _deliver(self, row: LeasedCommand) -> None:
        if row.kind == "start":
            await self._start(row)
        elif row.kind == "update":
            await self._update(row)
        else:
            await bring_in_line(self._pool, self._temporal, self._queues, row.tenant_id, schedule_id=UUID(row.argument["schedule_id"]))

    async def _start(self, row: LeasedCommand) -> None:
        argument = row.argument
        attributes = [
            SearchAttributePair(SearchAttributeKey.for_keyword(name), fitting(value))
            for name, value in argument.get("attributes", {}).items()
        ]
        await self._temporal.start_workflow(
            row.name,
            argument["argument"],
            id=row.workflow_id,
            task_queue=getattr(self._queues, argument.get("task_queue", "core")),
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=TypedSearchAttributes(attributes),
            static_summary=argument.get("summary"),
            memo=self._memo(row),
            priority=Priority(priority_key=argument.get("priority", 2), fairness_key=str(row.tenant_id)),
            rpc_timeout=RPC_TIMEOUT,
        )

    def _memo(self, row: LeasedCommand) -> dict[str, str]:
        """For people who look at the workflow in Temporal's UI: whose it is, and where the console shows what it is about."""
        page = row.argument.get("page")
        return {"tenant": row.tenant_name or str(row.tenant_id)} | ({"console": self._public_url + page} if page else {})

    async def _update(self, row: LeasedCommand) -> None:
        update, _, _ = row.name.partition(":")
        handle = self._temporal.get_workflow_handle(row.workflow_id)
        await handle.execute_update(update, row.argument, id=row.name, rpc_timeout=RPC_TIMEOUT)

    async def _listen(self, wake: asyncio.Event) -> None:
        """Wake the relay at each commit with a command; polling stands in while the connection is away."""
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                async with await connect(self._session_url, "outbox") as connection:
                    await connection.execute(f"LISTEN {outbox.CHANNEL}")
                    async for _ in notices(connection):
                        wake.set()
            await asyncio.sleep(AWAY_SECONDS)


async def run_relay(
    pool: Pool, temporal: Client, queues: TaskQueues, stop: asyncio.Event, *, session_url: str = "", public_url: str = ""
) -> None:
    """Serve the outbox until `stop` is set; `session_url` is where LISTEN works, when the pool leads to a pooler."""
    await Relay(pool, temporal, queues, session_url, public_url=public_url).run(stop)


async def _first_of(stop: asyncio.Event, wake: asyncio.Event, timeout_seconds: float) -> None:
    waits = [asyncio.create_task(each.wait()) for each in (stop, wake)]
    try:
        await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
