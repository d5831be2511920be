"""The API process: one Litestar application, with the ingest path in front of it."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions.base_exceptions import LitestarDeprecationWarning
from litestar.types import ControllerRouterHandler
from temporalio.client import Client

from api import health, openapi, platform
from api.admission import AdmissionControl, guard, provide_admission, provide_principal
from api.errors import EXCEPTION_HANDLERS
from api.event import event_log as event_admin
from api.event import event_type
from api.event import ingestion as event
from api.export import Exports
from api.leaderboard import (
    board as leaderboard,
)
from api.leaderboard import (
    definition as leaderboard_admin,
)
from api.leaderboard import (
    rescore,
    snapshot,
    socket,
)
from api.leaderboard import (
    window as leaderboard_window,
)
from api.leaderboard.fast_page import FastPages
from api.middleware import MAXIMUM_BODY_BYTES, Front
from api.pagination import read_page
from api.payout import grant, schedule
from api.payout import run as payout
from api.points import adjustment, tier
from api.points import currency as ledger
from api.points import earning_rule as earning
from api.query import read_params
from api.redemption import listing, move, order, redeem, redemption, resend
from api.reward import catalog, code, reward
from api.reward import config as reward_config
from api.reward import item as reward_item
from api.tenant import audit, erasure, tenant, user
from api.tenant.credential import Authenticator
from api.tenant.token import GamerTokens
from api.webhook import delivery
from api.webhook import endpoint as webhook
from console.app import Console
from console.request import Parts
from domain import limits
from domain.errors import ValidationError
from domain.wire import convert_value, decode_json, holds_nul
from loops.database_life import following_database
from loops.installation import NamespaceClaim
from loops.relay import Relay
from runtime.crypto import Vault
from runtime.gc_tuning import tune_gc
from runtime.http import Sender
from runtime.metrics import PROCESS
from runtime.postgres import BRISK_SECONDS, Pool, make_pool
from runtime.pulse import Drain
from runtime.redis import make_redis
from runtime.settings import Settings
from runtime.shares import TurnShares
from runtime.temporal import connect, task_queues
from storage.event.log import GroupCommitWriter
from storage.leaderboard.board import Boards
from storage.leaderboard.profile import Profiles
from storage.leaderboard.rankings import Rankings
from storage.platform.rate_limit import RateLimiter
from storage.platform.readiness import Readiness

FEATURES = (
    health,
    openapi,
    tenant,
    event,
    event_type,
    event_admin,
    audit,
    user,
    tier,
    earning,
    erasure,
    platform,
    ledger,
    adjustment,
    reward,
    catalog,
    redeem,
    reward_item,
    reward_config,
    grant,
    payout,
    schedule,
    code,
    leaderboard,
    leaderboard_admin,
    leaderboard_window,
    snapshot,
    socket,
    redemption,
    move,
    listing,
    rescore,
    order,
    webhook,
    delivery,
    resend,
)
POOL_SIZES = {"api": 10, "api-credentials": 2, "api-boards": 6}
"""Each has connections of its own: boards that are read from PostgreSQL, because Redis is away, hold up neither events nor credentials."""
WAIT_SECONDS = 10.0
"""How long a request waits for its tenant's turn at most, as long as for a connection."""

INJECTED = (
    "readiness",
    "pool",
    "redis",
    "rankings",
    "reader",
    "settings",
    "temporal",
    "namespace",
    "relay",
    "sender",
    "vault",
    "authenticator",
    "exports",
    "gamer_tokens",
)
"""Resources that handlers may ask for by name."""


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is decoded as strictly as contract 1 asks, straight into what the handler's `data` is annotated with."""

    async def json(self) -> Any:
        """The body as the handler's type; raises `ValidationError` that names the field."""
        body = await self.body()
        value = decode_json(body)
        if b"\\u0000" in body and holds_nul(value):
            raise ValidationError("Text must not contain the character U+0000")
        parameter = self.route_handler.parsed_fn_signature.parameters.get("data")
        return value if parameter is None else convert_value(value, parameter.annotation)


def feature_routes() -> list[ControllerRouterHandler]:
    """The handlers of every feature: each module of `api/` named above exports `routes`."""
    return [route for feature in FEATURES for route in feature.routes]


def provide_state(name: str) -> Provide:
    """A resource of the process, injected under its name."""

    async def provide(state: State) -> Any:
        return getattr(state, name)

    return Provide(provide)


def dependencies() -> dict[str, Any]:
    """What handlers may ask for by name: of their request, and of the process."""
    of_request: dict[str, Any] = {"principal": provide_principal, "admission": provide_admission, "page": read_page, "params": read_params}
    return {name: Provide(find) for name, find in of_request.items()} | {name: provide_state(name) for name in INJECTED}


def make_pools(settings: Settings) -> list[Pool]:
    """The closed pools of `POOL_SIZES`, in its order."""
    pools = [
        make_pool(settings.database_url, name, max_size=size, answer_seconds=BRISK_SECONDS, pooled=settings.pooled)
        for name, size in POOL_SIZES.items()
    ]
    pools[0].shares = TurnShares(
        alone=limits.ALONE_AT_ONCE.value, beside=limits.AT_ONCE.value, waiting=limits.AT_ONCE_WAITING.value, wait_seconds=WAIT_SECONDS
    )
    PROCESS.watch(*pools)
    return pools


@asynccontextmanager
async def opened(*pools: Pool) -> AsyncIterator[None]:
    """Pools that are open for as long as the process serves."""
    for pool in pools:
        await pool.open()
    try:
        yield
    finally:
        for pool in pools:
            await pool.close()


def relay_of(settings: Settings, pool: Pool, temporal: Client, claim: NamespaceClaim) -> Relay:
    """What brings a request's command to Temporal right after its commit."""
    return Relay(pool, temporal, task_queues(settings), settings.session_url, public_url=settings.public_url, claim=claim)


def create_app(settings: Settings, drain: Drain | None = None) -> Front:
    """The whole API as an ASGI application. Nothing is opened before its lifespan starts. `drain` tells when the process is to leave."""
    pool, credentials, boards = make_pools(settings)
    rankings = Rankings(redis := make_redis(settings))
    authenticator = Authenticator(settings, credentials, RateLimiter(redis, settings.rate_limit_per_second))
    reader = leaderboard.BoardReader(Boards(boards, rankings), Profiles(boards, settings.session_url))
    writer = GroupCommitWriter(settings)
    control = AdmissionControl(authenticator, authenticator.guesses, settings.operator_key)
    ingest = event.Ingest(control, authenticator, writer, types=event_type.TypeMemory(pool), pool=pool)
    sockets = socket.Sockets(settings, reader, redis, control)
    resources: dict[str, Any] = {
        "ingest": ingest,
        "settings": settings,
        "pool": pool,
        "readiness": Readiness(pool, settings.scoring_partitions, drain or Drain()),
        "redis": redis,
        "rankings": rankings,
        "reader": reader,
        "admission_control": control,
        "authenticator": authenticator,
        "exports": Exports(),
        "gamer_tokens": GamerTokens(settings),
        "writer": writer,
        "sender": Sender(settings.webhook_allow_cidrs),
        "vault": Vault(settings.secret_key, settings.secret_key_previous),
    }

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await pool.open()
        await writer.start()
        await sockets.start()
        app.state.temporal = await connect(settings, lazy=True)
        app.state.namespace = NamespaceClaim(pool, app.state.temporal)
        app.state.relay = relay_of(settings, pool, app.state.temporal, app.state.namespace)
        tune_gc()
        try:
            yield
        finally:
            await sockets.stop()
            await writer.stop()
            await reader.profiles.close()
            await redis.aclose()
            await pool.close()

    config = AppConfig(
        route_handlers=feature_routes(),
        state=State(resources),
        lifespan=[lambda _app: opened(credentials, boards), lifespan, lambda _app: following_database(pool, rankings)],
        guards=[guard],
        dependencies=dependencies(),
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=StrictRequest,
        request_max_body_size=MAXIMUM_BODY_BYTES,
        openapi_config=openapi.CONFIG,
        plugins=[openapi.StructsInBook()],
    )
    with warnings.catch_warnings():
        # The names by which handlers ask for what is injected are those of Litestar 2, to which the project is pinned.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        app = Litestar.from_config(config)
    app.state.query_names = openapi.query_names(app)
    secret = resources["vault"].derive("console")
    parts = Parts(settings=settings, pool=pool, app=app, admit=control.admit_console, secret=secret, temporal=lambda: app.state.temporal)
    return Front(app, ingest, FastPages(control, reader), sockets, authenticator=authenticator, console=Console(parts), settings=settings)
