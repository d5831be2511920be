"""The API process: one Litestar application, with the ingest path in front of it."""

import gc
import importlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp, ControllerRouterHandler

from api.auth import provide_admission, provide_principal
from api.credential import Authenticator
from api.errors import EXCEPTION_HANDLERS, fault_of_decoding
from api.middleware import MAXIMUM_BODY_BYTES, Front
from api.pagination import read_page
from domain.error import ValidationFault
from runtime.postgres import make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from runtime.temporal import connect

FEATURES = ("health", "openapi", "tenant", "event", "user", "reward", "redemption", "webhook", "earning", "ledger", "leaderboard")
"""Each of these modules of `api/` exports `routes`."""
LARGEST_INTEGER = 2**53 - 1
SUSPICIOUS = re.compile(rb"\\u0000|[0-9]{16}")
POOL_SIZE = 10


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is decoded as strictly as contract 1 asks, straight into what the handler's `data` is annotated with."""

    async def json(self) -> Any:
        """The body as the handler's type; raises `ValidationFault` that names the field."""
        body = await self.body()
        parameter = self.route_handler.parsed_fn_signature.parameters.get("data")
        try:
            if SUSPICIOUS.search(body):
                check_values(msgspec.json.decode(body))
            return msgspec.json.decode(body, type=Any if parameter is None else parameter.annotation)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise fault_of_decoding(fault) from None


def check_values(value: Any) -> None:
    """Raise `ValidationFault` for an integer that a JSON number cannot hold exactly, and for U+0000, which Postgres cannot keep."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValidationFault("Text may not hold the character U+0000")
    elif isinstance(value, dict):
        for name, item in value.items():
            check_values(name)
            check_values(item)
    elif isinstance(value, list):
        for item in value:
            check_values(item)
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValidationFault("Integers may not be beyond 2^53-1")


def feature_routes(features: Sequence[str]) -> list[ControllerRouterHandler]:
    """The handlers of every feature."""
    return [route for feature in features for route in importlib.import_module(f"api.{feature}").routes]


def create_app(settings: Settings) -> ASGIApp:
    """The whole API as an ASGI application. Nothing is opened before its lifespan starts."""
    pool = make_pool(settings.database_url, "api", max_size=POOL_SIZE)
    authenticator = Authenticator(settings, pool)
    redis = make_redis(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await pool.open()
        app.state.temporal = await connect(settings, lazy=True)
        gc.collect()
        gc.freeze()  # what lives since the start lives to the end: do not look at it again (docs/performance.md)
        gc.set_threshold(50_000, 20, 50)
        try:
            yield
        finally:
            gc.unfreeze()
            await redis.aclose()
            await pool.close()

    def provide_state(name: str) -> Provide:
        async def provide(state: State) -> Any:
            return getattr(state, name)

        return Provide(provide)

    config = AppConfig(
        route_handlers=feature_routes(FEATURES),
        state=State({"settings": settings, "pool": pool, "redis": redis, "admit": authenticator, "authenticator": authenticator}),
        lifespan=[lifespan],
        dependencies={
            "principal": Provide(provide_principal),
            "admission": Provide(provide_admission),
            "page": Provide(read_page),
            **{name: provide_state(name) for name in ("pool", "redis", "live", "settings", "temporal", "authenticator")},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=StrictRequest,
        request_max_body_size=MAXIMUM_BODY_BYTES,
        openapi_config=None,
    )
    app = Litestar.from_config(config)
    return Front(app, settings, authenticator)
