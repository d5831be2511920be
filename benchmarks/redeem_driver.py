"""The floor of a redemption: its own SQL, replayed by a bare driver without HTTP, authentication, decisions and validation.

A process of its own. It lets the product redeem once, writes down every statement with its parameters, rolls that back, and then sends
the same statements for other users with fresh ids, as the product does: in a pipeline, rows read where the product reads them.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec
import psycopg
import uvloop
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from benchmarks.driver import METER_SECONDS
from benchmarks.load import Loaded, cpu_seconds, quantile
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, connect
from storage.store import Order, redeem


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Whose points are spent on what, over how many connections, for how long."""

    database_url: str
    tenant_id: UUID
    slug: str
    users: list[str]
    connections: int
    seconds: float
    warmup_seconds: float = 0.5


class Statement(msgspec.Struct):
    """One statement as the product sent it; `read` says whether it looked at the rows."""

    query: Any
    parameters: Any
    read: bool = False


class Abandoned(Exception):
    """Takes the recorded redemption back."""


class Recorder(psycopg.AsyncCursor[DictRow]):
    """A cursor that writes down what it is asked to do."""

    statements: ClassVar[list[Statement]] = []

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Note the statement, then run it."""
        self.statement = Statement(query, params)
        self.statements.append(self.statement)
        return await super().execute(query, params, **options)

    async def fetchone(self) -> Any:
        """Note that the rows were looked at."""
        self.statement.read = True
        return await super().fetchone()

    async def fetchall(self) -> Any:
        """Note that the rows were looked at."""
        self.statement.read = True
        return await super().fetchall()


class Script:
    """The recorded statements, and what in their parameters belongs to one user or to one redemption."""

    def __init__(self, statements: list[Statement], owner: str, ids: Mapping[str, tuple[UUID, UUID]], fixed: set[UUID]) -> None:
        self.statements = statements
        self.owner = owner
        self.ids = ids
        own = set(ids[owner])
        found = {value for statement in statements for value in values_of(statement.parameters) if isinstance(value, UUID)}
        self.fresh = found - own - fixed

    def parameters_for(self, user: str) -> list[Any]:
        """The parameters of all statements for another user and a new redemption."""
        uuids = dict(zip(self.ids[self.owner], self.ids[user], strict=True)) | {old: new_id() for old in self.fresh}
        texts = {str(old): str(new) for old, new in uuids.items()} | {self.owner: user}
        return [replaced(statement.parameters, uuids, texts) for statement in self.statements]


def values_of(parameters: Any) -> list[Any]:
    """All single values of a statement's parameters."""
    if parameters is None:
        return []
    return list(parameters.values()) if isinstance(parameters, Mapping) else list(parameters)


def replaced(value: Any, uuids: Mapping[UUID, UUID], texts: Mapping[str, str]) -> Any:
    """The value with every id and every text of the recorded redemption exchanged, also inside JSON."""
    if isinstance(value, UUID):
        return uuids.get(value, value)
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, Jsonb):
        return Jsonb(replaced(value.obj, uuids, texts))
    if isinstance(value, Mapping):
        return {name: replaced(item, uuids, texts) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, uuids, texts) for item in value]
    return value


async def record(connection: Connection, plan: Plan) -> Script:
    """Redeem once, write it down, take it back."""
    plain = connection.cursor_factory
    found = await connection.execute(
        "SELECT external_id, u.user_id, account_id FROM app_user AS u JOIN account AS a USING (tenant_id, user_id)"
        " WHERE u.tenant_id = %s AND external_id = ANY(%s) AND currency_id = 'points'",
        (plan.tenant_id, plan.users),
    )
    ids = {row["external_id"]: (row["user_id"], row["account_id"]) for row in await found.fetchall()}
    found = await connection.execute("SELECT reward_id FROM reward WHERE tenant_id = %s AND slug = %s", (plan.tenant_id, plan.slug))
    reward = await found.fetchone()
    assert reward is not None
    order = Order(external_user_id=plan.users[0], slug=plan.slug, by="api_key:bench")
    connection.cursor_factory = Recorder
    Recorder.statements = []
    try:
        async with connection.transaction():
            await redeem(connection, plan.tenant_id, order, utc_now())
            raise Abandoned
    except Abandoned:
        pass
    connection.cursor_factory = plain
    return Script(list(Recorder.statements), plan.users[0], ids, {plan.tenant_id, reward["reward_id"]})


class Progress:
    """What all connections have done so far."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.begun = 0
        self.active = True


async def replay(connection: Connection, plan: Plan, script: Script, progress: Progress) -> None:
    """Redeem for one user after the other until the time is up."""
    while progress.active:
        user = plan.users[progress.begun % len(plan.users)]
        progress.begun += 1
        parameters = script.parameters_for(user)
        began = time.perf_counter()
        async with connection.pipeline(), connection.transaction():
            for statement, values in zip(script.statements, parameters, strict=True):
                cursor = await connection.execute(statement.query, values)
                if statement.read:
                    await cursor.fetchone()
        progress.latencies.append(time.perf_counter() - began)


async def drive(plan: Plan) -> Loaded:
    """Run the plan to its end and say what was redeemed."""
    connections = [await connect(plan.database_url, "bench") for _ in range(plan.connections)]
    script = await record(connections[0], plan)
    progress = Progress()
    tasks = [asyncio.create_task(replay(connection, plan, script, progress)) for connection in connections]
    await asyncio.sleep(plan.warmup_seconds)
    first, began, cpu_began = len(progress.latencies), time.perf_counter(), cpu_seconds()
    print("begin", flush=True)
    await asyncio.sleep(plan.seconds)
    last, seconds, cpu = len(progress.latencies), time.perf_counter() - began, cpu_seconds() - cpu_began
    print("end", flush=True)
    progress.active = False
    await asyncio.gather(*tasks)
    await asyncio.sleep(METER_SECONDS)
    for connection in connections:
        await connection.close()
    latencies = sorted(progress.latencies[first:last])
    return Loaded(
        requests=last - first,
        failures=0,
        seconds=seconds,
        p50_ms=quantile(latencies, 0.50) * 1000,
        p99_ms=quantile(latencies, 0.99) * 1000,
        cpu_seconds=cpu,
        sent_in_all=progress.begun,
    )


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    print(msgspec.json.encode(uvloop.run(drive(planned))).decode(), flush=True)
