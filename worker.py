"""The worker process: every workflow and activity, and what they need, put together in one place."""

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import msgspec
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import FixedSizeSlotSupplier, Worker, WorkerTuner

from activities.endpoint import EndpointActivities
from activities.erasure import ErasureActivities
from activities.payout import PayoutActivities
from activities.platform import PlatformActivities
from activities.redemption import RedemptionActivities
from activities.rescore import RescoreActivities
from activities.schedule import ScheduleActivities
from activities.scoring import ScoringActivities
from activities.tenant_turn import TenantTurns
from activities.webhook import WebhookActivities
from activities.window import WindowActivities
from domain import limits
from loops.dashboard_rollup import run_dashboard_rollup
from loops.database_life import follow_database
from loops.gauges import run_gauges
from loops.installation import NotSetUpError, claim_for
from loops.provisioning import run_provisioning
from loops.relay import run_relay
from loops.schedule_sync import run_schedule_keeper
from loops.scoring.pump_share import PumpShare, PumpSlots
from loops.statistics import run_statistics
from loops.sweep import run_sweep
from runtime import postgres, temporal
from runtime.crypto import Vault
from runtime.gc_tuning import tune_gc
from runtime.http import Sender
from runtime.metrics import PROCESS
from runtime.postgres import DATABASE_ERRORS, Pool, make_pool
from runtime.pulse import HealthServer, pulse
from runtime.redis import Redis, make_redis
from runtime.settings import Settings
from runtime.shares import TurnShares
from runtime.tasks import pause
from runtime.temporal import TaskQueues
from storage.leaderboard.rankings import Rankings
from storage.platform.readiness import PROBE_SECONDS, Readiness
from workflows.endpoint import EndpointWorkflow
from workflows.erasure import EraseUserWorkflow
from workflows.payout import PayoutRunWorkflow
from workflows.permanent import ensure_permanent, put_permanent
from workflows.platform import PlatformTaskWorkflow
from workflows.redemption import RedemptionWorkflow
from workflows.rescore import RescoreWorkflow
from workflows.reversal import RedemptionReversalWorkflow
from workflows.schedule import PayoutScheduleWorkflow
from workflows.scoring import ScoringWorkflow
from workflows.window import LeaderboardWindowWorkflow

log = logging.getLogger("worker")
RECONNECT_SECONDS = 1.0
# What is cut off is safe: cursor, attempt rows and leases know how far each thing came. Sends get LAUREL_WORKER_DRAIN_SECONDS.
GRACEFUL_SHUTDOWN = timedelta(seconds=3)
LONGEST_PAUSE_SECONDS = 30.0
LATE_SECONDS = 60.0
"""A loop that has not ended a round for this long is overdue; those that pause for longer get a multiple of it."""
# The pumps hold one connection each; the other activities hold theirs for a transaction only.
POOL_SIZE = 32
CORE_ACTIVITIES = 16
# A send holds no connection while it waits for the partner, and at most eight of them wait for one endpoint.
WEBHOOK_ACTIVITIES = 256
# A pump that waits costs a heartbeat every few seconds and nothing else; each endpoint has one, and beyond this number they take turns.
ENDPOINT_PUMPS = limits.ENDPOINT_PUMPS.value
# Windows that end together wait for one barrier, each in a slot of its own that costs nothing but memory.
WINDOW_ACTIVITIES = 1000
# What waits for its tenant's turn costs memory only; the pages themselves work PostgreSQL without a pause.
PAYOUT_ACTIVITIES = 500
PAYOUT_CONNECTIONS = 4
POOLS = {"worker": POOL_SIZE, "worker-payouts": PAYOUT_CONNECTIONS}
# Python runs one at a time, and what a worker has taken stands in its line, first come first served: the rest Temporal hands out by tenant.
# Fewer would be fairer still and cost half of the throughput, as forgetting workflows between their tasks does.
WORKFLOW_TASKS = 16
# An instant is a moment's work, and following a run costs a look a second.
SCHEDULE_ACTIVITIES = 200
# The scoring workflows notice a dead worker after 8 s without a heartbeat, so heartbeats must not be gathered for long.
HEARTBEAT_THROTTLE = timedelta(seconds=1)


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What the activities work with."""

    settings: Settings
    client: Client
    queues: TaskQueues
    pool: Pool
    payouts: Pool
    redis: Redis
    rankings: Rankings

    @property
    def vault(self) -> Vault:
        """Opens the secrets of endpoints."""
        return Vault(self.settings.secret_key, self.settings.secret_key_previous)

    @property
    def graceful(self) -> timedelta:
        """So long a send in flight may take to end: what is cut off there, the partner gets twice."""
        return timedelta(seconds=self.settings.worker_drain_seconds)


async def run(settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT. Waits for Temporal as long as it is away."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await connect(settings, stop)
    if client is None:
        return
    async with open_resources(settings, client) as resources, AsyncExitStack() as running:
        workers = [core_worker(resources), maintenance_worker(resources), webhook_worker(resources), endpoint_worker(resources)]
        share = PumpShare(settings.session_url, settings.scoring_partitions)
        scoring = ScoringActivities(resources.pool, resources.rankings, settings.session_url, share)
        running.push_async_callback(scoring.close)  # after the workers have shut down
        workers += [window_worker(resources), scoring_worker(resources, share, scoring)]
        workers += [payout_worker(resources), schedule_worker(resources)]
        for each in workers:
            await running.enter_async_context(each)
        tune_gc()
        ready()
        log.info("the worker takes tasks from %s", ", ".join(each.task_queue for each in workers))
        async with telling_health(resources):
            await keep_books(resources, share, stop)
        log.info("the worker stops")
        await asyncio.gather(*(each.shutdown() for each in workers))  # side by side: a partner's slow answer keeps nothing else


async def keep_books(resources: Resources, share: PumpShare, stop: asyncio.Event) -> None:
    """Run relay, sweep, rollup, provisioning and schedules until `stop`. None of them ends the process, whatever befalls it."""
    pool, client, queues, settings = resources.pool, resources.client, resources.queues, resources.settings
    ensure = functools.partial(ensure_started, settings, client)
    addresses = {"session_url": settings.session_url, "public_url": settings.public_url}
    loops: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
        "relay": (LATE_SECONDS, lambda: run_relay(pool, client, queues, stop, **addresses)),
        "sweep": (4 * LATE_SECONDS, lambda: run_sweep(pool, client, queues, stop)),
        "dashboard-rollup": (LATE_SECONDS, lambda: run_dashboard_rollup(pool, settings.scoring_partitions, stop)),
        "provisioning": (3 * LATE_SECONDS, lambda: run_provisioning(pool, resources.redis, ensure, stop)),
        "schedules": (LATE_SECONDS, lambda: run_schedule_keeper(pool, client, queues, stop)),
        "gauges": (2 * LATE_SECONDS, lambda: run_gauges(pool, stop)),
        "statistics": (2 * LATE_SECONDS, lambda: run_statistics(pool, stop)),
        "share": (LATE_SECONDS, lambda: share.run(stop)),
        "database-life": (LATE_SECONDS, lambda: follow_database(pool, resources.rankings, stop)),
    }
    async with asyncio.TaskGroup() as group:
        for name, (within, run_loop) in loops.items():
            pulse.expect(name, within)
            group.create_task(keep_up(name, run_loop, stop), name=name)


async def keep_up(name: str, run_loop: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run a loop again when it fails, with growing pauses: the health says that it is overdue, and the rest goes on."""
    wait = RECONNECT_SECONDS
    while not stop.is_set():
        try:
            await run_loop()
        except Exception:
            log.exception("%s failed and is started again in %.0f s", name, wait)
            await pause(stop, wait)
            wait = min(LONGEST_PAUSE_SECONDS, 2 * wait)


@contextlib.asynccontextmanager
async def telling_health(resources: Resources) -> AsyncIterator[None]:
    """Serve `/health` while the worker runs, when the settings name a port: whether it works, not only whether it runs."""
    settings = resources.settings
    readiness = Readiness(resources.pool, settings.scoring_partitions)

    async def temporal_reason() -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await resources.client.service_client.check_health(timeout=timedelta(seconds=PROBE_SECONDS))
        except (RPCError, RuntimeError, OSError):
            return "away"
        return ""

    PROCESS.watch(resources.pool, resources.payouts, loops=pulse)
    server = HealthServer({"postgres": readiness.reason, "temporal": temporal_reason})
    if settings.worker_health_port:
        await server.start(settings.worker_metrics_host, settings.worker_health_port)
    try:
        yield
    finally:
        await server.stop()


async def ensure_started(settings: Settings, client: Client) -> None:
    """Start what is missing in Temporal: the marker, scoring workflows, and the platform's schedules that somebody deleted."""
    await claim(settings, client)
    await ensure_permanent(client, temporal.task_queues(settings), settings.scoring_partitions)


async def connect(settings: Settings, stop: asyncio.Event) -> Client | None:
    """A connected client, once the namespace and the scoring workflows are as we need them; None when told to stop before that.

    Raises `ForeignNamespaceError` when the namespace is another installation's: a worker that went on would do the other's work.
    """
    runtime = temporal.telemetry(settings)
    while not stop.is_set():
        try:
            client = await temporal.connect(settings, runtime=runtime)
            await claim(settings, client)
            if settings.temporal_manage_namespace == "on":
                await temporal.prepare_namespace(client, settings)
            await put_permanent(client, temporal.task_queues(settings), settings.scoring_partitions)
        except (RuntimeError, RPCError, OSError) as error:
            log.warning("Temporal at %s is not there yet: %s", settings.temporal_address, error)
        except (NotSetUpError, *DATABASE_ERRORS) as error:
            log.warning("the database is not there yet: %s", error)
        else:
            return client
        await pause(stop, RECONNECT_SECONDS)
    return None


async def claim(settings: Settings, client: Client) -> None:
    """Make sure that the namespace is the installation's whose database the settings name."""
    async with await postgres.connect(settings.session_url, "installation") as connection:
        await claim_for(connection, client)


@contextlib.asynccontextmanager
async def open_resources(settings: Settings, client: Client) -> AsyncIterator[Resources]:
    """The pool and the Redis client, closed at the end of the block."""
    pool, payouts = (make_pool(settings.database_url, name, max_size=size, pooled=settings.pooled) for name, size in POOLS.items())
    pool.shares = TurnShares(alone=POOL_SIZE // 2, beside=limits.ACTIVITIES_AT_ONCE.value)
    payouts.shares = TurnShares(alone=PAYOUT_CONNECTIONS, beside=1)
    redis = make_redis(settings)
    try:
        await pool.open()
        await payouts.open()
        yield Resources(
            settings=settings,
            client=client,
            queues=temporal.task_queues(settings),
            pool=pool,
            payouts=payouts,
            redis=redis,
            rankings=Rankings(redis),
        )
    finally:
        await redis.aclose()
        await payouts.close()
        await pool.close()


def core_worker(resources: Resources) -> Worker:
    """The workflows of redemptions, and their transactions.

    Also the workflows that began before their kinds had queues of their own: they go on here, behind the orders as ever.
    """
    redemption = RedemptionActivities(resources.pool)
    return _worker(
        resources,
        resources.queues.core,
        workflows=[
            *(RedemptionWorkflow, RedemptionReversalWorkflow),
            *(EndpointWorkflow, EraseUserWorkflow, LeaderboardWindowWorkflow, PayoutRunWorkflow),
            *(PayoutScheduleWorkflow, PlatformTaskWorkflow, RescoreWorkflow),
        ],
        activities=[redemption.begin, redemption.settle, *_maintenance_activities(resources)],
        slots=CORE_ACTIVITIES,
    )


def maintenance_worker(resources: Resources) -> Worker:
    """Erasures and the platform's own tasks, which take long: apart from the orders' transactions, which are waited for."""
    queue, workflows = resources.queues.chores, (EraseUserWorkflow, PlatformTaskWorkflow)
    return _worker(resources, queue, workflows=workflows, activities=_maintenance_activities(resources), slots=CORE_ACTIVITIES)


def _maintenance_activities(resources: Resources) -> list[Callable[..., Any]]:
    platform = PlatformActivities(resources.pool, resources.settings.event_retention_days)
    erasure = ErasureActivities(resources.pool, resources.rankings, resources.settings.scoring_partitions)
    return [erasure.settle, erasure.scrub_events, erasure.leave_boards, erasure.scrub_documents, erasure.complete, platform.run]


def webhook_worker(resources: Resources) -> Worker:
    """Partners' slow HTTP, in a queue of its own, so that it holds nothing up."""
    webhook = WebhookActivities(resources.pool, resources.vault, Sender(resources.settings.webhook_allow_cidrs))
    return _worker(
        resources,
        resources.queues.webhooks,
        activities=[webhook.send],
        slots=WEBHOOK_ACTIVITIES,
        graceful=resources.graceful,
        heartbeat_throttle=HEARTBEAT_THROTTLE,
    )


def endpoint_worker(resources: Resources) -> Worker:
    """The endpoints' pumps, apart from the fulfilment webhooks: however many copies a dead endpoint is owed, those go on."""
    settings = resources.settings
    endpoint = EndpointActivities(resources.pool, resources.vault, Sender(settings.webhook_allow_cidrs), settings.session_url)
    return _worker(
        resources,
        resources.queues.endpoints,
        workflows=[EndpointWorkflow],
        activities=[endpoint.pump],
        slots=ENDPOINT_PUMPS,
        graceful=resources.graceful,
    )


def window_worker(resources: Resources) -> Worker:
    """The ends of windows and their rescores: thousands may end at midnight, in front of nobody."""
    window = WindowActivities(resources.pool, resources.rankings)
    rescore = RescoreActivities(resources.pool, resources.rankings)
    return _worker(
        resources,
        resources.queues.windows,
        workflows=[LeaderboardWindowWorkflow, RescoreWorkflow],
        activities=[
            *(window.plan, window.open_next, window.close_early, window.pass_barrier, window.freeze),
            *(rescore.read, rescore.switch, rescore.give_up, rescore.clear),
        ],
        slots=WINDOW_ACTIVITIES,
    )


def payout_worker(resources: Resources) -> Worker:
    """Payouts, in a queue of their own: however many are paid, what users do goes on, and the reverse."""
    payout = PayoutActivities(resources.payouts)
    steps = (payout.plan, payout.pay, payout.finish, payout.fail)
    return _worker(resources, resources.queues.payouts, workflows=[PayoutRunWorkflow], activities=steps, slots=PAYOUT_ACTIVITIES)


def schedule_worker(resources: Resources) -> Worker:
    """Instants of schedules, apart from the pages of their runs: one that follows a run must not stand in its way."""
    schedule = ScheduleActivities(resources.pool)
    steps = (schedule.claim, schedule.follow)
    return _worker(resources, resources.queues.schedules, workflows=[PayoutScheduleWorkflow], activities=steps, slots=SCHEDULE_ACTIVITIES)


def _worker(
    resources: Resources,
    task_queue: str,
    *,
    activities: Sequence[Callable[..., Any]],
    slots: int,
    workflows: Sequence[type] = (),
    graceful: timedelta = GRACEFUL_SHUTDOWN,
    heartbeat_throttle: timedelta = timedelta(seconds=60),
) -> Worker:
    """What takes a queue's tasks, so many activities at a time. Queues of their own for the workflow tasks, too, keep all else from waiting
    behind redemptions that come faster than they are worked off."""
    return Worker(
        resources.client,
        task_queue=task_queue,
        deployment_config=temporal.deployment(resources.settings),
        workflows=workflows,
        activities=activities,
        interceptors=[TenantTurns()],
        max_concurrent_workflow_tasks=WORKFLOW_TASKS,
        max_concurrent_activities=slots,
        max_heartbeat_throttle_interval=heartbeat_throttle,
        graceful_shutdown_timeout=graceful,
    )


def scoring_worker(resources: Resources, share: PumpShare, scoring: ScoringActivities) -> Worker:
    """The pumps: at most one for each partition, running for hours; no more than the process's share of them."""
    tuner = WorkerTuner.create_composite(
        workflow_supplier=FixedSizeSlotSupplier(8),
        activity_supplier=PumpSlots(share),
        local_activity_supplier=FixedSizeSlotSupplier(1),
        nexus_supplier=FixedSizeSlotSupplier(1),
    )
    return Worker(
        resources.client,
        task_queue=resources.queues.scoring,
        deployment_config=temporal.deployment(resources.settings),
        workflows=[ScoringWorkflow],
        activities=[scoring.score_partition],
        tuner=tuner,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


def main(settings: Settings, ready: Callable[[], None] = lambda: None) -> None:
    """Run the worker process to its end."""
    uvloop.run(run(settings, ready))
