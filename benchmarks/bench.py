"""What every part of the suite works with: the stack, a tenant of its own, and how long to measure."""

import asyncio
import itertools
from collections.abc import Iterator
from uuid import UUID

import httpx
import msgspec
import psycopg

from benchmarks.load import Load
from benchmarks.measure import Meter, Sample, run_load
from benchmarks.stack import Server, Stack
from stack.data_directory import Keys
from stack.demo_tenant import ensure_demo_tenant, fill_in
from stack.migrate import bring_up_to_date

TOKEN_LENGTH = 14
LOG_TABLES = "event_log, event_key"


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite. `seconds` is the length of one measurement; `members` the size of the board that is read."""

    stack: Stack
    tenant_id: UUID
    api_key: str
    seconds: float
    members: int
    quick: bool
    runs: Iterator[int]

    def token_prefix(self) -> str:
        """What no earlier measurement has put before its event ids; with nine digits behind it, `TOKEN_LENGTH` characters."""
        return f"{next(self.runs):04d}-"

    def drive(
        self, server: Server, requests: list[list[str]], *, status: int, connections: int = 64, units: int = 1, seconds: float | None = None
    ) -> Sample:
        """Drive a server with these requests in turn, for `bench.seconds` unless told otherwise."""
        load = Load(
            port=server.port,
            connections=connections,
            seconds=seconds or self.seconds,
            requests=requests,
            status=status,
            token_prefix=self.token_prefix(),
        )
        return run_load(load, server.meter, units)

    def empty_log(self) -> None:
        """Delete all events, so that each measurement begins with the same tables. Users stay."""
        with psycopg.connect(self.stack.settings.database_url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {LOG_TABLES}".encode())
            connection.execute("CHECKPOINT")

    def admin(self, server: Server) -> httpx.Client:
        """A client with the tenant's key, to set the stage over the public API."""
        return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": f"Bearer {self.api_key}"}, timeout=30.0)

    @property
    def meter(self) -> Meter:
        """A meter of the stack's own parts."""
        return self.stack.meter()


def prepare(stack: Stack, *, quick: bool) -> Bench:
    """Migrate, make a tenant as `laurel up` makes its own, and answer what the parts need."""
    bring_up_to_date(stack.settings)
    keys = Keys(secret_key=stack.settings.secret_key, operator_key=stack.settings.operator_key, postgres_password="", redis_password="")
    fill_in(keys)
    asyncio.run(ensure_demo_tenant(stack.settings, keys))
    return Bench(
        stack=stack,
        tenant_id=UUID(keys.tenant_id),
        api_key=keys.api_key,
        seconds=1.0 if quick else 5.0,
        members=100_000 if quick else 1_000_000,
        quick=quick,
        runs=itertools.count(1),
    )
