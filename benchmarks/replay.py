"""The floor of a redemption and of its callback: their own SQL, replayed by a bare driver without HTTP, authentication and decisions.

A process of its own. It lets the product do its work once, writes down every statement with its parameters, rolls that back, and then
sends the same statements for other users with fresh ids, as the product does: in a pipeline, rows read where the product reads them.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

import msgspec
import psycopg
import uvloop
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from benchmarks.closed_loop import Progress, drive
from benchmarks.load import Loaded
from domain.redemption.redemption import read_callback
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, connect
from storage.redemption.move import move_redemption
from storage.redemption.redeem import RedeemRequest, redeem
from storage.redemption.redemption import document_of

CALLBACK = {"status": "fulfilled", "fulfillment_data": {"tracking": "1Z999"}}


Work = Literal["redeem", "callback"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Whose points are spent on what, or whose redemptions of it are called back; over how many connections, for how long."""

    database_url: str
    tenant_id: UUID
    slug: str
    users: list[str]
    connections: int
    seconds: float
    work: Work


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
    """The recorded statements, and what in their parameters belongs to one user, or is new each time."""

    def __init__(self, statements: list[Statement], owner: str, ids: Mapping[str, tuple[UUID, ...]], fixed: set[UUID]) -> None:
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


USERS = """
SELECT external_id, u.user_id, account_id, redemption_id FROM app_user AS u JOIN account AS a USING (tenant_id, user_id)
LEFT JOIN redemption AS r USING (tenant_id, user_id)
WHERE u.tenant_id = %s AND u.external_id = ANY(%s) AND a.currency_id = 'points'
"""


async def record(connection: Connection, plan: Plan) -> Script:
    """Do it once for the first user, write it down, take it back."""
    plain = connection.cursor_factory
    found = await connection.execute(USERS, (plan.tenant_id, plan.users))
    ids: dict[str, tuple[UUID, ...]] = {}
    for row in await found.fetchall():
        redemption = () if plan.work == "redeem" else (row["redemption_id"],)
        ids[row["external_id"]] = (row["user_id"], row["account_id"], *redemption)
    found = await connection.execute("SELECT reward_id FROM reward WHERE tenant_id = %s AND slug = %s", (plan.tenant_id, plan.slug))
    reward = await found.fetchone()
    assert reward is not None
    first = plan.users[0]
    connection.cursor_factory = Recorder
    Recorder.statements = []
    try:
        async with connection.transaction():
            if plan.work == "redeem":
                await redeem(
                    connection, plan.tenant_id, RedeemRequest(external_user_id=first, slug=plan.slug, by="api_key:bench"), utc_now()
                )
            else:
                move = read_callback(CALLBACK, "api_key:bench")
                await move_redemption(connection, plan.tenant_id, ids[first][-1], move, now=utc_now())
                await document_of(connection, plan.tenant_id, ids[first][-1])
            raise Abandoned
    except Abandoned:
        pass
    connection.cursor_factory = plain
    return Script(list(Recorder.statements), first, ids, {plan.tenant_id, reward["reward_id"]})


async def replay(connection: Connection, plan: Plan, script: Script, progress: Progress) -> None:
    """Do it for one user after the other until the time is up; a callback comes once for each."""
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


async def run(plan: Plan) -> Loaded:
    """Run the plan to its end and say how often it was done."""
    connections = [await connect(plan.database_url, "bench") for _ in range(plan.connections)]
    script = await record(connections[0], plan)
    progress = Progress()
    loaded = await drive([replay(connection, plan, script, progress) for connection in connections], progress, plan.seconds)
    for connection in connections:
        await connection.close()
    return loaded


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    print(msgspec.json.encode(uvloop.run(run(planned))).decode(), flush=True)
