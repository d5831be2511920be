"""The floor of ingestion: the writer's own statement, sent by a bare driver, without HTTP, authentication and validation.

A process of its own. Reads one `Plan` from standard input and answers as the load generator does.
"""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import uvloop

from benchmarks import event
from benchmarks.closed_loop import Progress, drive
from benchmarks.load import Loaded
from runtime.ids import new_id
from runtime.postgres import Connection, connect

# `%b`: binary parameters; as text, arrays of bytes and instants would cost the client five times as much.
APPEND = """
    SELECT append_events(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::uuid[], %b::text[], %b::timestamptz[],
                         %b::bytea[], %s)
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """So many connections, each of which commits batches of `batch` events one after the other."""

    database_url: str
    tenant_id: UUID
    connections: int
    batch: int
    seconds: float
    token_prefix: str
    scoring_partitions: int


class Batches(Progress):
    """What all connections have done so far, and what batches are made of."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.names = [event.user(n) for n in range(max(size, event.USERS))]
        self.bodies = [event.text(event.MARK, name, n).encode().split(b"\0") for n, name in enumerate(self.names)]


async def write(plan: Plan, connection: Connection, users: dict[str, UUID], progress: Batches) -> None:
    """Commit batch after batch until the time is up. Making the batch is not part of its latency."""
    while progress.active:
        rows = batch(plan, users, progress)
        began = time.perf_counter()
        await connection.execute(APPEND, rows)
        progress.latencies.append(time.perf_counter() - began)


def batch(plan: Plan, users: dict[str, UUID], progress: Batches) -> Sequence[Any]:
    """The columns of one batch, in the order of `append_events`: new keys, known users, bodies cut from prepared bytes."""
    first, size = progress.begun * plan.batch, plan.batch
    progress.begun += 1
    numbers = [number % len(progress.names) for number in range(first, first + size)]
    names = [progress.names[number] for number in numbers]
    keys = [f"{plan.token_prefix}{first + i:09d}" for i in range(size)]
    bodies = [key.encode().join(progress.bodies[number]) for key, number in zip(keys, numbers, strict=True)]
    known: list[UUID | None] = [users.get(name) for name in names]
    fresh = [None if found else new_id() for found in known]
    users.update((name, made) for name, made in zip(names, fresh, strict=True) if made)
    occurred = [datetime.now(UTC)] * size
    fixed = ([plan.tenant_id] * size, [""] * size, keys, [event.TYPE] * size)
    return (*fixed, known, fresh, names, occurred, bodies, plan.scoring_partitions)


async def run(plan: Plan) -> Loaded:
    """Run the plan to its end and say what was committed."""
    connections = [await connect(plan.database_url, "bench") for _ in range(plan.connections)]
    users = await known_users(connections[0], plan.tenant_id)
    batches = Batches(plan.batch)
    loaded = await drive([write(plan, connection, users, batches) for connection in connections], batches, plan.seconds)
    for connection in connections:
        await connection.close()
    return loaded


async def known_users(connection: Connection, tenant_id: UUID) -> dict[str, UUID]:
    """The tenant's users, so that the floor, like the API once it is warm, need not ask for them."""
    found = await connection.execute("SELECT external_id, user_id FROM app_user WHERE tenant_id = %s", (tenant_id,))
    return {row["external_id"]: row["user_id"] for row in await found.fetchall()}


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    print(msgspec.json.encode(uvloop.run(run(planned))).decode(), flush=True)
