"""How soon an acknowledged event is seen, in a process of its own: reads one `Probe` from standard input, answers one `Seen`.

A few users get an event again and again, each as soon as its last one was seen; a GET asks for the score every 20 ms, and a WebSocket
looks at these users. Beside that, bulk calls keep the API and the pumps busy.
"""

import asyncio
import json
import sys
import time

import httpx
import msgspec
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import event
from runtime.settings import Settings

PROBERS = 4
BULK = 100
POLL_SECONDS = 0.02
WARM_SECONDS = 30.0
GIVE_UP_SECONDS = 10.0


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, on which board."""

    settings: Settings
    port: int
    key: str
    leaderboard_id: str
    prefix: str
    events_per_second: int
    seconds: float


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """From the acknowledgement to the first answer that holds the event, and the load that there was meanwhile."""

    get_p50_ms: float
    get_p99_ms: float
    socket_p50_ms: float
    socket_p99_ms: float
    events_per_second: float


class Prober:
    """The users that are looked at, and what has been seen of them."""

    def __init__(self, plan: Probe, client: httpx.AsyncClient, socket: ClientConnection) -> None:
        self.plan, self.client, self.socket = plan, client, socket
        self.users = [f"{plan.prefix}probe-{number}" for number in range(PROBERS)]
        self.scores: dict[str, float] = {}
        self.changed = asyncio.Condition()
        self.get_ms: list[float] = []
        self.socket_ms: list[float] = []
        self.sent = 0

    async def listen(self) -> None:
        """Note the scores that the WebSocket tells."""
        view = {"type": "configure", "filter": {"type": "users", "user_ids": self.users}}
        await self.socket.send(json.dumps(view))
        async for text in self.socket:
            entries = json.loads(text).get("entries", [])
            async with self.changed:
                self.scores |= {entry["user_id"]: entry["score"] for entry in entries}
                self.changed.notify_all()

    async def send(self, user: str, number: int) -> float:
        """One event; when it was acknowledged."""
        name = f"{user}-{number}"
        body = event.body(name, user, number % 900 + 100)
        (await self.client.post("/v1/events", content=body)).raise_for_status()
        return time.perf_counter()

    async def probe(self, user: str, until: float) -> None:
        """One event after the other; the first is not counted."""
        expected, number = 0.0, 0
        while time.perf_counter() < until:
            number += 1
            expected = round(expected + (number % 900 + 100) * 0.1, 4)
            acknowledged = await self.send(user, number)
            patience = WARM_SECONDS if number == 1 else GIVE_UP_SECONDS
            async with asyncio.timeout(patience):
                by_get, by_socket = await asyncio.gather(self.by_get(user, expected), self.by_socket(user, expected))
            if number > 1:
                self.get_ms.append(max(0.0, by_get - acknowledged) * 1000)
                self.socket_ms.append(max(0.0, by_socket - acknowledged) * 1000)

    async def by_get(self, user: str, expected: float) -> float:
        """When a GET answers this score."""
        path = f"/v1/leaderboards/{self.plan.leaderboard_id}/score/{user}"
        while True:
            answer = await self.client.get(path)
            if answer.status_code == 200 and answer.json()["score"] == expected:
                return time.perf_counter()
            await asyncio.sleep(POLL_SECONDS)

    async def by_socket(self, user: str, expected: float) -> float:
        """When the WebSocket has told this score."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.scores.get(user) == expected)
        return time.perf_counter()

    async def busy(self, until: float) -> None:
        """Bulk calls at the planned rate."""
        began, calls = time.perf_counter(), 0
        while time.perf_counter() < until:
            numbers = range(calls * BULK, (calls + 1) * BULK)
            events = ",".join(event.text(f"{self.plan.prefix}{number:09d}", event.user(number), number) for number in numbers)
            (await self.client.post("/v1/events/bulk", content=f'{{"events":[{events}]}}')).raise_for_status()
            calls += 1
            self.sent += BULK
            await asyncio.sleep(max(0.0, began + calls * BULK / self.plan.events_per_second - time.perf_counter()))


async def look(plan: Probe) -> Seen:
    """Probe while the load goes on."""
    credential = {"Authorization": f"Bearer {plan.key}"}
    address = f"127.0.0.1:{plan.port}"
    headers = credential | {"Content-Type": "application/json"}
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=30.0) as client,
        connect(f"ws://{address}/v1/leaderboards/{plan.leaderboard_id}/ws", additional_headers=credential, compression=None) as socket,
    ):
        prober = Prober(plan, client, socket)
        listening = asyncio.create_task(prober.listen())
        print("begin", flush=True)
        began = time.perf_counter()
        until = began + plan.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(prober.busy(until))
            for user in prober.users:
                group.create_task(prober.probe(user, until))
        print("end", flush=True)
        listening.cancel()
    (get_p50, get_p99), (socket_p50, socket_p99) = quantiles(prober.get_ms), quantiles(prober.socket_ms)
    return Seen(
        get_p50_ms=get_p50,
        get_p99_ms=get_p99,
        socket_p50_ms=socket_p50,
        socket_p99_ms=socket_p99,
        events_per_second=prober.sent / plan.seconds,
    )


def quantiles(delays: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    ordered = sorted(delays)
    if not ordered:
        return 0.0, 0.0
    return ordered[len(ordered) // 2], ordered[-max(1, len(ordered) // 100)]


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Probe)
    print(msgspec.json.encode(uvloop.run(look(planned))).decode(), flush=True)
