"""Redemptions that are fulfilled by a partner, or workflows that do nothing, so many at a time; a process of its own.

Reads one `Plan` from standard input and answers as the load generator does. It is the partner too: it takes the webhook, and calls back.
"""

import asyncio
import re
import sys
import time
from collections import defaultdict
from datetime import datetime
from typing import Literal
from uuid import UUID

import httpx
import msgspec
from temporalio.client import Client

from benchmarks.closed_loop import Progress, drive
from benchmarks.load import Loaded
from benchmarks.replay import CALLBACK
from benchmarks.trivial import QUEUE, TrivialWorkflow
from domain.redemption.redemption import workflow_id
from runtime import temporal
from runtime.ids import new_id
from runtime.settings import Settings

REDEMPTION = re.compile(rb'"redemption_id":\s*"([0-9a-f-]{36})"')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
WAIT_SECONDS = 60.0
IDLE_SECONDS = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `idle`: one at a time with pauses, and of a redemption only the time until its webhook was there."""

    settings: Settings
    tenant_id: UUID
    api_port: int
    receiver_port: int
    key: str
    slug: str
    user: str
    work: Literal["redeem", "trivial"]
    idle: bool
    at_a_time: int
    seconds: float


class Partner:
    """A receiver that accepts every webhook, and notes when it came."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.arrivals: defaultdict[str, asyncio.Future[float]] = defaultdict(loop.create_future)

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection's webhooks."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                came = time.time()
                length = LENGTH.search(head)
                found = REDEMPTION.search(await reader.readexactly(int(length[1]) if length else 0))
                if found and not (arrival := self.arrivals[found[1].decode()]).done():
                    arrival.set_result(came)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Shop:
    """Redeems, takes the webhook, calls back, and waits for the end of the workflow."""

    def __init__(self, plan: Plan, temporal_client: Client, http: httpx.AsyncClient, partner: Partner) -> None:
        self.plan, self.temporal, self.http, self.partner = plan, temporal_client, http, partner

    async def redeem(self) -> float:
        """Seconds of the whole; when idle, from the begin of the transaction to the arrival of the webhook's first bytes."""
        began = time.perf_counter()
        answer = await self.http.post("/v1/redemptions", json={"external_user_id": self.plan.user, "slug": self.plan.slug})
        redemption = answer.raise_for_status().json()
        identity = redemption["redemption_id"]
        came = await asyncio.wait_for(self.partner.arrivals[identity], WAIT_SECONDS)
        (await self.http.patch(f"/v1/admin/rewards/redemptions/{identity}", json=CALLBACK)).raise_for_status()
        handle = self.temporal.get_workflow_handle(workflow_id(self.plan.tenant_id, UUID(identity)))
        await asyncio.wait_for(handle.result(), WAIT_SECONDS)
        del self.partner.arrivals[identity]
        if self.plan.idle:
            return came - datetime.fromisoformat(redemption["created_at"]).timestamp()
        return time.perf_counter() - began

    async def trivial(self) -> float:
        """Seconds from the request to start it to its result."""
        began = time.perf_counter()
        await self.temporal.execute_workflow(TrivialWorkflow.run, 1, id=f"bench-{new_id()}", task_queue=QUEUE)
        return time.perf_counter() - began

    async def again_and_again(self, progress: Progress) -> None:
        """One after the other until the time is up."""
        while progress.active:
            progress.begun += 1
            progress.latencies.append(await (self.redeem() if self.plan.work == "redeem" else self.trivial()))
            if self.plan.idle:
                await asyncio.sleep(IDLE_SECONDS)


async def run(plan: Plan) -> Loaded:
    """Run the plan to its end."""
    headers = {"Authorization": f"Bearer {plan.key}"}
    client, partner, progress = await temporal.connect(plan.settings), Partner(), Progress()
    async with (
        await asyncio.start_server(partner.receive, "127.0.0.1", plan.receiver_port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{plan.api_port}", headers=headers, timeout=WAIT_SECONDS) as http,
    ):
        shop = Shop(plan, client, http, partner)
        await (shop.redeem() if plan.work == "redeem" else shop.trivial())
        return await drive([shop.again_and_again(progress) for _ in range(plan.at_a_time)], progress, plan.seconds)


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    print(msgspec.json.encode(asyncio.run(run(planned))).decode(), flush=True)
